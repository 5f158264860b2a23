"""The streets of the scenes: lanes and lines, what lies beside them, side roads, the light, and the car's place.

Lateral positions are meters right of the road's reference line, distances are meters ahead of the car.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import numpy as np

from roadseg.scenes.camera import HORIZON, Camera
from roadseg.scenes.paint import Light, palette

PLASTER = palette("#e8e4d8 #d9cfb4 #f0eee8 #c9b08a #b9a796 #c98d63 #a8a29a #e6d9a8 #9a7f70 #f4f2ee")
LEAVES = palette("#4c5f26 #3d5222 #5d6a2c #35491f #6d6f2e #4a5c30 #7a6a2c #2c3f22")


@dataclass(frozen=True)
class Side:
    """What lies beside the road, from its edge outwards."""

    name: str
    strips: tuple[tuple[str, float], ...]  # material and width in meters; the last reaches beyond what can be seen


@dataclass(frozen=True)
class Junction:
    """The mouth of a side road."""

    side: int  # -1 left, 1 right
    start: float  # meters ahead
    width: float
    radius: float  # of its corners

    def reach(self, ahead) -> np.ndarray:
        """How far the asphalt reaches beyond the road's edge."""
        outside = np.maximum(self.start - ahead, ahead - self.start - self.width)
        inwards = np.clip(self.radius - outside, 0, self.radius)  # the corner is a quarter of a circle
        return np.where(outside <= 0, 40.0, self.radius - np.sqrt(np.maximum(self.radius**2 - inwards**2, 0)))

    def clears(self, lateral: float, ahead: float) -> bool:
        """Whether an object at this place stays 3 meters away from the mouth."""
        return lateral * self.side < 0 or not self.start - 3 < ahead < self.start + self.width + 3


@dataclass(frozen=True)
class Street:
    """What neighboring images share, but for the junction, which each image has of its own."""

    category: str
    left: float  # lateral positions of the road's edges; the reference line is the one left of the car's lane
    right: float
    lines: tuple[tuple[float, str], ...]  # lateral position and kind of each marking
    sides: tuple[Side, Side]
    asphalt: np.ndarray  # (3,) reflectance
    plaster: np.ndarray  # (n, 3) reflectance of facades
    light: Light
    leaves: np.ndarray  # (n, 3) reflectance
    brightness: float  # mean that the camera aims at, 0 to 1
    junction: Junction | None = None
    hatched: tuple[float, float] | None = None  # lateral positions between which stripes keep traffic out
    tones: Mapping = field(default_factory=dict)  # of materials, by name: factors of color and of contrast


def draw_street(category: str, rng) -> Street:
    """Draw what a group of neighboring images shares."""
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
    if category == "umm" and len(lines) == 1:  # two lanes one way without edge lines: umm means several lines
        lines.append((left + 0.22, "solid"))
    return left, right, tuple(lines)


def draw_side(category: str, rng, *, left: bool) -> Side:
    """One side of the street: strips of ground, and the name of what grows or stands there."""
    u = rng.uniform
    foot = [("gutter", u(0.2, 0.5)), ("curb", 0.15), ("sidewalk", u(1.4, 3.2))]
    verge = [("gutter", u(0, 0.5)), ("gravel", u(0.0, 0.5)), ("grass", u(1.5, 6))]
    choices = {
        "woods": [*(verge if rng.random() < 0.6 else foot), ("grass", 60)],
        "path": [("curb", 0.15), ("grass", u(0.5, 3)), ("sidewalk", u(1.5, 3)), ("grass", 60)],
        "houses": [*foot, ("garden", 60)],
        "row": [*foot, ("sidewalk", 60)],
        "bays": [("gutter", 0.3), ("parking", u(2.0, 2.4)), ("curb", 0.15), ("sidewalk", u(1.5, 3)), ("garden", 60)],
        "lot": [*foot, ("parking", u(10, 18)), ("garden", 60)],
        "tram": [("curb", 0.2), ("grass", u(0.3, 2)), ("ballast", 6.4), ("grass", u(0.5, 4)), ("grass", 60)],
        "twin": [("curb", 0.2), ("grass", u(0.8, 3.5)), ("twin", 6.6), ("curb", 0.2), ("grass", 60)],
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


def draw_light(rng) -> Light:
    """A sunny day, as KITTI's are: the sun anywhere but overhead, the sky the whiter the closer it is to the sun."""
    azimuth, elevation = rng.uniform(-np.pi, np.pi), np.radians(rng.uniform(24, 52))
    sun = np.array([np.sin(azimuth) * np.cos(elevation), np.sin(elevation), np.cos(azimuth) * np.cos(elevation)])
    glare = 0.5 + 0.5 * np.cos(azimuth)
    haze = np.array([1.2, 1.4, 1.55]) * rng.uniform(0.8, 1.8) * (1 + 1.5 * glare)
    sky = np.array([0.13, 0.155, 0.19]) * rng.uniform(0.4, 1.1)
    sunlight = np.array([1.0, 0.95, 0.86]) * rng.uniform(1.6, 2.5)
    return Light(*(np.float32(value) for value in (sun, sunlight, sky, haze)), rng.uniform(4000, 15000))


def draw_camera(street: Street, rng) -> Camera:
    """Put the car into its lane; pitch, bend and hill differ from image to image."""
    lane = {"um": street.right * 0.5, "umm": 1.6, "uu": street.right * 0.2}[street.category]
    return Camera(
        horizon=HORIZON + rng.normal(0.5, 2.2),
        offset=-lane + rng.normal(0, 0.5),
        heading=rng.normal(-0.015, 0.038),
        curvature=float(np.clip(rng.standard_t(4), -4, 4)) / (2000 if street.category == "umm" else 1200),
        crest=rng.normal(-1e-4, 2e-4),
    )


def draw_junction(rng) -> Junction | None:
    """A side road on some images."""
    if rng.random() > 0.22:
        return None
    return Junction(int(rng.choice([-1, 1])), rng.uniform(8, 45), rng.uniform(5, 9), rng.uniform(3, 7))


def vary(street: Street, camera: Camera, rng) -> tuple[Street, Camera]:
    """A street and a camera farther from KITTI's usual ones: wider or hatched margins, any lane to drive in, other
    materials, weather and angles."""
    edges, lines, hatched = [street.left, street.right], list(street.lines), None
    for number, side in enumerate((-1, 1)):
        if rng.random() < 0.45:  # a paved strip: a turning lane, a bus bay, a cycle lane
            width, kind = rng.uniform(0.4, 3.8), str(rng.choice(["solid", "dashed", "sparse", ""]))
            lines += [(edges[number] - 0.25 * side, kind)] * bool(kind)
            if kind and width > 2 and rng.random() < 0.4:
                hatched = tuple(sorted((edges[number], edges[number] + side * (width - 0.3))))
            edges[number] += side * width
    left, right = edges
    if rng.random() < 0.4 and right - left > 3:
        camera = replace(camera, offset=-rng.uniform(left + 1.3, right - 1.3))
    camera = replace(
        camera,
        horizon=camera.horizon + rng.normal(0, 5),
        heading=camera.heading + rng.normal(0, 0.03),
        curvature=camera.curvature * rng.choice([1, 1, 2.5]),
    )
    spread = {"road": 0.25, "sidewalk": 0.3, "curb": 0.3, "gutter": 0.3, "parking": 0.25, "twin": 0.25, "gravel": 0.4}
    spread |= {"grass": 0.6, "garden": 0.6, "field": 0.5, "ballast": 0.6}
    tones = {
        name: (
            np.float32(np.exp(rng.normal(0, each)) * (1 + rng.normal(0, 0.06, 3))),
            np.float32(rng.uniform(0.2, 1.4)),
        )
        for name, each in spread.items()
    }
    tones["mouth"] = tones["road"]
    light = street.light
    if rng.random() < 0.3:  # clouds: hardly any shadows
        light = replace(light, sunlight=light.sunlight * rng.uniform(0.05, 0.5), skylight=light.skylight * 3)
    varied = replace(
        street,
        left=left,
        right=right,
        lines=tuple(lines),
        hatched=hatched,
        tones=tones,
        light=light,
        leaves=street.leaves * np.exp(rng.normal(-0.2, 0.4)),
        brightness=rng.uniform(0.27, 0.5),
    )
    return varied, camera
