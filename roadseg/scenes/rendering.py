"""One scene, drawn from its category, index and seed alone.

Four steps: a street, the objects beside and on it, the ground as functions of ground coordinates, the objects from far
to near.
"""

from dataclasses import dataclass, replace
from numbers import Integral

import numpy as np
from PIL import Image

from roadseg.errors import OptionError
from roadseg.scenes.camera import HEIGHT, WIDTH, Camera, develop
from roadseg.scenes.ground import Ground, color_ground, lay_materials, see_ground
from roadseg.scenes.objects import Car, House, SceneObject, Tree
from roadseg.scenes.paint import OTHER, ROAD, Canvas, Light, fractal, mix
from roadseg.scenes.planting import plant_sides, plant_traffic
from roadseg.scenes.street import Street, draw_camera, draw_junction, draw_street, vary

COUNTS = {"um": 95, "umm": 96, "uu": 98}  # marked, multiply marked, unmarked: as many as in KITTI's training part
CATEGORIES = tuple(COUNTS)
CLASSES = ("other", "road", "buildings", "cars")
NOT_ROAD_COLOR, ROAD_COLOR, EXCLUDED_COLOR = (255, 0, 0), (255, 0, 255), (0, 0, 0)
GROUP = 4  # neighboring indices that share a street, as KITTI's frames come in sequences
LABELED = (45, 140)  # meters; somewhere between these, annotators give up telling road from its surroundings
UNSURE = ("mouth", "twin", "gravel")  # other roads and ragged edges, which KITTI's labels often leave out
SHADOW_FAR = 120  # meters; the shadows of objects farther away are too small to be seen


@dataclass(frozen=True)
class Scene:
    """One rendered image with its truth."""

    image: np.ndarray  # (188, 621, 3) uint8, RGB
    label: np.ndarray  # (188, 621, 3) uint8, KITTI's colors
    classes: np.ndarray  # (188, 621) uint8, indices into CLASSES
    calibration: str  # what KITTI's file for it says


def render(category: str, index: int, *, seed: int = 0, variety: bool = False) -> Scene:
    """Render one scene.

    Parameters
    ----------
    category : one of CATEGORIES
    index : 0 or more; neighbors share a street
    seed : 0 or more; another seed, other streets
    variety : streets, light and cameras that differ more than KITTI's do, no two of them alike: to learn from

    Raises
    ------
    OptionError
        An argument is out of its range.
    """
    street, camera, rng = set_scene(category, index, seed, variety)
    objects = plant_sides(street, camera, rng) + plant_traffic(street, camera, rng)
    return draw(street, camera, objects, rng, grain=rng)


def set_scene(
    category: str, index: int, seed: int, variety: bool = False
) -> tuple[Street, Camera, np.random.Generator]:
    """Street and camera of a scene, and the generator that draws the rest of it; OptionError as in `render`."""
    require_category(category)
    require_whole("index", index)
    require_whole("seed", seed)
    kind = CATEGORIES.index(category)
    street = draw_street(category, make_generator(seed, kind, index if variety else index // GROUP, 0))
    rng = make_generator(seed, kind, index, 1)
    camera = draw_camera(street, rng)
    if variety:
        street, camera = vary(street, camera, make_generator(seed, kind, index, 6))
    return replace(street, junction=draw_junction(rng)), camera, rng


def draw(
    street: Street,
    camera: Camera,
    objects: list[SceneObject],
    rng: np.random.Generator,
    *,
    travel: float = 0.0,
    grain: np.random.Generator,
) -> Scene:
    """Draw a scene.

    travel : meters from where the street begins; grain : draws the noise of the pixels."""
    classes = np.full((HEIGHT, WIDTH), OTHER, np.uint8)
    canvas = Canvas(camera, street.light, paint_sky(street.light, camera, rng), classes)
    valid = paint_ground(canvas, street, objects, rng, travel)
    for thing in sorted(darken(objects, canvas), key=lambda thing: -thing.order):
        thing.paint(canvas)
    image = develop(canvas.image, rng, brightness=street.brightness, grain=grain)
    lowest = classes[-rng.integers(1, 4) :]  # KITTI's labels end a little above the lower edge
    lowest[lowest == ROAD] = OTHER
    kind = np.where(classes == ROAD, 1, np.where(~valid & (classes == OTHER), 2, 0))
    label = np.array([NOT_ROAD_COLOR, ROAD_COLOR, EXCLUDED_COLOR], np.uint8)[kind]
    return Scene(image, label, classes, camera.calibration())


def require_category(category: str) -> None:
    """Raise OptionError unless there are scenes of this category."""
    if category not in CATEGORIES:
        raise OptionError(f"category should be one of {', '.join(CATEGORIES)}, not {category!r}")


def require_whole(name: str, number: int, *, least: int = 0) -> None:
    """Raise OptionError unless this is a whole number, of Python's or NumPy's, and large enough."""
    if not isinstance(number, Integral) or isinstance(number, bool) or number < least:
        raise OptionError(f"{name} should be a whole number from {least} on, not {number!r}")


def make_generator(*key: int) -> np.random.Generator:
    """A generator of random numbers that depends on these numbers alone, on any machine."""
    return np.random.Generator(np.random.PCG64(key))


def enlarge(plane: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Enlarge a plane (h, w) float32 smoothly to this height and width."""
    return np.asarray(Image.fromarray(np.ascontiguousarray(plane)).resize(size[::-1], Image.Resampling.BILINEAR))


def paint_sky(light: Light, camera: Camera, rng: np.random.Generator) -> np.ndarray:
    """Sky (H, W, 3), with thin clouds and distant hills."""
    row, column = np.arange(HEIGHT, dtype=np.float32)[:, None], np.arange(WIDTH, dtype=np.float32)[None, :]
    height = np.clip((camera.horizon - row) / camera.horizon, 0, 1)
    zenith = light.haze * np.array([0.16, 0.42, 0.85]) * rng.uniform(0.7, 1.2)
    sky = mix(light.haze, zenith, np.clip(height * rng.uniform(0.5, 1.5), 0, 1) ** 0.6)
    x, y = column[:, ::4] / WIDTH * 2 + rng.uniform(0, 50), height[::4] * 3 + rng.uniform(0, 50)
    cloud = enlarge(fractal(x, y, 1.0, octaves=5), (HEIGHT, WIDTH))
    sky = mix(sky, light.haze, np.clip(rng.uniform(0.05, 0.3) * cloud + rng.uniform(-0.6, 0.9), 0, 1))
    rough = fractal(column / 200 + rng.uniform(0, 99), 0, 1.0, octaves=6)
    ridge = rng.uniform(1, 8) * np.clip(1 + 0.6 * rough, 0.1, 3)
    hill = np.clip(ridge - (camera.horizon - row), 0, 1)
    return mix(sky, mix(np.array([0.03, 0.04, 0.02]), light.haze, rng.uniform(0.02, 0.12)), hill)


def paint_ground(
    canvas: Canvas, street: Street, objects: list[SceneObject], rng: np.random.Generator, travel: float
) -> np.ndarray:
    """Paint the ground, twice as fine as the image; return which pixels (H, W) are valid, as far as it decides it."""
    (top, ground), (_, coarse) = see_ground(canvas.camera, step=0.5), see_ground(canvas.camera, step=2)
    surface = replace(ground, ahead=ground.ahead + np.float32(travel))
    index, names, edges = lay_materials(street, surface, rng)
    color = color_ground(street, index, names, edges, surface, rng)
    color *= light_ground(surface, coarse, objects, canvas)
    color = canvas.light.add_haze(color, ground.ahead)
    canvas.image[top:] = (color[::2, ::2] + color[1::2, ::2] + color[::2, 1::2] + color[1::2, 1::2]) / 4
    index, near = index[::2, ::2], ground.ahead[::2, ::2] < rng.uniform(*LABELED)
    road = index == names.index("road")
    unsure = np.isin(index, [number for number, name in enumerate(names) if name in UNSURE])
    canvas.classes[top:][near & road] = ROAD
    valid = np.ones((HEIGHT, WIDTH), bool)
    valid[top:] = ~unsure & (near | ~road)
    return valid


def light_ground(ground: Ground, coarse: Ground, objects: list[SceneObject], canvas: Canvas) -> np.ndarray:
    """Light (h, w, 3) that the ground receives; shadows and cars are looked up at the coarse points, then enlarged."""
    size, light = ground.lateral.shape, canvas.light
    shadow = enlarge(cast_shadows(objects, canvas, coarse), size)
    leaves = ground.noise(0.7, 3, seed=3) + 0.6 * ground.noise(2.5, 2, seed=8)
    leaves *= np.clip(shadow + 0.8, 0, 1) * (shadow < 1.2)  # only crowns let light through, in spots
    sunlit = np.clip(0.5 - 2.2 * (shadow - 0.25 + 0.33 * leaves), 0, 1)
    x, sky = canvas.camera.line(coarse.ahead) + coarse.lateral, np.ones(coarse.lateral.shape, np.float32)
    for thing in objects:
        if isinstance(thing, Car):
            sky *= 1 - thing.hidden_sky(x, coarse.ahead)
    return ((sunlit * light.sun[1])[..., None] * light.sunlight + light.skylight) * enlarge(sky, size)[..., None]


def cast_shadows(objects: list[SceneObject], canvas: Canvas, ground: Ground) -> np.ndarray:
    """How deep each ground point lies in the shadow of these objects, as `SceneObject` says."""
    x, y, z = canvas.camera.line(ground.ahead) + ground.lateral, canvas.camera.rise(ground.ahead), ground.ahead
    deepest = np.full(x.shape, -1, np.float32)
    for thing in objects:
        if isinstance(thing, Tree | House | Car) and thing.foot[2] < SHADOW_FAR:
            np.maximum(deepest, thing.shadow(canvas.light.sun, x, y, z), out=deepest)
    return deepest


def darken(objects: list[SceneObject], canvas: Canvas) -> list[SceneObject]:
    """The objects, those that stand in the shadow of trees and houses as dark as they are there."""
    casters = [thing for thing in objects if isinstance(thing, Tree | House)]
    others = [thing for thing in objects if not isinstance(thing, Tree | House)]
    x, _, z = np.array([thing.foot for thing in others], np.float32).reshape(-1, 3).T
    shadow = cast_shadows(casters, canvas, Ground(x - canvas.camera.line(z), z, z, z))
    sunlit = np.clip(1 - 1.2 * shadow, 0.08, 1)
    return casters + [replace(thing, sunlit=float(each)) for thing, each in zip(others, sunlit, strict=True)]
