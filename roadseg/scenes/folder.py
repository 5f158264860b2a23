"""A folder of scenes in KITTI's layout: written once, read by whatever reads KITTI.

Below the folder that `write` makes, each file (188, 621) pixels large::

    training/image_2/um_000000.png           RGB
    training/gt_image_2/um_road_000000.png   red not road, magenta road, black not valid
    training/classes_2/um_000000.png         indices into CLASSES
    training/calib/um_000000.txt             the camera, for the view from above
    scenes.json                              seed, counts, variety, renderer's version
"""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
from PIL import Image

from roadseg.errors import DataError
from roadseg.kitti import read_image
from roadseg.scenes.rendering import COUNTS, render, require_category, require_whole

RECORD = "scenes.json"  # lies where scenes were rendered
VERSION = 2  # of the renderer: the same seed gives the same pixels only within one version
HELPER = "import sys; from roadseg.scenes.folder import write_part; write_part(*sys.argv[1:])"


def write(
    root: str | Path,
    *,
    seed: int = 0,
    counts: Mapping[str, int] | None = None,
    variety: bool = False,
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
    variety : as in `render`
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
    require_whole("seed", seed)
    for category, count in counts.items():
        require_category(category)
        require_whole(f"counts[{category!r}]", count)
    if workers is None:
        workers = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    require_whole("workers", workers, least=1)
    record = {"version": VERSION, "seed": int(seed), "counts": {name: int(counts[name]) for name in counts}}
    record |= {"variety": True} if variety else {}
    if is_written(root, record):
        return root
    try:
        place = Path(os.path.abspath(root))  # "." has no name
        place.parent.mkdir(parents=True, exist_ok=True)
        with TemporaryDirectory(prefix=f".{place.name}-", dir=place.parent, ignore_cleanup_errors=True) as temporary:
            made = Path(temporary) / place.name
            write_scenes(made, record, workers, progress)
            (made / RECORD).write_text(json.dumps(record, indent=2) + "\n", "utf-8")
            try:
                if root.is_dir() and not any(root.iterdir()):  # it stays: a link, a disk, or where somebody works
                    for part in sorted(made.iterdir(), key=lambda part: part.name == RECORD):  # which comes last
                        shutil.move(part, root / part.name)
                else:
                    made.rename(root)
            except OSError:
                if not is_written(root, record):  # otherwise another process was first
                    raise
    except OSError as error:
        raise DataError(f"{root}: cannot write scenes here ({error.strerror}); choose another folder") from error
    return root


def read_record(root: Path) -> dict | None:
    """The record in a folder of scenes; None where there is none, or a damaged one."""
    try:
        record = json.loads((root / RECORD).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return record if isinstance(record, dict) else None


def is_written(root: Path, record: dict) -> bool:
    """Whether `root` holds these scenes; those of an older renderer, or without their cameras, are removed.

    Raises DataError where `root` holds anything else.
    """
    if not root.exists() or (root.is_dir() and not any(root.iterdir())):  # first of all: a folder appears whole
        return False
    found = read_record(root) or {}
    version = found.get("version")
    same = all(found.get(name) == record.get(name) for name in ("seed", "counts", "variety"))
    if same and version == record["version"] and (root / "training" / "calib").is_dir():
        return True
    if same and isinstance(version, int) and version <= record["version"]:
        shutil.rmtree(root, ignore_errors=True)
        if not root.exists():
            return False
    what = "something else" if root.is_dir() else "a file"
    if found:
        what = f"other scenes (seed {found.get('seed')}, version {version})"
    raise DataError(f"{root}: expected no folder or one with these scenes, found {what}; remove it or choose another")


def list_scenes(record: dict) -> list[tuple[str, int]]:
    """Category and index of each scene, in the order in which they are written."""
    return [(category, index) for category, count in sorted(record["counts"].items()) for index in range(count)]


def write_scenes(root: Path, record: dict, workers: int, progress: Callable[[int, int], None] | None) -> None:
    """Write all scenes below `root`.

    With n workers, each is a process that writes every n-th scene and reports it by a line. This process writes the
    scenes of a worker that fails. Workers end when nobody reads their reports any more.
    """
    for folder in ("image_2", "gt_image_2", "classes_2", "calib"):
        (root / "training" / folder).mkdir(parents=True)
    names, helpers = list_scenes(record), []
    workers = min(workers, len(names))
    with ExitStack() as stack:
        for first in range(workers if workers > 1 else 0):
            helper = subprocess.Popen(
                [sys.executable, "-c", HELPER, root, json.dumps(record), str(first), str(workers)],
                env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)},  # the package may be found by it alone
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,  # Ctrl-C ends the helpers, too, and one message is enough
            )
            helpers.append(stack.enter_context(helper))
            stack.callback(helper.kill)
        for done, (category, index) in enumerate(names):
            if not (helpers and helpers[done % workers].stdout.readline()):
                write_scene(root, category, index, record)
            if progress:
                progress(done + 1, len(names))


def write_part(root: str, record: str, first: str, step: str) -> None:
    """Write every `step`-th scene from `first` on and print a line for each: all that a helper process does."""
    record = json.loads(record)
    for category, index in list_scenes(record)[int(first) :: int(step)]:
        write_scene(Path(root), category, index, record)
        print(category, index, flush=True)


def write_scene(root: Path, category: str, index: int, record: dict) -> None:
    """Write the four files of a scene."""
    scene = render(category, index, seed=record["seed"], variety="variety" in record)
    training, name = root / "training", f"{category}_{index:06d}"
    Image.fromarray(scene.image).save(training / "image_2" / f"{name}.png")
    Image.fromarray(scene.label).save(training / "gt_image_2" / f"{category}_road_{index:06d}.png")
    Image.fromarray(scene.classes).save(training / "classes_2" / f"{name}.png")
    (training / "calib" / f"{name}.txt").write_text(scene.calibration, encoding="utf-8")


@dataclass(frozen=True, eq=False)
class SceneData:
    """Rendered scenes, each pixel with one of the four CLASSES (question 10)."""

    images: np.ndarray  # uint8 (N, H, W, 3), RGB
    classes: np.ndarray  # uint8 (N, H, W), indices into CLASSES
    names: tuple[str, ...]  # such as "um_000000", sorted


def load_classes(size: tuple[int, int] = (128, 128), *, root: str | Path) -> SceneData:
    """Read rendered scenes with their classes, resized: images bilinear, classes nearest.

    Parameters
    ----------
    size : height and width in pixels
    root : what `write` has made

    Raises
    ------
    DataError
        The folder holds no scenes with classes, or damaged ones.
    """
    folder = Path(root) / "training"
    names = tuple(sorted(path.stem for path in (folder / "classes_2").glob("*.png")))
    if not names:
        raise DataError(f"{root}: expected scenes with classes in training/classes_2, found none; write them anew")

    def read(name: str) -> list[np.ndarray]:
        image, classes = (read_image(folder / part / f"{name}.png") for part in ("image_2", "classes_2"))
        planes = (image, Image.Resampling.BILINEAR), (classes[..., 0], Image.Resampling.NEAREST)
        return [np.asarray(Image.fromarray(plane).resize(size[::-1], method)) for plane, method in planes]

    try:
        with ThreadPoolExecutor() as pool:
            images, classes = (np.stack(arrays) for arrays in zip(*pool.map(read, names)))
    except DataError as error:
        found = str(error).rpartition("; ")[0]
        raise DataError(f"{found}; delete the folder {root} and write the scenes anew") from error
    return SceneData(images, classes, names)
