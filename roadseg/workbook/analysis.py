"""What the experiments of notebook 03 need besides the runs: smaller pictures, four classes, thin lines, and measures.

Arrays are as in `data`: images uint8 (n, H, W, 3), road and evaluated bool (n, H, W), unless a function says otherwise.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from PIL import Image

from roadseg import kitti
from roadseg.data import RoadData, resized
from roadseg.errors import DataError, OptionError
from roadseg.scenes import rendering as scenes

NAMES = tuple(name.upper() for name in scenes.CLASSES)  # OTHER, ROAD, BUILDINGS, CARS: the order of the labels
MARGIN = 0.02  # above the NO ROAD share: four times what the mean over half an epoch varies by chance
LINES, NOISE = 3, 0.12  # thin lines a picture, and the spread of its noise: visible, and not by one pixel alone


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
    DataError : the folder holds no such scenes, or cannot be written.
    """
    root = scenes.write(kitti.project_root() / "data" / "scenes") if root is None else Path(root)
    folder = root / "training"
    names = tuple(sorted(path.stem for path in (folder / "classes_2").glob("*.png")))
    if not names:
        raise DataError(f"{root}: expected scenes with classes in training/classes_2, found none; write them anew")

    def read(name: str) -> tuple[np.ndarray, np.ndarray]:
        parts = (("image_2", Image.Resampling.BILINEAR), ("classes_2", Image.Resampling.NEAREST))
        return tuple(resized(np.asarray(Image.open(folder / part / f"{name}.png")), size, how) for part, how in parts)

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
    middle = np.s_[:, factor // 2 :: factor, factor // 2 :: factor]
    return replace(
        data,
        images=np.rint(blocks.mean(axis=(2, 4), dtype=np.float32)).astype(np.uint8),
        road=data.road[middle],
        evaluated=data.evaluated[middle],
        fingerprint=f"{data.fingerprint}-{factor}",
    )


def thin_lines(count: int, *, size: int = 64, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Pictures of lines one pixel wide in noise, and where the lines are: the hardest case for position (question 11).

    Returns float32 images (count, size, size, 3) in [0, 1], about 0.25 and on a line brighter by one half, and float32
    masks of 0 and 1 (count, size, size, 1). Half of the lines are steep, half flat.
    """
    rng, along = np.random.default_rng(seed), np.arange(size)
    masks = np.zeros((count, size, size), np.float32)
    for mask in masks:
        for _ in range(LINES):
            across = np.rint(rng.uniform(0.1, 0.9) * size + rng.uniform(-0.8, 0.8) * (along - size / 2)).astype(int)
            inside = (across >= 0) & (across < size)
            rows, columns = (across, along) if rng.random() < 0.5 else (along, across)
            mask[rows[inside], columns[inside]] = 1
    noise = rng.normal(0.25, NOISE, (count, size, size, 3))
    return np.clip(noise + masks[..., None] / 2, 0, 1).astype(np.float32), masks[..., None]


def standing(accuracy: np.ndarray, no_road: float, *, window: int = 34) -> int:
    """The training step after which accuracy, a mean of the last `window` steps, first lies above the NO ROAD share by
    more than chance; the number of steps where it never does (question 2)."""
    mean = np.convolve(accuracy, np.full(window, 1 / window), "valid")
    above = np.flatnonzero(mean > no_road + MARGIN)
    return int(above[0]) + window if len(above) else len(accuracy)


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


def on_grid(mask: np.ndarray, cell: int) -> np.ndarray:
    """The mask as well as one decision for each cell x cell pixels can say it: the majority, bool (n, H, W)."""
    count, height, width = mask.shape
    share = mask.reshape(count, height // cell, cell, width // cell, cell).mean(axis=(2, 4))
    return (share >= 0.5).repeat(cell, axis=1).repeat(cell, axis=2)


def clearest(features: np.ndarray, road: np.ndarray) -> tuple[np.ndarray, float]:
    """The one of many feature maps (h, w, channels) that goes along best with the road, bool (H, W), and how well.

    H and w are multiples of h and w. Returns float (h, w), turned so that road is bright, and |correlation| in [0, 1]
    with the road's share of each cell; maps that are constant are dead, and left out.
    """
    height, width, channels = features.shape
    share = road.reshape(height, len(road) // height, width, -1).mean(axis=(1, 3)).ravel()
    values = features.reshape(-1, channels).astype(np.float64)
    values = (values - values.mean(0)) / np.maximum(values.std(0), 1e-9)
    together = values.T @ (share - share.mean()) / max(share.std(), 1e-9) / len(share)
    best = int(np.abs(together).argmax())
    return np.sign(together[best]) * values[:, best].reshape(height, width), float(abs(together[best]))


def confusion(true: np.ndarray, called: np.ndarray, classes: int) -> np.ndarray:
    """How often each true class (row) is called each class (column): int64 (classes, classes)."""
    pairs = true.ravel().astype(np.int64) * classes + called.ravel()
    return np.bincount(pairs, minlength=classes**2).reshape(classes, classes)


def sharpness(images: np.ndarray) -> float:
    """Mean absolute difference between neighbouring pixels of float images (n, H, W, channels): blur lowers it."""
    return float(sum(np.abs(np.diff(images, axis=axis)).mean() for axis in (1, 2)))


def _eroded(mask: np.ndarray) -> np.ndarray:
    """The mask without the pixels that touch its outside, bool (n, H, W)."""
    for axis in (1, 2):
        padded = np.pad(mask, [(0, 0), *((1, 1) if axis == i else (0, 0) for i in (1, 2))], mode="edge")
        mask = np.all([np.take(padded, range(k, k + mask.shape[axis]), axis) for k in range(3)], axis=0)
    return mask
