"""The ground of the scenes: which material lies where, its color, and the lines painted on the road.

Ground coordinates are meters right of the road's reference line and meters ahead of the car; colors are linear
reflectances, float (n, 3) or (h, w, 3), 1.0 being white.
"""

from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from roadseg.scenes.camera import CENTER, FAR, FOCAL, HEIGHT, WIDTH, Camera
from roadseg.scenes.paint import between, fractal, mix
from roadseg.scenes.street import Street

DASHES = {"dashed": (9.0, 3.0), "sparse": (12.0, 4.0), "solid": (1.0, 1.0)}  # meters: period, painted part
MOUTH = 4.0  # meters of a side road that count as road; what is farther away is not valid


@dataclass(frozen=True)
class Ground:
    """Ground coordinates, each (h, w) or (n,): meters right of the reference line, meters ahead, a pixel's extent."""

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
        return fractal(x, y, wavelength, octaves=octaves, pixel=pixel)


def see_ground(camera: Camera, *, step: float) -> tuple[int, Ground]:
    """First row of the ground, and the coordinates of points every `step` pixels from there on."""
    top = int(np.argmax(np.isfinite(camera.distance(np.arange(HEIGHT)))))
    z = camera.distance(np.arange(top, HEIGHT, step) + step / 2)[:, None]
    z[~np.isfinite(z)] = FAR
    columns = np.arange(0, WIDTH, step, dtype=np.float32) + np.float32(step / 2)
    x = (columns - np.float32(CENTER)) / np.float32(FOCAL) * z
    along = np.abs(np.gradient(z, axis=0)) + 0 * x
    z = z + 0 * x
    return top, Ground(x - camera.line(z), z, z * np.float32(step / FOCAL), along)


def lay_materials(street: Street, ground: Ground, rng) -> tuple[np.ndarray, list[str], list[float]]:
    """Material of each point as an index into the names from left to right, "mouth" last; and their edges."""
    names, edges = ["road"], [street.left, street.right]
    for material, width in street.sides[0].strips:
        names.insert(0, material)
        edges.insert(0, edges[0] - width)
    for material, width in street.sides[1].strips:
        names.append(material)
        edges.append(edges[-1] + width)
    names.append("mouth")
    ragged = 0.1 * ground.noise(1.5, 3, seed=rng.uniform(0, 99)) * (np.abs(ground.lateral) > street.right + 0.6)
    index = np.searchsorted(np.array(edges[1:-1], np.float32), ground.lateral + ragged).astype(np.uint8)
    if junction := street.junction:
        edge = street.right if junction.side > 0 else -street.left
        outside = ground.lateral * junction.side - edge
        reach = junction.reach(ground.ahead)
        index[(outside > 0) & (outside < np.minimum(reach, MOUTH))] = names.index("road")
        index[(outside >= MOUTH) & (outside < reach)] = names.index("mouth")
    return index, names, edges


def color_ground(street: Street, index, names: list[str], edges: list[float], ground: Ground, rng) -> np.ndarray:
    """Reflectance (h, w, 3) of the ground."""
    sidewalk = np.float32(street.asphalt * rng.uniform(0.7, 1.6) * (1 + rng.normal(0, 0.03, 3)) + 0.02)
    dry, path = np.clip(rng.normal(0.3, 0.25), 0, 1), rng.uniform(0.8, 1.2)
    painters = {
        "road": lambda g: color_asphalt(g, rng, street.asphalt),
        "mouth": lambda g: color_asphalt(g, rng, street.asphalt),
        "twin": lambda g: color_asphalt(g, rng, street.asphalt * path),
        "parking": lambda g: color_paving(g, rng, street.asphalt * rng.choice([1.0, 1.1, 1.4, 0.8])),
        "gutter": lambda g: color_paving(g, rng, street.asphalt * rng.choice([0.8, 1.0, 1.3])),
        "curb": lambda g: color_paving(g, rng, sidewalk * rng.choice([0.7, 1.15])),
        "sidewalk": lambda g: color_paving(g, rng, sidewalk),
        "gravel": lambda g: color_paving(g, rng, np.array([0.2, 0.17, 0.13]) * path),
        "grass": lambda g: color_lawn(g, rng, dry),
        "garden": lambda g: color_lawn(g, rng, dry * 0.7),
        "field": lambda g: color_lawn(g, rng, dry + 0.2),
    }
    color = np.zeros((*index.shape, 3), np.float32)
    for number, name in enumerate(names):
        chosen = index == number
        if not chosen.any():
            continue
        if name == "ballast":
            color[chosen] = color_ballast(ground[chosen], middle=(edges[number] + edges[number + 1]) / 2)
        else:
            color[chosen] = painters[name](ground[chosen])
        if name in street.tones:
            tone, contrast = street.tones[name]
            mean = color[chosen].mean(axis=0)
            color[chosen] = tone * (mean + contrast * (color[chosen] - mean))
    road = index == names.index("road")
    color[road] = paint_markings(street, color[road], ground[road], rng)
    return color


def color_asphalt(ground: Ground, rng, tone) -> np.ndarray:
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


def color_paving(ground: Ground, rng, tone) -> np.ndarray:
    """Slabs or asphalt beside the road."""
    value = 1 + 0.12 * ground.noise(3, 3, seed=rng.uniform(0, 99)) + 0.1 * ground.noise(0.15, 2)
    size = float(rng.choice([0.0, 0.3, 0.5]))
    if size:
        joint = np.minimum(np.abs((ground.lateral / size) % 1 - 0.5), np.abs((ground.ahead / size) % 1 - 0.5))
        value *= 1 - 0.3 * (joint < 0.06) * np.clip(1 - 4 * ground.along, 0, 1)
    return np.clip(value, 0.3, 2)[..., None] * np.float32(tone)


def color_lawn(ground: Ground, rng, dry: float) -> np.ndarray:
    """Grass, the drier the browner."""
    seed = rng.uniform(0, 99)
    dryness = np.clip(dry + 0.35 * ground.noise(5, 3, seed=seed), 0, 1)
    blades = np.clip(1 + 0.3 * ground.noise(0.5, 4, seed=seed) + 0.25 * ground.noise(0.08, 2, stretch=0.5), 0.25, 2)
    return mix(np.array([0.06, 0.1, 0.022]), np.array([0.2, 0.165, 0.08]), dryness) * blades[..., None]


def color_ballast(ground: Ground, middle: float) -> np.ndarray:
    """The bed of a tram with four rails about `middle`."""
    stones = np.clip(1 + 0.35 * ground.noise(0.3, 3) + 0.15 * ground.noise(4, 2), 0.2, 2)
    color = stones[..., None] * np.float32([0.07, 0.054, 0.042])
    sleeper = between((ground.ahead / 0.65) % 1, 0.3, 0.7, 0.1) * np.clip(1 - 2 * ground.along, 0, 1)
    color = mix(color, np.array([0.15, 0.14, 0.12]), 0.6 * sleeper)
    for rail in (-2.3, -0.87, 0.87, 2.3):
        x = ground.lateral - middle - rail
        color = mix(color, np.array([0.012, 0.011, 0.01]), between(x, -0.13, 0.13, 0.02 + ground.across))
        color = mix(color, np.array([0.5, 0.5, 0.52]), between(x, -0.035, 0.035, ground.across))
    return color


def paint_markings(street: Street, color, ground: Ground, rng) -> np.ndarray:
    """Lay the street's worn lines and arrows over color (n, 3)."""
    white, phase = np.full(3, rng.uniform(0.85, 1.35), np.float32), rng.uniform(0, 12)
    worn = np.clip(rng.uniform(0.8, 1.2) + 0.3 * ground.noise(0.6, 3, seed=5), 0, 1)
    width = rng.uniform(0.12, 0.18)
    for position, kind in street.lines:
        period, length = DASHES[kind]
        line = between(ground.lateral, position - width / 2, position + width / 2, 0.01 + ground.across)
        if kind != "solid":
            line = line * between((ground.ahead + phase) % period, 0, length, 0.02 + ground.along)
        if street.junction and position * street.junction.side > 0.6 * street.right:
            line = line * (street.junction.reach(ground.ahead) <= 0)
        color = mix(color, white, line * worn)
    if street.hatched:
        stripes = between((ground.ahead + ground.lateral) % 3, 0, 0.6, 0.02 + ground.along)
        color = mix(color, white, stripes * between(ground.lateral, *street.hatched, ground.across) * worn)
    if street.category == "umm" or (street.lines and rng.random() < 0.15):
        lanes = [(a + b) / 2 for a, b in pairwise(sorted(position for position, _ in street.lines)) if 2.5 < b - a < 4]
        for middle in lanes[rng.integers(3) :]:  # a shaft of 3 meters and a head of 2
            x, z = np.abs(ground.lateral - middle), ground.ahead - rng.uniform(5, 30)
            shaft = between(x, -1, 0.09, ground.across) * between(z, 0, 3, ground.along)
            head = between(x, -1, 0.22 * (5 - z), ground.across) * between(z, 3, 5, ground.along)
            color = mix(color, white, np.maximum(shaft, head) * worn)
    return color
