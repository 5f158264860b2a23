"""The streets of the scenes: what lies across them, what stands along them, and the colours of their ground.

Ground coordinates are metres right of the road's reference line and metres ahead of the car; colours are linear
reflectances, float (n, 3) or (h, w, 3), 1.0 being white.
"""

from dataclasses import dataclass, replace
from functools import partial
from itertools import pairwise

import numpy as np

from roadseg.scenes import paint
from roadseg.scenes.objects import BODIES, Barrier, Car, House, Post, Tree
from roadseg.scenes.paint import Camera, Light, between, mix, palette

# --- street ----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Side:
    """What lies beside the road, from its edge outwards."""

    name: str
    strips: tuple[tuple[str, float], ...]  # material and width in metres

    @property
    def width(self) -> float:
        return sum(width for _, width in self.strips)


@dataclass(frozen=True)
class Street:
    """What neighbouring pictures share."""

    category: str
    left: float  # metres from the reference line (the line left of the car's lane) to the road's edges
    right: float
    lines: tuple[tuple[float, str], ...]  # lateral position and kind of each marking
    sides: tuple[Side, Side]
    asphalt: np.ndarray  # (3,) reflectance
    plaster: np.ndarray  # (n, 3) reflectance of facades
    light: Light
    leaves: np.ndarray  # (n, 3) reflectance
    brightness: float  # mean that the camera aims at, 0 to 1


PLASTER = palette(
    "#e8e4d8", "#d9cfb4", "#f0eee8", "#c9b08a", "#b9a796", "#c98d63", "#a8a29a", "#e6d9a8", "#9a7f70", "#f4f2ee"
)
ROOFS = palette("#8a4a33", "#6f4436", "#59463f", "#54504e", "#a35a3a")
LEAVES = palette("#4c5f26", "#3d5222", "#5d6a2c", "#35491f", "#6d6f2e", "#4a5c30", "#7a6a2c", "#2c3f22")
PAINTS = palette(
    "#0c0d10",
    "#15171b",
    "#b9bcc0",
    "#8e9296",
    "#e9ebec",
    "#1b2a4a",
    "#8c1713",
    "#3c4046",
    "#5a6066",
    "#24382c",
    "#c8ccd0",
    "#20344f",
    "#d8431f",
    "#a01a1a",
    "#27457a",
    "#dfe2e4",
)
MASONRY = {
    "wall": palette("#a98470", "#a9a296", "#8d6a58"),
    "pickets": palette("#4a3626", "#6d5a48", "#d8d6d0"),
    "mesh": palette("#39433f", "#6b7472"),
    "rail": palette("#a9adad"),
}
HEIGHTS = {"hedge": (0.8, 2.2), "wall": (0.5, 1.8), "pickets": (0.8, 1.3), "mesh": (0.9, 1.4), "rail": (0.75, 0.8)}
SIGNS = palette("#b01818", "#b01818", "#1c4fa0", "#e0b020", "#e8e8e8")


def draw_light(rng) -> Light:
    """A sunny day, as KITTI's are: the sun anywhere but overhead, the sky the whiter the closer it is to the sun."""
    azimuth, elevation = rng.uniform(-np.pi, np.pi), np.radians(rng.uniform(24, 52))
    sun = np.array([np.sin(azimuth) * np.cos(elevation), np.sin(elevation), np.cos(azimuth) * np.cos(elevation)])
    glare = 0.5 + 0.5 * np.cos(azimuth)
    haze = np.array([1.2, 1.4, 1.55]) * rng.uniform(0.8, 1.8) * (1 + 1.5 * glare)
    sky = np.array([0.13, 0.155, 0.19]) * rng.uniform(0.4, 1.1)
    sunlight = np.array([1.0, 0.95, 0.86]) * rng.uniform(1.6, 2.5)
    return Light(*(np.float32(value) for value in (sun, sunlight, sky, haze)), rng.uniform(4000, 15000))


def draw_lanes(category: str, rng) -> tuple[float, float, tuple[tuple[float, str], ...]]:
    """The road's edges left and right of the reference line, and its lines."""
    lane = rng.uniform(2.75, 3.25) if category == "um" else rng.uniform(3.0, 3.5)
    if category == "uu":
        width = rng.uniform(4.6, 6.6)
        return -width / 2, width / 2, ()
    edges = rng.choice(["", "solid"], 2, p=[0.45, 0.55])
    if category == "um":
        left, right = -lane - rng.uniform(0, 0.5), lane + rng.uniform(0, 0.6)
        lines = [(0.0, rng.choice(["dashed", "solid", "sparse"], p=[0.6, 0.12, 0.28]))]
    else:
        more_left, more_right = rng.choice([0, 1, 2], p=[0.15, 0.5, 0.35]), rng.choice([1, 2], p=[0.35, 0.65])
        more_left = max(more_left, 2 - more_right)
        left = -lane * more_left - rng.uniform(0.2, 0.6)
        right = lane * more_right + rng.uniform(0.2, 1.6)
        lines = [(lane * k, "dashed") for k in range(-more_left + 1, more_right)]
        if more_left == 2 and rng.random() < 0.7:
            lines[0] = (lines[0][0], "solid")
    lines += [(left + 0.22, edges[0])] * bool(edges[0]) + [(right - 0.25, edges[1])] * bool(edges[1])
    if category == "umm" and len(lines) == 1:  # two lanes one way, and no edge line: several lines are its mark
        lines.append((left + 0.22, "solid"))
    return left, right, tuple(lines)


def draw_side(category: str, rng, *, left: bool) -> Side:
    """One side of the street: strips of ground, and the name of what grows or stands there."""
    u = rng.uniform
    foot = [("gutter", u(0.2, 0.5)), ("kerb", 0.15), ("pavement", u(1.4, 3.2))]
    verge = [("gutter", u(0, 0.5)), ("gravel", u(0.0, 0.5)), ("grass", u(1.5, 6))]
    choices = {
        "woods": [*(verge if rng.random() < 0.6 else foot), ("grass", 60)],
        "path": [("kerb", 0.15), ("grass", u(0.5, 3)), ("pavement", u(1.5, 3)), ("grass", 60)],
        "houses": [*foot, ("garden", 60)],
        "row": [*foot, ("pavement", 60)],
        "bays": [("gutter", 0.3), ("parking", u(2.0, 2.4)), ("kerb", 0.15), ("pavement", u(1.5, 3)), ("garden", 60)],
        "lot": [*foot, ("parking", u(10, 18)), ("garden", 60)],
        "tram": [("kerb", 0.2), ("grass", u(0.3, 2)), ("ballast", 6.4), ("grass", u(0.5, 4)), ("grass", 60)],
        "twin": [("kerb", 0.2), ("grass", u(0.8, 3.5)), ("twin", 6.6), ("kerb", 0.2), ("grass", 60)],
        "open": [("gravel", u(0.1, 0.8)), ("grass", u(2, 5)), ("field", 60)],
    }
    odds = {
        ("um", True): {"woods": 3, "twin": 4, "tram": 2, "open": 1.5, "houses": 2, "lot": 1, "path": 1.5},
        ("um", False): {"woods": 4, "path": 3, "open": 1.5, "houses": 2.5, "bays": 0.5, "lot": 0.5},
        ("umm", True): {"woods": 2, "twin": 3, "tram": 3, "open": 2, "houses": 1, "path": 1.5, "lot": 0.5},
        ("umm", False): {"woods": 3.5, "path": 3, "tram": 2, "open": 1.5, "houses": 1.5, "lot": 1},
        ("uu", True): {"bays": 2.5, "houses": 4, "row": 2, "woods": 1.2, "lot": 1.2, "path": 1},
        ("uu", False): {"bays": 3, "houses": 4, "row": 2, "woods": 1.2, "path": 1},
    }[category, left]
    name = str(rng.choice(list(odds), p=np.array(list(odds.values())) / sum(odds.values())))
    return Side(name, tuple((material, float(width)) for material, width in choices[name]))


def draw_street(category: str, rng) -> Street:
    """Draw what a group of neighbouring pictures shares."""
    left, right, lines = draw_lanes(category, rng)
    tint = np.array([1, 0, -1], np.float32) * rng.normal(0.012, 0.03)
    tone = np.float32(np.exp(rng.uniform(np.log(0.24), np.log(0.58))) * (1 + tint))
    return Street(
        category,
        left,
        right,
        lines,
        (draw_side(category, rng, left=True), draw_side(category, rng, left=False)),
        tone,
        PLASTER[rng.permutation(len(PLASTER))[:4]],
        draw_light(rng),
        LEAVES[rng.permutation(len(LEAVES))[:4]] * rng.uniform(0.5, 0.95),
        rng.uniform(0.32, 0.45),
    )


def draw_camera(street: Street, rng) -> Camera:
    """Put the car into its lane; pitch, bend and hill differ from picture to picture."""
    lane = {"um": street.right * 0.5, "umm": 1.6, "uu": street.right * 0.2}[street.category]
    return Camera(
        horizon=paint.HORIZON + rng.normal(0.5, 2.2),
        offset=-lane + rng.normal(0, 0.5),
        heading=rng.normal(-0.015, 0.038),
        curvature=float(np.clip(rng.standard_t(4), -4, 4)) / (2000 if street.category == "umm" else 1200),
        crest=rng.normal(-1e-4, 2e-4),
    )


# --- ground ----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Ground:
    """Ground coordinates, each (h, w) or (n,): metres right of the reference line, metres ahead, a pixel's extent."""

    lateral: np.ndarray
    ahead: np.ndarray
    across: np.ndarray
    along: np.ndarray

    def __getitem__(self, chosen) -> "Ground":
        return Ground(self.lateral[chosen], self.ahead[chosen], self.across[chosen], self.along[chosen])

    def noise(self, wavelength: float, octaves: int, *, stretch: float = 1.0, seed: float = 0.0) -> np.ndarray:
        """Noise on the ground, `stretch` times longer along the road."""
        pixel = np.maximum(self.across, self.along / stretch)
        x, y = self.lateral + np.float32(seed), self.ahead / stretch + np.float32(1.7 * seed)
        return paint.fractal(x, y, wavelength, octaves=octaves, pixel=pixel)


def see_ground(camera: Camera, *, step: float) -> tuple[int, Ground]:
    """First row of the ground, and the coordinates of points every `step` pixels from there on."""
    top = int(np.argmax(np.isfinite(camera.distance(np.arange(paint.HEIGHT)))))
    z = camera.distance(np.arange(top, paint.HEIGHT, step) + step / 2)[:, None]
    z[~np.isfinite(z)] = paint.FAR
    columns = np.arange(0, paint.WIDTH, step, dtype=np.float32) + np.float32(step / 2)
    x = (columns - np.float32(paint.CENTRE)) / np.float32(paint.FOCAL) * z
    along = np.abs(np.gradient(z, axis=0)) + 0 * x
    z = z + 0 * x
    return top, Ground(x - camera.line(z), z, z * np.float32(step / paint.FOCAL), along)


@dataclass(frozen=True)
class Junction:
    """A side road's mouth."""

    side: int  # -1 left, 1 right
    start: float  # metres ahead
    width: float
    radius: float  # of its corners

    def reach(self, ahead) -> np.ndarray:
        """How far the asphalt reaches beyond the road's edge."""
        outside = np.maximum(self.start - ahead, ahead - self.start - self.width)
        inwards = np.clip(self.radius - outside, 0, self.radius)  # the corner is a quarter of a circle
        return np.where(outside <= 0, 40.0, self.radius - np.sqrt(np.maximum(self.radius**2 - inwards**2, 0)))

    def clears(self, lateral: float, ahead: float, margin: float = 3.0) -> bool:
        """Whether a thing at this place stays out of the mouth."""
        return lateral * self.side < 0 or not self.start - margin < ahead < self.start + self.width + margin


def draw_junction(rng) -> Junction | None:
    """A side road on some pictures."""
    if rng.random() > 0.22:
        return None
    return Junction(int(rng.choice([-1, 1])), rng.uniform(8, 45), rng.uniform(5, 9), rng.uniform(3, 7))


MOUTH = 4.0  # metres of a side road that count as road; farther ones are not evaluated


def lay_materials(street: Street, junction: Junction | None, ground: Ground, rng) -> tuple[np.ndarray, list[str]]:
    """Material of each point as an index into the list of names returned with it."""
    edges, names = [street.left], ["road"]
    for material, width in street.sides[0].strips:
        edges.insert(0, edges[0] - width)
        names.insert(0, material)
    edges.append(street.right)
    for material, width in street.sides[1].strips:
        edges.append(edges[-1] + width)
        names.append(material)
    ragged = 0.1 * ground.noise(1.5, 3, seed=rng.uniform(0, 99)) * (np.abs(ground.lateral) > street.right + 0.6)
    index = np.searchsorted(np.array(edges[1:-1], np.float32), ground.lateral + ragged).astype(np.uint8)
    names.append("mouth")
    if junction:
        edge = street.right if junction.side > 0 else -street.left
        outside = ground.lateral * junction.side - edge
        reach = junction.reach(ground.ahead)
        index[(outside > 0) & (outside < np.minimum(reach, MOUTH))] = names.index("road")
        index[(outside >= MOUTH) & (outside < reach)] = len(names) - 1
    return index, names


def asphalt(ground: Ground, rng, tone) -> np.ndarray:
    """Asphalt with stains, wheel tracks, patches, sealed cracks and grain."""
    seed = rng.uniform(0, 500)
    value = 1 + 0.06 * ground.noise(6, 3, stretch=3, seed=seed) + 0.035 * ground.noise(0.5, 2, stretch=12, seed=seed)
    value += 0.1 * ground.noise(0.12, 3, seed=seed)
    for _ in range(rng.poisson(1.2)):  # repaired pieces, cut straight
        x, z, wide, long = rng.uniform(-6, 6), rng.uniform(4, 60), rng.uniform(0.8, 3.5), rng.uniform(2, 25)
        piece = between(ground.lateral, x, x + wide, ground.across) * between(ground.ahead, z, z + long, ground.along)
        value *= 1 + rng.uniform(-0.3, 0.25) * piece
    crack = np.abs(ground.noise(rng.uniform(3, 8), 3, seed=seed + 50))
    seam = np.abs(ground.lateral - rng.uniform(-4, 4) + 0.04 * ground.noise(3, 2, seed=seed + 90)) * 2
    width, strength = 0.03 + 0.5 * ground.across, np.clip(0.05 / ground.across, 0, 1)
    value *= 1 - rng.uniform(0, 0.55) * np.clip(1 - crack / width, 0, 1) * strength
    value *= 1 - rng.uniform(-0.3, 0.5) * np.clip(1.5 - seam / width, 0, 1) * strength
    tracks = np.cos(ground.lateral * (4 * np.pi / 3.3) + rng.uniform(0, 6))
    value *= 1 + rng.uniform(-0.08, 0.08) * tracks
    return np.clip(value, 0.25, 2)[..., None] * np.float32(tone)


def paving(ground: Ground, rng, tone) -> np.ndarray:
    """Slabs or asphalt beside the road."""
    value = 1 + 0.12 * ground.noise(3, 3, seed=rng.uniform(0, 99)) + 0.1 * ground.noise(0.15, 2)
    size = float(rng.choice([0.0, 0.3, 0.5]))
    if size:
        joint = np.minimum(np.abs((ground.lateral / size) % 1 - 0.5), np.abs((ground.ahead / size) % 1 - 0.5))
        value *= 1 - 0.3 * (joint < 0.06) * np.clip(1 - 4 * ground.along, 0, 1)
    return np.clip(value, 0.3, 2)[..., None] * np.float32(tone)


def lawn(ground: Ground, rng, dry: float) -> np.ndarray:
    """Grass, the drier the browner."""
    seed = rng.uniform(0, 99)
    dryness = np.clip(dry + 0.35 * ground.noise(5, 3, seed=seed), 0, 1)
    blades = np.clip(1 + 0.3 * ground.noise(0.5, 4, seed=seed) + 0.25 * ground.noise(0.08, 2, stretch=0.5), 0.25, 2)
    return mix(np.array([0.06, 0.1, 0.022]), np.array([0.2, 0.165, 0.08]), dryness) * blades[..., None]


def ballast(ground: Ground, rng, middle: float) -> np.ndarray:
    """A tram's bed with four rails about `middle`."""
    stones = np.clip(1 + 0.35 * ground.noise(0.3, 3) + 0.15 * ground.noise(4, 2), 0.2, 2)
    colour = stones[..., None] * np.float32([0.07, 0.054, 0.042])
    sleeper = between((ground.ahead / 0.65) % 1, 0.3, 0.7, 0.1) * np.clip(1 - 2 * ground.along, 0, 1)
    colour = mix(colour, np.array([0.15, 0.14, 0.12]), 0.6 * sleeper)
    for rail in (-2.3, -0.87, 0.87, 2.3):
        x = ground.lateral - middle - rail
        colour = mix(colour, np.array([0.012, 0.011, 0.01]), between(x, -0.13, 0.13, 0.02 + ground.across))
        colour = mix(colour, np.array([0.5, 0.5, 0.52]), between(x, -0.035, 0.035, ground.across))
    return colour


def strip_middle(street: Street, material: str, side: int) -> float:
    """Lateral position of the middle of a strip."""
    position = street.right if side > 0 else -street.left
    for name, width in street.sides[side > 0].strips:
        if name == material:
            return side * (position + width / 2)
        position += width
    raise KeyError(material)


def colour_ground(street: Street, junction: Junction | None, index, names, ground: Ground, rng) -> np.ndarray:
    """Reflectance (h, w, 3) of the ground."""
    pavement = np.float32(street.asphalt * rng.uniform(0.7, 1.6) * (1 + rng.normal(0, 0.03, 3)) + 0.02)
    dry, path = np.clip(rng.normal(0.3, 0.25), 0, 1), rng.uniform(0.8, 1.2)
    painters = {
        "road": lambda g: asphalt(g, rng, street.asphalt),
        "mouth": lambda g: asphalt(g, rng, street.asphalt),
        "twin": lambda g: asphalt(g, rng, street.asphalt * path),
        "parking": lambda g: paving(g, rng, street.asphalt * rng.choice([1.0, 1.1, 1.4, 0.8])),
        "gutter": lambda g: paving(g, rng, street.asphalt * rng.choice([0.8, 1.0, 1.3])),
        "kerb": lambda g: paving(g, rng, pavement * rng.choice([0.7, 1.15])),
        "pavement": lambda g: paving(g, rng, pavement),
        "gravel": lambda g: paving(g, rng, np.array([0.2, 0.17, 0.13]) * path),
        "grass": lambda g: lawn(g, rng, dry),
        "garden": lambda g: lawn(g, rng, dry * 0.7),
        "field": lambda g: lawn(g, rng, dry + 0.2),
    }
    colour = np.zeros((*index.shape, 3), np.float32)
    for number, name in enumerate(names):
        chosen = index == number
        if chosen.any():
            side = 1 if number > names.index("road") else -1
            painter = painters.get(name) or partial(ballast, rng=rng, middle=strip_middle(street, name, side))
            colour[chosen] = painter(ground[chosen])
    road = index == names.index("road")
    colour[road] = paint_markings(street, junction, colour[road], ground[road], rng)
    return colour


DASHES = {"dashed": (9.0, 3.0), "sparse": (12.0, 4.0), "solid": (1.0, 1.0)}  # metres: period, painted part


def paint_markings(street: Street, junction: Junction | None, colour, ground: Ground, rng) -> np.ndarray:
    """Lay the street's worn lines over colour (n, 3)."""
    white, phase = np.full(3, rng.uniform(0.85, 1.35), np.float32), rng.uniform(0, 12)
    worn = np.clip(rng.uniform(0.8, 1.2) + 0.3 * ground.noise(0.6, 3, seed=5), 0, 1)
    width = rng.uniform(0.12, 0.18)
    for position, kind in street.lines:
        period, length = DASHES[kind]
        line = between(ground.lateral, position - width / 2, position + width / 2, 0.01 + ground.across)
        if kind != "solid":
            line = line * between((ground.ahead + phase) % period, 0, length, 0.02 + ground.along)
        if junction and position * junction.side > 0.6 * street.right:
            line = line * (junction.reach(ground.ahead) <= 0)
        colour = mix(colour, white, line * worn)
    if street.category == "umm" or (street.lines and rng.random() < 0.15):
        lanes = [(a + b) / 2 for a, b in pairwise(sorted(position for position, _ in street.lines)) if 2.5 < b - a < 4]
        for middle in lanes[rng.integers(3) :]:
            colour = mix(colour, white, arrow(ground, middle, rng.uniform(5, 30)) * worn)
    return colour


def arrow(ground: Ground, middle: float, start: float) -> np.ndarray:
    """Cover (n,) of an arrow in the middle of a lane: a shaft of 3 metres and a head of 2."""
    x, z = np.abs(ground.lateral - middle), ground.ahead - start
    shaft = between(x, -1, 0.09, ground.across) * between(z, 0, 3, ground.along)
    return np.maximum(shaft, between(x, -1, 0.22 * (5 - z), ground.across) * between(z, 3, 5, ground.along))


# --- planting --------------------------------------------------------------------------------------------------------


class Planter:
    """Puts things along one side of a street; `outside` is metres beyond the road's edge there."""

    def __init__(self, street: Street, camera: Camera, junction: Junction | None, rng, side: int):
        self.street, self.camera, self.junction, self.rng, self.side = street, camera, junction, rng, side
        self.edge = street.right if side > 0 else -street.left
        self.layout = street.sides[side > 0]
        self.things: list = []

    def at(self, outside: float, ahead: float) -> np.ndarray:
        """Point (3,) on the ground."""
        return self.camera.place(self.side * (self.edge + outside), ahead)

    def add(self, outside: float, ahead: float, thing) -> None:
        """Put a thing down unless it stands in a side road."""
        if not self.junction or self.junction.clears(self.side * outside, ahead):
            self.things.append(thing)

    def along(self, first: tuple[float, float], step: tuple[float, float], until: float, *, spread: float = 0.0):
        """Distances ahead of a row's members, `spread` times wider apart at a hundred metres."""
        ahead = self.rng.uniform(*first)
        while ahead < until:
            yield ahead
            ahead += self.rng.uniform(*step) * (1 + spread * max(ahead, 0) / 100)

    def tree(self, outside: float, ahead: float, height: float, shape: str | None = None) -> None:
        """A tree, or a bush."""
        rng = self.rng
        shape = shape or str(rng.choice(["round", "tall", "cone"], p=[0.6, 0.28, 0.12]))
        width = height * {"round": 0.95, "tall": 0.8, "cone": 0.7, "bush": 1.6}[shape] * rng.uniform(0.8, 1.25)
        leaves = self.street.leaves[rng.integers(len(self.street.leaves))]
        colour = leaves * rng.uniform(0.75, 1.3) * (1 + rng.normal(0, 0.05, 3))
        self.add(outside, ahead, Tree(self.at(outside, ahead), height, width, shape, int(rng.integers(5)), colour))

    def wood(self, outside: float, *, height: tuple[float, float] = (7, 15), gaps: float = 0.1) -> None:
        """Trees and undergrowth from `outside` on, dense enough to close the view."""
        u = self.rng.uniform
        for ahead in self.along((2, 7), (2.5, 6), 220, spread=1.7):
            if self.rng.random() > gaps:
                self.tree(outside + u(1.5, 5), ahead, u(*height))
                self.tree(outside + u(0, 1.5), ahead + u(-3, 3), u(1.2, 4), "bush")
                self.tree(outside + u(6, 14), ahead + u(-4, 4), 1.15 * u(*height))
                self.tree(outside + u(3, 6), ahead + u(-3, 3), u(3, 6), "bush")

    def avenue(self, outside: float) -> None:
        """Single trees in a row."""
        height, step = self.rng.uniform(5, 11), self.rng.uniform(8, 16)
        for ahead in self.along((6, 11), (0.8 * step, 1.3 * step), 160):
            self.tree(outside + self.rng.normal(0, 0.3), ahead, height * self.rng.uniform(0.85, 1.15), "round")

    def barrier(self, outside: float, kind: str) -> None:
        """A fence, wall, hedge or rail in pieces that follow the road."""
        colours = MASONRY.get(kind, self.street.leaves * 1.1)
        height, colour = self.rng.uniform(*HEIGHTS[kind]), colours[self.rng.integers(len(colours))]
        for near, far in pairwise(1.2 + 5 * np.cumsum(1.12 ** np.arange(-1, 13)) - 5 / 1.12):
            foot = self.at(outside, near)
            self.add(outside, (near + far) / 2, Barrier(foot, self.at(outside, far) - foot, height, kind, colour))

    def fence(self, outside: float) -> None:
        """Whatever barrier people have before their gardens, or none."""
        kind = str(self.rng.choice(["hedge", "wall", "pickets", "mesh", ""], p=[0.4, 0.2, 0.15, 0.1, 0.15]))
        if kind:
            self.barrier(outside, kind)

    def houses(self, outside: float, *, terraced: bool) -> None:
        """Houses, wall to wall when terraced."""
        rng, ahead = self.rng, self.rng.uniform(-4, 1)
        while ahead < 150:
            length, set_back = rng.uniform(9, 16), outside + (0 if terraced else rng.uniform(0, 3))
            self.house(set_back, ahead, length, floors=int(rng.integers(2, 5) if terraced else rng.integers(1, 4)))
            gap = 0 if terraced and rng.random() < 0.7 else rng.uniform(3, 12)
            if gap > 4:
                self.tree(set_back + rng.uniform(0, 5), ahead + length + gap / 2, rng.uniform(3, 9))
            ahead += length + gap

    def house(self, outside: float, ahead: float, length: float, *, floors: int) -> None:
        """A house of that many floors, its gable or a flat roof on top."""
        rng, near = self.rng, self.at(outside, ahead)
        colour = self.street.plaster[rng.integers(len(self.street.plaster))] * rng.uniform(0.7, 1.0)
        roof = ROOFS[rng.integers(len(ROOFS))] * rng.uniform(0.7, 1.2)
        ridge = 0.1 if rng.random() < 0.15 else rng.uniform(2, 5)
        along, inward = self.at(outside, ahead + length) - near, self.at(outside + rng.uniform(8, 11), ahead) - near
        rooms, spacing = rng.random((5, 9)), rng.uniform(2.1, 3.6)
        house = House(near, along, inward, 2.9 * floors + 0.5, ridge, colour, roof, rooms, spacing)
        self.add(outside, ahead + length / 2, house)

    def car(self, outside: float, ahead: float, *, turn=0.0, kind: str | None = None, away: bool = True) -> None:
        """A vehicle along the road, seen from behind when `away`."""
        rng = self.rng
        body = BODIES[kind or str(rng.choice(["hatch", "estate", "saloon", "van"], p=[0.45, 0.25, 0.18, 0.12]))]
        body = replace(body, length=body.length * rng.uniform(0.93, 1.06), height=body.height * rng.uniform(0.96, 1.06))
        colour = PAINTS[rng.integers(len(PAINTS))] * rng.uniform(0.7, 1.1)
        course = np.arctan(self.camera.heading + self.camera.curvature * ahead) + (0 if away else np.pi)
        self.add(outside, ahead, Car(self.at(outside, ahead), course + turn, body, colour))

    def parked(self, outside: float, *, density: float, step: float = 5.6, turn: float = 0.0) -> None:
        """A row of parked cars, most of them in the direction of the traffic."""
        rng = self.rng
        for ahead in self.along((4, 10), (0.98 * step, 1.15 * step), 110):
            if rng.random() < density:
                away = rng.random() < (0.85 if self.side > 0 else 0.3)
                self.car(outside + rng.normal(0, 0.1), ahead, turn=turn + rng.normal(0, 0.02), away=away)

    def posts(self, outside: float) -> None:
        """Lamp posts, signs, marker posts and people, each on some streets."""
        rng = self.rng
        for kind, height, odds, step in (("pole", 7.5, 0.35, 32), ("sign", 2.7, 0.5, 35), ("marker", 1.0, 0.2, 25)):
            for ahead in self.along((6, step), (0.7 * step, 1.4 * step), 120 if rng.random() < odds else 0):
                shape = str(rng.choice(["round", "square", "triangle"])) if kind == "sign" else kind
                colour = SIGNS[rng.integers(len(SIGNS))] if kind == "sign" else np.full(3, rng.uniform(0.15, 0.6))
                self.add(outside, ahead, Post(self.at(outside, ahead), shape, height * rng.uniform(0.9, 1.1), colour))
        for _ in range(rng.poisson(0.4)):
            ahead, clothes = rng.uniform(8, 50), rng.uniform(0.02, 0.3) * (1 + rng.normal(0, 0.3, 3))
            person = Post(self.at(outside + 0.8, ahead), "person", rng.uniform(1.6, 1.85), np.clip(clothes, 0.01, 1))
            self.add(outside, ahead, person)

    def plant(self) -> list:
        """Fill the side with what its name says."""
        inner = self.layout.width - self.layout.strips[-1][1]  # all strips but the last are narrow
        self.posts(max(0.5, min(inner, 2.5) - 0.3))
        {
            "woods": self.plant_wood,
            "path": self.plant_wood,
            "houses": self.plant_gardens,
            "bays": self.plant_gardens,
            "row": partial(self.houses, terraced=True),
            "lot": self.plant_lot,
            "tram": self.plant_tram,
            "twin": self.plant_twin,
            "open": self.plant_field,
        }[self.layout.name](inner)
        if self.layout.name == "bays":
            self.parked(1.35, density=self.rng.uniform(0.4, 0.95))
        elif self.street.category == "uu" and self.rng.random() < 0.5:
            self.parked(-0.7, density=self.rng.uniform(0.1, 0.7))
        return self.things

    def plant_wood(self, inner: float) -> None:
        if self.rng.random() < 0.35:
            self.fence(inner + 0.2)
        self.wood(inner + self.rng.uniform(0.5, 5), gaps=self.rng.choice([0.02, 0.15, 0.5]))
        if self.rng.random() < 0.4:
            self.avenue(max(inner - 0.5, 1.2))

    def plant_gardens(self, inner: float) -> None:
        rng = self.rng
        self.fence(inner + 0.1)
        self.houses(inner + rng.uniform(1.5, 6), terraced=rng.random() < 0.3)
        for _ in range(rng.integers(3, 14)):
            shape = str(rng.choice(["bush", "round", "cone"]))
            self.tree(inner + rng.uniform(0.6, 3), rng.uniform(5, 80), rng.uniform(1, 7), shape)
        if rng.random() < 0.35:
            self.avenue(inner - 0.3)

    def plant_lot(self, inner: float) -> None:
        near = inner - self.layout.strips[-2][1]
        self.parked(near + 3, density=0.8, step=2.9, turn=np.pi / 2)
        self.avenue(inner + 1)
        self.houses(inner + 4, terraced=False)

    def plant_tram(self, inner: float) -> None:
        masts = self.layout.strips[0][1] + self.layout.strips[1][1] + 3.2
        for ahead in self.along((8, 30), (25, 40), 150):
            self.add(masts, ahead, Post(self.at(masts, ahead), "pole", 8.0, np.full(3, 0.3)))
        self.wood(inner + self.rng.uniform(0, 8), gaps=self.rng.choice([0.05, 0.4]))

    def plant_twin(self, inner: float) -> None:
        rng, middle = self.rng, inner - 3.5
        for _ in range(rng.poisson(2)):
            self.car(middle + rng.choice([-1.6, 1.6]), rng.uniform(9, 110), away=False)
        if rng.random() < 0.35:
            self.barrier(0.8, str(rng.choice(["mesh", "rail"])))
        self.wood(inner + rng.uniform(1, 8), gaps=rng.choice([0.05, 0.4]))

    def plant_field(self, inner: float) -> None:
        if self.rng.random() < 0.45:
            self.barrier(self.rng.uniform(0.8, 1.6), "rail")
        self.wood(inner + self.rng.uniform(8, 50), height=(5, 12), gaps=0.3)


AHEAD = {"um": 0.55, "umm": 0.65, "uu": 0.25}  # chance of a vehicle in the car's own lane
OTHERS = {"um": 0.5, "umm": 0.9, "uu": 0.15}  # mean number of others on the road


def traffic(street: Street, camera: Camera, rng) -> list:
    """Vehicles that drive on the road."""
    right, left = Planter(street, camera, None, rng, 1), Planter(street, camera, None, rng, -1)
    lane = 0.5 * street.right if street.category == "uu" else 1.6
    if rng.random() < AHEAD[street.category]:
        right.car(lane - street.right, rng.uniform(12, 70), kind="truck" if rng.random() < 0.12 else None)
    for _ in range(rng.poisson(OTHERS[street.category])):
        if street.category == "umm":
            right.car(-1.6 + 0.1 * rng.normal(), rng.uniform(14, 90))
        else:
            left.car(-1.6, rng.uniform(12, 90), away=False)
    return right.things + left.things


def plant(street: Street, camera: Camera, junction: Junction | None, rng) -> list:
    """All things of a scene."""
    things = [thing for side in (-1, 1) for thing in Planter(street, camera, junction, rng, side).plant()]
    return things + traffic(street, camera, rng)
