"""Road scenes like KITTI's, rendered from a seed and written in KITTI's layout: data for whoever has no download.

A scene is drawn in four steps: a street, the things beside and on it, the ground as functions of ground coordinates,
the things from far to near. Below the folder that `write` makes, each file (188, 621) pixels large::

    training/image_2/um_000000.png           RGB
    training/gt_image_2/um_road_000000.png   red not road, magenta road, black not evaluated
    training/classes_2/um_000000.png         indices into CLASSES
    scenes.json                              seed, counts, renderer's version, digest of all pixels
"""

import hashlib
import json
import multiprocessing
import os
import shutil
import signal
import tempfile
import threading
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from multiprocessing import resource_tracker
from pathlib import Path

import numpy as np
from PIL import Image

from roadseg.errors import DataError, OptionError
from roadseg.kitti import SCENES_RECORD, SCENES_VERSION, scenes_record
from roadseg.scenes import paint
from roadseg.scenes.objects import Barrier, Car, House, Post, Tree
from roadseg.scenes.paint import HEIGHT, OTHER, ROAD, WIDTH, Camera, Canvas, Light, mix
from roadseg.scenes.street import (
    Ground,
    Junction,
    Street,
    colour_ground,
    draw_camera,
    draw_junction,
    draw_street,
    lay_materials,
    plant,
    see_ground,
)

COUNTS = {"um": 95, "umm": 96, "uu": 98}  # marked, multiply marked, unmarked: as many as in KITTI's training part
CATEGORIES = tuple(COUNTS)
CLASSES = ("other", "road", "buildings", "cars")
NOT_ROAD_COLOUR, ROAD_COLOUR, EXCLUDED_COLOUR = (255, 0, 0), (255, 0, 255), (0, 0, 0)
GROUP = 4  # neighbouring indices that share a street, as KITTI's frames come in sequences
LABELLED = (45, 140)  # metres; somewhere between these, annotators give up telling road from its surroundings
UNSURE = ("mouth", "twin", "gravel")  # other roads and ragged edges, which KITTI's labels often leave out
SHADE_FAR = 120  # metres; what stands farther away throws no shade that could be seen


@dataclass(frozen=True)
class Scene:
    """One rendered picture with its truth."""

    image: np.ndarray  # (188, 621, 3) uint8, RGB
    label: np.ndarray  # (188, 621, 3) uint8, KITTI's colours
    classes: np.ndarray  # (188, 621) uint8, indices into CLASSES
    hidden_road: float  # share of the road's ground in view that vehicles and other things hide
    markings: int  # painted lines along the road


# --- one scene -------------------------------------------------------------------------------------------------------


def render(category: str, index: int, *, seed: int = 0) -> Scene:
    """Render one scene.

    Parameters
    ----------
    category : one of CATEGORIES
    index : 0 or more; neighbours share a street's style
    seed : 0 or more; another seed, other streets

    Raises
    ------
    OptionError
        An argument is out of its range.
    """
    check(category, index, seed)
    kind = CATEGORIES.index(category)
    street = draw_street(category, generator(seed, kind, index // GROUP, 0))
    rng = generator(seed, kind, index, 1)
    camera, junction = draw_camera(street, rng), draw_junction(rng)
    things = plant(street, camera, junction, rng)
    canvas = Canvas(paint_sky(street.light, camera, rng), np.full((HEIGHT, WIDTH), OTHER, np.uint8))
    evaluated, ground_road = paint_ground(canvas, camera, street, junction, things, rng)
    for thing in sorted(shaded(things, street.light, camera), key=lambda thing: -thing.order):
        thing.paint(canvas, camera, street.light)
    image = paint.develop(canvas.light, rng, brightness=street.brightness)
    label, classes = cut_label(canvas.classes, evaluated, rng)
    hidden = np.mean(canvas.classes[ground_road] != ROAD) if ground_road.any() else 0.0
    return Scene(image, label, classes, float(hidden), len(street.lines))


def generator(*key: int) -> np.random.Generator:
    """A generator of random numbers that depends on these numbers alone, on any machine."""
    return np.random.Generator(np.random.PCG64(np.random.SeedSequence(key)))


def paint_sky(light: Light, camera: Camera, rng: np.random.Generator) -> np.ndarray:
    """Sky (H, W, 3), with thin clouds and distant hills."""
    row, column = np.arange(HEIGHT, dtype=np.float32)[:, None], np.arange(WIDTH, dtype=np.float32)[None, :]
    height = np.clip((camera.horizon - row) / camera.horizon, 0, 1)
    zenith = light.haze * np.array([0.16, 0.42, 0.85]) * rng.uniform(0.7, 1.2)
    sky = mix(light.haze, zenith, np.clip(height * rng.uniform(0.5, 1.5), 0, 1) ** 0.6)
    x, y = column[:, ::4] / WIDTH * 2 + rng.uniform(0, 50), height[::4] * 3 + rng.uniform(0, 50)
    cloud = enlarge(paint.fractal(x, y, 1.0, octaves=5), (HEIGHT, WIDTH))
    sky = mix(sky, light.haze, np.clip(rng.uniform(0.05, 0.3) * cloud + rng.uniform(-0.6, 0.9), 0, 1))
    rough = paint.fractal(column / 200 + rng.uniform(0, 99), 0, 1.0, octaves=6)
    ridge = rng.uniform(1, 8) * np.clip(1 + 0.6 * rough, 0.1, 3)
    hill = np.clip(ridge - (camera.horizon - row), 0, 1)
    return mix(sky, mix(np.array([0.03, 0.04, 0.02]), light.haze, rng.uniform(0.02, 0.12)), hill)


def enlarge(plane: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Enlarge a plane (h, w) float32 smoothly to this height and width."""
    return np.asarray(Image.fromarray(np.ascontiguousarray(plane)).resize(size[::-1], Image.Resampling.BILINEAR))


def shade_of(things: list, light: Light, camera: Camera, ground: Ground) -> np.ndarray:
    """How deep each ground point lies in shade: below 0 in the sun, 1 and more in full shade."""
    x, y, z = camera.line(ground.ahead) + ground.lateral, camera.rise(ground.ahead), ground.ahead
    deepest = np.full(x.shape, -1, np.float32)
    for thing in things:
        if isinstance(thing, Tree | House | Car) and thing.foot[2] < SHADE_FAR:
            np.maximum(deepest, thing.shade(light.sun, x, y, z), out=deepest)
    return deepest


def shaded(things: list, light: Light, camera: Camera) -> list:
    """The things, those that stand in the shade of trees and houses as dark as they are there."""
    low = [thing for thing in things if isinstance(thing, Car | Barrier | Post)]
    x, _, z = np.array([thing.foot for thing in low], np.float32).reshape(-1, 3).T
    casters = [thing for thing in things if isinstance(thing, Tree | House)]
    shade = shade_of(casters, light, camera, Ground(x - camera.line(z), z, z, z))
    sunlit = np.clip(1 - 1.2 * shade, 0.08, 1)
    return casters + [replace(thing, sunlit=float(share)) for thing, share in zip(low, sunlit, strict=True)]


def sky_above(things: list, camera: Camera, ground: Ground) -> np.ndarray:
    """Share of the sky's light that cars leave to each ground point."""
    x, left = camera.line(ground.ahead) + ground.lateral, np.ones(ground.lateral.shape, np.float32)
    for thing in things:
        if isinstance(thing, Car):
            left *= 1 - thing.closeness(x, ground.ahead)
    return left


def light_on_ground(ground: Ground, coarse: Ground, things: list, light: Light, camera: Camera) -> np.ndarray:
    """Light (h, w, 3) that the ground receives; shade and cars are looked up at the coarse points, then enlarged."""
    size = ground.lateral.shape
    shade = enlarge(shade_of(things, light, camera, coarse), size)
    leaves = ground.noise(0.7, 3, seed=3) + 0.6 * ground.noise(2.5, 2, seed=8)
    leaves *= np.clip(shade + 0.8, 0, 1) * (shade < 1.2)  # only crowns let light through, in spots
    sunlit = np.clip(0.5 - 2.2 * (shade - 0.25 + 0.33 * leaves), 0, 1)
    received = (sunlit * light.sun[1])[..., None] * light.sunlight + light.skylight
    return received * enlarge(sky_above(things, camera, coarse), size)[..., None]


def paint_ground(
    canvas: Canvas, camera: Camera, street: Street, junction: Junction | None, things: list, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Paint the ground; return which pixels are evaluated, and the road with nothing on it, both (H, W) bool."""
    (top, ground), (_, coarse) = see_ground(camera, step=0.5), see_ground(camera, step=2)
    index, names = lay_materials(street, junction, ground, rng)
    colour = colour_ground(street, junction, index, names, ground, rng)
    colour *= light_on_ground(ground, coarse, things, street.light, camera)
    colour = mix(colour, street.light.haze, 1 - np.exp(-ground.ahead / street.light.visibility))
    canvas.light[top:] = paint.halve(colour)
    index, seen = index[::2, ::2], ground.ahead[::2, ::2] < rng.uniform(*LABELLED)
    road = index == names.index("road")
    unsure = np.isin(index, [number for number, name in enumerate(names) if name in UNSURE])
    evaluated, ground_road = np.ones((HEIGHT, WIDTH), bool), np.zeros((HEIGHT, WIDTH), bool)
    evaluated[top:], ground_road[top:] = ~unsure & (seen | ~road), seen & road
    canvas.classes[ground_road] = ROAD
    return evaluated, ground_road


def cut_label(classes: np.ndarray, evaluated: np.ndarray, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Label (h, w, 3) in KITTI's colours and classes (h, w), as annotators would draw it."""
    classes = classes.copy()
    lowest = classes[-rng.integers(1, 4) :]  # KITTI's labels end a little above the lower edge
    lowest[lowest == ROAD] = OTHER
    kind = (classes == ROAD).astype(np.uint8)
    kind[~evaluated & (classes == OTHER)] = 2
    return np.array([NOT_ROAD_COLOUR, ROAD_COLOUR, EXCLUDED_COLOUR], np.uint8)[kind], classes


# --- a folder of scenes ----------------------------------------------------------------------------------------------


def write(
    root: str | Path,
    *,
    seed: int = 0,
    counts: Mapping[str, int] | None = None,
    workers: int | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Path:
    """Render scenes into the folder `root`, which appears only when it is whole; keep it where it is already right.

    Parameters
    ----------
    root : a folder that does not exist yet, is empty, or holds the same scenes, which are rendered again where an older
        version of the renderer made them
    seed : 0 or more
    counts : scenes of each category; COUNTS, KITTI's own, by default
    workers : processes; one for each processor by default, 1 renders in this one
    progress : called with the scenes done and the scenes to do after each one

    Raises
    ------
    OptionError
        An argument is out of its range.
    DataError
        The folder holds something else or cannot be written.
    """
    root, counts = Path(root), dict(COUNTS if counts is None else counts)
    check("um", 0, seed)
    for category, count in counts.items():
        check_count(category, count)
    if workers is not None and (not is_whole(workers) or workers < 1):
        raise OptionError(f"workers should be a whole number from 1 on, or None for all processors, not {workers!r}")
    names = [(category, index) for category in sorted(counts) for index in range(counts[category])]
    record = {"version": SCENES_VERSION, "seed": int(seed), "counts": {name: int(counts[name]) for name in counts}}
    if older(root, record):
        shutil.rmtree(root, ignore_errors=True)
    if holds(root, record):
        return root
    try:
        root.parent.mkdir(parents=True, exist_ok=True)
        part = Path(tempfile.mkdtemp(prefix=f".{root.name}-", dir=root.parent))
        try:
            record["digest"] = fill(part, names, seed, workers or processors(), progress)
            (part / SCENES_RECORD).write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")
            put_in_place(part, root, record)
        finally:
            shutil.rmtree(part, ignore_errors=True)
    except OSError as error:
        raise DataError(f"{root}: cannot write scenes here ({error.strerror}); choose another folder") from error
    return root


def fill(part: Path, names: list, seed: int, workers: int, progress: Callable[[int, int], None] | None) -> str:
    """Write the scenes into `part`; return a digest of all their pixels."""
    for folder in ("image_2", "gt_image_2", "classes_2"):
        (part / "training" / folder).mkdir(parents=True)
    digest = hashlib.sha256()
    for done, one in enumerate(write_all(part, names, seed, workers), start=1):
        digest.update(one)
        if progress:
            progress(done, len(names))
    return digest.hexdigest()


def write_all(part: Path, names: list, seed: int, workers: int) -> Iterator[bytes]:
    """Digests of the scenes in order, as they are written.

    Processes start afresh ("spawn"): forked ones would inherit TensorFlow's threads in an undefined state. Where no
    process can start, as below a script without `if __name__ == "__main__"`, this one does the rest.
    """
    task, done = partial(write_one, part, seed), 0
    if min(workers, len(names)) > 1:
        pool = None
        try:
            spawn = multiprocessing.get_context("spawn")
            with interrupts_later():
                pool = ProcessPoolExecutor(min(workers, len(names)), spawn, initializer=leave_with_parent)
                digests = pool.map(task, names)  # which starts the processes
            for digest in digests:
                done += 1
                yield digest
        except BrokenProcessPool:
            pass
        finally:
            if pool:
                pool.shutdown(cancel_futures=True)  # after an interrupt nobody wants the rest
    yield from map(task, names[done:])


@contextmanager
def interrupts_later() -> Iterator[None]:
    """Ctrl-C goes to all processes of a command: those started inside never see it, this one does afterwards."""
    if threading.current_thread() is not threading.main_thread() or not hasattr(signal, "pthread_sigmask"):
        yield
        return
    resource_tracker.ensure_running()  # multiprocessing's own process: started inside, it would let signals through
    heard = []
    handler = signal.signal(signal.SIGINT, lambda *_: heard.append(True))  # by any thread of this process
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})  # what new processes begin with
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
        signal.signal(signal.SIGINT, handler)
        if heard:
            signal.raise_signal(signal.SIGINT)


def leave_with_parent() -> None:
    """End this worker when its parent is gone: a kernel that is killed must not leave anybody behind."""

    def watch() -> None:
        multiprocessing.parent_process().join()
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


def write_one(part: Path, seed: int, name: tuple[str, int]) -> bytes:
    """Render and write one scene; return a digest of its pixels."""
    category, index = name
    scene, digest = render(category, index, seed=seed), hashlib.sha256()
    files = {
        f"image_2/{category}_{index:06d}.png": scene.image,
        f"gt_image_2/{category}_road_{index:06d}.png": scene.label,
        f"classes_2/{category}_{index:06d}.png": scene.classes,
    }
    for file, pixels in files.items():
        Image.fromarray(pixels).save(part / "training" / file)
        digest.update(pixels.tobytes())
    return digest.digest()


def older(root: Path, record: dict) -> bool:
    """Whether `root` holds these scenes as an older version of the renderer made them."""
    found = scenes_record(root) or {}
    same = all(found.get(name) == record[name] for name in ("seed", "counts"))
    return same and is_whole(found.get("version")) and found["version"] < record["version"]


def holds(root: Path, record: dict) -> bool:
    """Whether `root` already holds just these scenes. Raises DataError where it holds anything else."""
    found = scenes_record(root)
    if found is not None:
        if record.items() <= found.items():
            return True
        what = f"other scenes (seed {found.get('seed')}, version {found.get('version')})"
    elif not root.exists() or (root.is_dir() and not any(root.iterdir())):
        return False
    else:
        what = "something else" if root.is_dir() else "a file"
    raise DataError(f"{root}: expected no folder or one with these scenes, found {what}; remove it or choose another")


def put_in_place(part: Path, root: Path, record: dict) -> None:
    """Give the finished folder its name, unless another process was first with the same scenes."""
    part.chmod(0o755)  # mkdtemp's folders are closed to everybody else
    try:
        if root.is_dir():
            root.rmdir()  # Windows renames onto nothing, not even onto an empty folder
        part.rename(root)
    except OSError:
        if not holds(root, record):
            raise


# --- checks ----------------------------------------------------------------------------------------------------------


def is_whole(number) -> bool:
    """Whether this is a whole number, of Python's or NumPy's."""
    return isinstance(number, int | np.integer) and not isinstance(number, bool)


def check(category: str, index: int, seed: int) -> None:
    """Raise OptionError unless these name a scene."""
    if category not in CATEGORIES:
        raise OptionError(f"category should be one of {', '.join(CATEGORIES)}, not {category!r}")
    for name, number in (("index", index), ("seed", seed)):
        if not is_whole(number) or number < 0:
            raise OptionError(f"{name} should be a whole number from 0 on, not {number!r}")


def check_count(category: str, count: int) -> None:
    """Raise OptionError unless there can be that many scenes."""
    check(category, 0, 0)
    if not is_whole(count) or not 0 <= count <= 10**6:  # file names have six digits
        raise OptionError(f"counts[{category!r}] should be a whole number from 0 to 1000000, not {count!r}")


def processors() -> int:
    """Processors that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
