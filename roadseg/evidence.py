"""What the experiments of notebook 03 need besides the runs: smaller pictures, four classes, distance to the edge.

Arrays are as in `data`: images uint8 (N, H, W, 3), road and evaluated bool (N, H, W).
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from PIL import Image

from . import kitti, scenes
from .data import RoadData, resized
from .errors import OptionError

NAMES = tuple(name.upper() for name in scenes.CLASSES)  # OTHER, ROAD, BUILDINGS, CARS: the order of the labels


@dataclass(frozen=True, eq=False)
class FourClasses:
    """Rendered scenes, each pixel with one of four classes (question 10).

    images : uint8 (N, H, W, 3); classes : uint8 (N, H, W), places in NAMES; names : such as "um_000000", sorted.
    """

    images: np.ndarray
    classes: np.ndarray
    names: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.names)


def four_classes(size: tuple[int, int] = (128, 128), *, root: str | Path | None = None) -> FourClasses:
    """The rendered scenes with their four classes, resized: images bilinear, classes nearest.

    Parameters
    ----------
    root : what `scenes.write` has made. None: the project's own scenes, rendered first where they are not there, as
        when real KITTI is in use (once, about a minute).

    Raises
    ------
    DataError : a folder that holds something else, or cannot be written.
    """
    root = scenes.write(kitti.project_root() / "data" / "scenes") if root is None else Path(root)
    folder = root / "training"
    names = tuple(sorted(path.stem for path in (folder / "classes_2").glob("*.png")))

    def read(name: str) -> tuple[np.ndarray, np.ndarray]:
        with Image.open(folder / "image_2" / f"{name}.png") as image, Image.open(
            folder / "classes_2" / f"{name}.png"
        ) as classes:
            return (
                resized(np.asarray(image), size, Image.Resampling.BILINEAR),
                resized(np.asarray(classes), size, Image.Resampling.NEAREST),
            )

    with ThreadPoolExecutor() as pool:
        images, classes = (np.stack(parts) for parts in zip(*pool.map(read, names)))
    return FourClasses(images, classes, names)


def shrunk(data: RoadData, factor: int) -> RoadData:
    """The same pictures smaller, for trainings of seconds: images averaged over blocks of factor x factor pixels, road
    and evaluated taken from one pixel near the middle of each block, so that they stay yes or no.

    Raises OptionError unless the factor divides height and width.
    """
    height, width = data.size
    if factor < 1 or height % factor or width % factor:
        raise OptionError(f"factor {factor}: expected a whole number that divides {height} and {width}, such as 2.")
    blocks = data.images.reshape(len(data), height // factor, factor, width // factor, factor, 3)
    images = np.rint(blocks.mean(axis=(2, 4), dtype=np.float32)).astype(np.uint8)
    middle = np.s_[:, factor // 2 :: factor, factor // 2 :: factor]
    return replace(
        data,
        images=images,
        road=data.road[middle],
        evaluated=data.evaluated[middle],
        fingerprint=f"{data.fingerprint}/{factor}",
    )


def distance_to_edge(road: np.ndarray, *, most: int = 32) -> np.ndarray:
    """How far each pixel is from the border of the road: uint8 (n, H, W), from 1 beside it to `most` and beyond.

    Steps go to any of the eight neighbours (the chessboard's distance). The picture's own border is no edge. Both
    sides count alike, so a pixel of road and its neighbour outside are both at 1.
    """
    distance = np.full(road.shape, most, np.uint8)
    inside, outside = road, ~road
    for step in range(1, most):
        inside, outside = _eroded(inside), _eroded(outside)
        distance[~(inside | outside) & (distance == most)] = step
    return distance


def _eroded(mask: np.ndarray) -> np.ndarray:
    """The mask without the pixels that touch its outside, bool (n, H, W)."""
    for axis in (1, 2):
        padding = [(1, 1) if i == axis else (0, 0) for i in range(3)]
        padded = np.pad(mask, padding, mode="edge")
        mask = np.all([np.take(padded, range(k, k + mask.shape[axis]), axis) for k in range(3)], axis=0)
    return mask
