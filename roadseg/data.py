"""Road images as arrays and as `tf.data`: read once, resize, cache, split, batch.

A sample is (image, road, weight): float32 (H, W, 3) in [0, 1]; float32 (H, W, 1) of 0 and 1, where 1 is road; float32
(H, W, 1) of 0 and 1, where 0 marks a pixel that KITTI leaves out of the evaluation.
"""

from __future__ import annotations

import hashlib
import json
import os
import warnings
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from PIL import Image

from roadseg import kitti
from roadseg.errors import DataError, OptionError, interruptible, printable
from roadseg.files import DAMAGED_ARRAYS, written_whole

if TYPE_CHECKING:
    import tensorflow as tf

COURSE_IMAGES = 287  # the course's list ends before uu_000096 and uu_000097
COURSE_VALIDATION = 15
COURSE_SEED = 123
CACHE_VERSION = 1  # part of every cache's key: raise it when reading or resizing changes


@dataclass(frozen=True, eq=False)
class RoadData:
    """Resized pictures with their labels, sorted by name.

    images : uint8 (N, H, W, 3); road, evaluated : bool (N, H, W); names : such as "um_000000";
    source : one sentence that says where they come from; fingerprint : digest of the arrays and names.
    """

    images: np.ndarray
    road: np.ndarray
    evaluated: np.ndarray
    names: tuple[str, ...]
    source: str
    fingerprint: str

    def __len__(self) -> int:
        return len(self.names)

    @property
    def size(self) -> tuple[int, int]:
        """(height, width) of every picture."""
        return self.images.shape[1:3]

    @cached_property
    def categories(self) -> np.ndarray:
        """The category of each picture, str (N,): um, umm or uu."""
        return np.array([name.split("_")[0] for name in self.names])

    @cached_property
    def _tensors(self) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
        from roadseg.backend import tf

        with tf.device("CPU"):
            return tf.constant(self.images), tf.constant(self.road), tf.constant(self.evaluated)


class Split(NamedTuple):
    """Which pictures train and which validate: two int arrays of positions."""

    train: np.ndarray
    validation: np.ndarray


def load(
    root: str | Path | None = None,
    *,
    size: tuple[int, int] = (256, 256),
    cache: str | Path | bool = True,
    workers: int | None = None,
    say: Callable[[str], None] = print,
) -> RoadData:
    """Every labelled picture below `root`, resized to `size` (height, width): images bilinear, labels nearest.

    Parameters
    ----------
    root : a folder in KITTI's layout. None: real KITTI where there is some, else scenes, rendered when first needed.
    cache : True keeps the arrays in `data/cache` (or ROADSEG_CACHE), a path keeps them there, False keeps nothing.
    workers : threads that decode; None is one for each core.
    say : called with one line when the scenes have to be rendered first, which takes a while.

    Raises
    ------
    DataError : a file is missing, damaged or contradicts another; the cache cannot be written.
    OptionError : a size or number of workers below 1.
    """
    if len(size) != 2 or min(size) < 1:
        raise OptionError(f"size is {size!r}: expected (height, width), both at least 1, such as (256, 256).")
    if workers is not None and workers < 1:
        raise OptionError(f"workers is {workers}: expected at least 1, or None for one a core.")
    with interruptible("loading the pictures keeps nothing half done: start it again."):
        return _loaded(root, size, cache, workers, say)


def _loaded(root, size, cache, workers, say) -> RoadData:
    root, source = _found(root, say)
    with _scenes_can_be_rendered(root):
        frames = kitti.frames(root)
    path = None if cache is False else _cache_folder(cache) / f"{_cache_key(root, frames, size)}.npz"
    kept = _read_cache(path, source) if path else None
    if kept is None:
        with _scenes_can_be_rendered(root):
            kept = _decoded(frames, size, workers, source)
        if path:
            _write_cache(path, kept)
    return kept


@contextmanager
def _scenes_can_be_rendered(root: Path) -> Iterator[None]:
    """Where rendered scenes are damaged, nobody has intact copies: say how to get them again."""
    try:
        yield
    except DataError as error:
        usual = root == kitti.project_root() / "data" / "scenes"
        if not usual and kitti.scenes_record(root) is None:
            raise
        again = "they are rendered again" if usual else f"render them again: python -m roadseg data --render {root}"
        found = str(error).rpartition("; ")[0] or str(error)  # without the remedy for published pictures
        raise DataError(f"{found}; these are rendered scenes: delete the folder {root}, and {again}") from error


def course_split(count: int) -> Split:
    """The assignment's split of `count` pictures sorted by name: the first 287 shuffled by NumPy's legacy seed 123, the
    last 15 of them for validation (questions 3 and 4: 272 / 4 = 68 steps)."""
    if count <= COURSE_VALIDATION:
        raise OptionError(f"{count} pictures cannot be split: expected more than {COURSE_VALIDATION}; add pictures.")
    order = np.random.RandomState(COURSE_SEED).permutation(min(count, COURSE_IMAGES))
    return Split(order[:-COURSE_VALIDATION], order[-COURSE_VALIDATION:])


def block_split(names: tuple[str, ...], *, fraction: float = 1 / 6, fold: int = 0) -> Split:
    """Hold out one block of neighbouring frames of each category: neighbours resemble each other, so this is harder.

    Parameters
    ----------
    names : of pictures, sorted, such as "um_000000"; the category is the part before the underscore.
    fraction : of each category, in (0, 0.5].
    fold : which block, counted from the end; 0 holds out the last.
    """
    folds = int(1 / fraction + 1e-9) if 0 < fraction <= 0.5 else 0
    if not 0 <= fold < folds:
        raise OptionError(
            f"fraction {fraction} with fold {fold}: expected a fraction in (0, 0.5] and 0 <= fold < 1 / fraction."
        )
    categories = np.array([name.split("_")[0] for name in names])
    held_out = np.zeros(len(names), bool)
    for category in np.unique(categories):
        where = np.flatnonzero(categories == category)
        stop, start = (len(where) - round((fold + ahead) * fraction * len(where)) for ahead in (0, 1))
        held_out[where[start:stop]] = True
    if not names or not set(categories) == set(categories[held_out]) == set(categories[~held_out]):
        raise OptionError(f"{len(names)} pictures are too few to hold out {fraction:.2f} of each category.")
    return Split(np.flatnonzero(~held_out), np.flatnonzero(held_out))


def split(data: RoadData, name: str = "course") -> Split:
    """`course_split` or `block_split` of the data, by name: course, blocks."""
    if name == "course":
        return course_split(len(data))
    if name == "blocks":
        return block_split(data.names)
    raise OptionError(f"no split is called {name!r}: choose course or blocks.")


def arrays(data: RoadData, indices: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Samples as float32 arrays: image (n, H, W, 3) in [0, 1], road (n, H, W, 1), weight (n, H, W, 1)."""
    image = data.images[indices].astype(np.float32) / 255
    road = data.road[indices, ..., None].astype(np.float32)
    return image, road, data.evaluated[indices, ..., None].astype(np.float32)


def dataset(
    data: RoadData,
    indices: np.ndarray,
    *,
    batch_size: int = 4,
    shuffle: bool = False,
    flip: bool = False,
    zoom: float = 0.0,
    colour: float = 0.0,
    half_size: bool = False,
    seed: int = 0,
    epoch: int = 0,
) -> tf.data.Dataset:
    """Batches of (image, road, weight) for one epoch; what is random depends on `seed` and `epoch` alone.

    Parameters
    ----------
    shuffle : another order every epoch.
    flip : mirror each picture left to right with probability one half, with its road and weight.
    zoom : how much of width and height a random part of each picture may lack, in [0, 1); it is enlarged to the whole.
    colour : strength in [0, 1] of random changes of brightness, contrast and white balance.
    half_size : samples of half the height and width, which must be even: a quarter of the work.

    All changes come after the cache, so that every epoch draws anew.
    """
    from roadseg.backend import tf

    if batch_size < 1 or not 0 <= colour <= 1 or not 0 <= zoom < 1:
        found = f"batch_size {batch_size}, zoom {zoom}, colour {colour}"
        raise OptionError(f"{found}: expected at least 1, at least 0 and less than 1, and a strength in [0, 1].")
    indices = np.asarray(indices, np.int32)
    order = np.random.default_rng((seed, epoch)).permutation(indices) if shuffle else indices
    images, road, evaluated = data._tensors

    def batch(index: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
        image = tf.cast(tf.gather(images, index), tf.float32) / 255
        masks = (tf.cast(tf.gather(mask, index), tf.float32)[..., None] for mask in (road, evaluated))
        sample = halved(image, *masks) if half_size else (image, *masks)
        draw = tf.stack([tf.constant(seed * 100_003 + epoch, tf.int64), tf.cast(index[0], tf.int64)])
        if flip:
            sample = flipped(*sample, draw=draw)
        if zoom:
            sample = zoomed(*sample, most=zoom, draw=draw)
        if colour:
            sample = (recoloured(sample[0], strength=colour, draw=draw), *sample[1:])
        return sample

    batches = tf.data.Dataset.from_tensor_slices(order).batch(batch_size)
    return batches.map(batch, num_parallel_calls=2).prefetch(2)


def halved(image: tf.Tensor, road: tf.Tensor, weight: tf.Tensor) -> tuple[tf.Tensor, ...]:
    """A batch at half its height and width: the image as means of 2 x 2 pixels, road and weight as one of each four."""
    from roadseg.backend import tf

    return tf.nn.avg_pool2d(image, 2, 2, "VALID"), road[:, 1::2, 1::2], weight[:, 1::2, 1::2]


def flipped(image: tf.Tensor, road: tf.Tensor, weight: tf.Tensor, *, draw: tf.Tensor) -> tuple[tf.Tensor, ...]:
    """Mirror about half of the pictures of a batch: image, road and weight share one random draw."""
    from roadseg.backend import tf

    mirror = tf.random.stateless_uniform([tf.shape(image)[0], 1, 1, 1], draw) < 0.5
    return tuple(tf.where(mirror, tf.reverse(part, [2]), part) for part in (image, road, weight))


def zoomed(
    image: tf.Tensor, road: tf.Tensor, weight: tf.Tensor, *, most: float, draw: tf.Tensor
) -> tuple[tf.Tensor, ...]:
    """Enlarge a random part of each picture of a batch, at least 1 - most of its width and height, to the whole: the
    image bilinear, road and weight nearest, from one random place."""
    from roadseg.backend import tf

    pictures, size = tf.shape(image)[0], image.shape[1:3]
    scale = tf.random.stateless_uniform([pictures, 1], _another(draw, 4), 1 - most, 1)
    corner = tf.random.stateless_uniform([pictures, 2], _another(draw, 5)) * (1 - scale)
    box, which = tf.concat([corner, corner + scale], axis=1), tf.range(pictures)
    masks = tf.image.crop_and_resize(tf.concat([road, weight], axis=-1), box, which, size, method="nearest")
    return tf.image.crop_and_resize(image, box, which, size), masks[..., :1], masks[..., 1:]


def recoloured(image: tf.Tensor, *, strength: float, draw: tf.Tensor) -> tf.Tensor:
    """Change brightness, contrast (each by up to 40 %) and white balance (up to 10 %) of each picture of a batch."""
    from roadseg.backend import tf

    pictures = tf.shape(image)[0]

    def factor(kind: int, channels: int, most: float) -> tf.Tensor:
        spread = most * strength
        return tf.random.stateless_uniform([pictures, 1, 1, channels], _another(draw, kind), 1 - spread, 1 + spread)

    mean = tf.reduce_mean(image, [1, 2], keepdims=True)
    contrasted = (image - mean) * factor(1, 1, 0.4) + mean
    return tf.clip_by_value(contrasted * factor(2, 1, 0.4) * factor(3, 3, 0.1), 0, 1)


def _another(draw: tf.Tensor, kind: int) -> tf.Tensor:
    """The seed of another kind of change to the same batch, far from that of any other picture."""
    from roadseg.backend import tf

    return draw + tf.constant([0, kind * 1_000_003], tf.int64)


def _found(root: str | Path | None, say: Callable[[str], None]) -> tuple[Path, str]:
    """The folder to read and a sentence about it; renders the scenes where nothing else is there."""
    if root is not None:
        return Path(root), f"Road images from {printable(Path(root).name)}."
    location = kitti.locate()
    if location.to_render:
        from roadseg.scenes import rendering as scenes  # needed once only

        say("Rendering 289 road scenes, once: about a minute.")
        scenes.write(location.path)
    return location.path, location.why


def _decoded(frames: list[kitti.Frame], size: tuple[int, int], workers: int | None, source: str) -> RoadData:
    """Read and resize every frame, several at once: Pillow lets go of Python's lock while it decodes and resizes."""

    images = np.empty((len(frames), *size, 3), np.uint8)
    road, evaluated = (np.empty((len(frames), *size), bool) for _ in range(2))

    def read(i: int) -> None:
        image, label = kitti.read_frame(frames[i])
        images[i] = resized(image, size, Image.Resampling.BILINEAR)
        road[i], evaluated[i] = kitti.decode_label(resized(label, size, Image.Resampling.NEAREST))

    with ThreadPoolExecutor(workers or os.cpu_count()) as pool:
        list(pool.map(read, range(len(frames))))  # the list raises what a thread has raised
    data = RoadData(images, road, evaluated, tuple(frame.name for frame in frames), source, "")
    return replace(data, fingerprint=_fingerprint(data))


def resized(picture: np.ndarray, size: tuple[int, int], method: Image.Resampling) -> np.ndarray:
    """uint8 (h, w, 3) to uint8 (height, width, 3). Labels need NEAREST: mixed colours would mean other classes."""
    return np.asarray(Image.fromarray(picture).resize((size[1], size[0]), method))


def _fingerprint(data: RoadData) -> str:
    digest = hashlib.sha256(json.dumps(data.names).encode())
    for part in (data.images, data.road, data.evaluated):
        digest.update(np.ascontiguousarray(part))
    return digest.hexdigest()[:16]


def _cache_folder(cache: str | Path | bool) -> Path:
    if cache is not True:
        return Path(cache)
    return Path(os.environ.get("ROADSEG_CACHE") or kitti.project_root() / "data" / "cache")


def _cache_key(root: Path, frames: list[kitti.Frame], size: tuple[int, int]) -> str:
    """Digest of what makes the arrays: place, size, and the name, length and time of every file."""
    stats = [(path.name, path.stat().st_size, path.stat().st_mtime_ns) for f in frames for path in (f.image, f.label)]
    recipe = json.dumps([CACHE_VERSION, str(root.resolve()), size, stats])
    return hashlib.sha256(recipe.encode()).hexdigest()[:16]


def _read_cache(path: Path, source: str) -> RoadData | None:
    """The cached arrays; None where there are none, or damaged ones (a warning says so, and the caller mends them)."""
    try:
        with open(path, "rb") as file, np.load(file, allow_pickle=False) as kept:
            road, evaluated = kept["label"] & 1 > 0, kept["label"] & 2 > 0
            names, fingerprint = tuple(kept["names"].tolist()), str(kept["fingerprint"])
            return RoadData(kept["images"], road, evaluated, names, source, fingerprint)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except DAMAGED_ARRAYS as error:
        warnings.warn(f"The cache {path} is damaged ({error}): it is made again from the images.", stacklevel=3)
        return None


def _write_cache(path: Path, data: RoadData) -> None:
    label = data.road + 2 * data.evaluated.astype(np.uint8)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with written_whole(path) as file:
            np.savez(file, images=data.images, label=label, names=np.array(data.names), fingerprint=data.fingerprint)
    except OSError as error:
        raise DataError(
            f"the cache {path} cannot be written ({error.strerror}): make its folder writable, set ROADSEG_CACHE "
            "to a folder that is, or load with cache=False."
        ) from error
