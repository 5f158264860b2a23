"""Road images as arrays and as `tf.data`: read once, resize, cache, split, batch.

A sample is (image, mask, weight): float32 (H, W, 3) in [0, 1]; float32 (H, W, 1) of 0 and 1, where 1 is road; float32
(H, W, 1) of 0 and 1, where 0 marks a pixel that KITTI excludes from evaluation.
"""

from __future__ import annotations

import hashlib
import json
import operator
import os
import time
import warnings
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from PIL import Image

from roadseg import kitti
from roadseg.errors import DataError, OptionError, clock, explained, interruptible, printable
from roadseg.storage import DAMAGED, atomic_write, cache_folder, project_root

if TYPE_CHECKING:
    import tensorflow as tf

COURSE_IMAGES = 287  # the course's list ends before uu_000096 and uu_000097
COURSE_VALIDATION = 15
COURSE_SEED = 123
CACHE_VERSION = 2  # part of every cache's key: raise it when reading or resizing changes
LEAST_ROAD, MOST_ROAD = 0.01, 0.7  # of all valid pixels; KITTI has 0.18, and labels of another meaning have others
ALIGNMENT = 64  # bytes; what TensorFlow's vector instructions expect of an array


@dataclass(frozen=True, eq=False)
class RoadData:
    """Resized images with their masks, sorted by name.

    images : uint8 (N, H, W, 3); masks, valid : bool (N, H, W), True where there is road and where a pixel is evaluated;
    names : such as "um_000000"; source : one sentence that says where they come from; fingerprint : digest of the
    arrays and names.
    """

    images: np.ndarray
    masks: np.ndarray
    valid: np.ndarray
    names: tuple[str, ...]
    source: str
    fingerprint: str

    def __len__(self) -> int:
        return len(self.names)

    @property
    def size(self) -> tuple[int, int]:
        """(height, width) of every image."""
        return self.images.shape[1:3]

    @cached_property
    def categories(self) -> np.ndarray:
        """The category of each image, str (N,): um, umm or uu."""
        return np.array([name.split("_")[0] for name in self.names])

    @cached_property
    def _tensors(self) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
        from roadseg.backend import tf

        def tensor(array: np.ndarray) -> tf.Tensor:
            # The mapped cache is not copied, so that kernels share it.
            if array.flags.carray and array.ctypes.data % ALIGNMENT == 0:
                return tf.experimental.dlpack.from_dlpack(array.view(np.uint8).__dlpack__())
            return tf.constant(array)

        with tf.device("CPU"):
            return tensor(self.images), tensor(self.masks), tensor(self.valid)


class Split(NamedTuple):
    """Which images train and which validate: two int arrays of positions."""

    train: np.ndarray
    validation: np.ndarray


# --- loading ---------------------------------------------------------------------------------------------------------


def load(
    root: str | Path | None = None,
    *,
    size: tuple[int, int] = (256, 256),
    cache: str | Path | bool = True,
    workers: int | None = None,
    log: Callable[[str], None] = print,
) -> RoadData:
    """Every labeled image below `root`, resized: images bilinear, labels nearest neighbor.

    Parameters
    ----------
    root : folder in KITTI's layout. None: real KITTI where there is some, else scenes, rendered when first needed.
    size : (height, width) in pixels.
    cache : True keeps the arrays in `data/cache` (or ROADSEG_CACHE, which may be shared and read-only: what it lacks is
        kept in `data/cache`), a path keeps them there, False keeps nothing. What is kept is mapped into memory, and so
        shared by all processes that load it.
    workers : threads that decode; None is one for each core.
    log : called with a line at a time while the scenes have to be rendered first, which takes a while, and with one
        where a read-only cache lacks these images.

    Raises
    ------
    DataError : a file is missing, damaged or contradicts another; hardly anything or nearly all is road; the cache
        cannot be written.
    OptionError : a size or number of workers below 1.
    """
    try:
        height, width = size = tuple(map(operator.index, size))  # NumPy's numbers are none that JSON can write
    except (TypeError, ValueError):
        height = width = 0
    if min(height, width) < 1:
        raise OptionError(f"size is {size!r}: expected (height, width), both at least 1, such as (256, 256).")
    if workers is not None and workers < 1:
        raise OptionError(f"workers is {workers}: expected at least 1, or None for one a core.")
    with interruptible("loading the images keeps nothing half done: start it again."):
        if root is None:
            root, source = _find_or_render(log)
        else:
            root, source = Path(root), f"Road images from {printable(Path(root).name)}."
        with _scenes_remedy(root):
            frames = kitti.list_frames(root)
        usual = [cache_folder(), project_root() / "data" / "cache"]
        folders = usual if cache is True else [Path(cache)] if cache else []
        if folders:
            names = tuple(frame.name for frame in frames)
            stats = [(p.name, p.stat().st_size, p.stat().st_mtime_ns) for f in frames for p in (f.image, f.label)]
            name = f"{_fingerprint([CACHE_VERSION, str(root.resolve()), size, stats])}.npy"  # by what makes the arrays
            for folder in dict.fromkeys(folders):
                if found := _read_cache(folder / name, names, size, source):
                    return found
        with _scenes_remedy(root):
            data = _decode(frames, size, workers, source)
        if folders:
            place = folders[0]
            if place != folders[-1] and os.path.isdir(place) and not os.access(place, os.W_OK):
                log(f"The cache {place} is read-only and lacks these images: {folders[-1]} keeps them.")
                place = folders[-1]
            _write_cache(place / name, data)
        return data


def _find_or_render(log: Callable[[str], None]) -> tuple[Path, str]:
    """The folder to read and a sentence about it; renders the scenes where nothing else is there."""
    from roadseg import download, scenes  # the one place where the core asks for rooms

    location = download.locate()
    if location.to_render:
        log("Rendering 289 road scenes, once: one to three minutes.")
        started = time.perf_counter()

        def progress(done: int, count: int) -> None:
            if done < count and done % (count // 5) == 0:
                left = (time.perf_counter() - started) * (count - done) / done
                log(f"{done} of {count} scenes, about {clock(left)} minutes left.")

        scenes.write(location.path, progress=progress)
    return location.path, location.reason


@contextmanager
def _scenes_remedy(root: Path) -> Iterator[None]:
    """Where rendered scenes are damaged, nobody has intact copies: say how to get them again."""
    try:
        yield
    except DataError as error:
        usual = root == project_root() / "data" / "scenes"
        if not usual and not (root / "scenes.json").is_file():
            raise
        again = "they are rendered again" if usual else f"render them again: python -m roadseg data --render {root}"
        found = str(error).rpartition("; ")[0] or str(error)  # without the remedy for published images
        raise DataError(f"{found}; these are rendered scenes: delete the folder {root}, and {again}") from error


def _decode(frames: list[kitti.Frame], size: tuple[int, int], workers: int | None, source: str) -> RoadData:
    """Read and resize every frame, several at once: Pillow lets go of Python's lock while it decodes and resizes."""
    images = np.empty((len(frames), *size, 3), np.uint8)
    masks, valid = (np.empty((len(frames), *size), bool) for _ in range(2))
    counts = np.empty((len(frames), 2), int)

    def read(i: int) -> None:
        image, label = kitti.read_frame(frames[i])
        images[i] = resize(image, size, Image.Resampling.BILINEAR)
        masks[i], valid[i] = kitti.decode_label(resize(label, size, Image.Resampling.NEAREST))
        mask, evaluated = kitti.decode_label(label)
        counts[i] = np.count_nonzero(mask & evaluated), np.count_nonzero(evaluated)

    with ThreadPoolExecutor(workers or os.cpu_count()) as pool:
        list(pool.map(read, range(len(frames))))  # the list raises what a thread has raised
    road = counts[:, 0].sum() / counts[:, 1].sum()  # each label has some valid pixels
    if not LEAST_ROAD <= road <= MOST_ROAD:
        raise DataError(
            f"{frames[0].label.parent}: expected {LEAST_ROAD:.0%} to {MOST_ROAD:.0%} of all valid pixels to be road, "
            f"as a driver sees it, found {road:.1%}; in labels (255, 0, 0) is not road and (255, 0, 255) is road"
        )
    names = tuple(frame.name for frame in frames)
    return RoadData(images, masks, valid, names, source, _fingerprint(names, images, masks, valid))


def _fingerprint(content, *arrays: np.ndarray) -> str:
    """Digest of what JSON can write, and of arrays: 16 characters."""
    digest = hashlib.sha256(json.dumps(content).encode())
    for array in arrays:
        digest.update(array)
    return digest.hexdigest()[:16]


def resize(image: np.ndarray, size: tuple[int, int], method: Image.Resampling) -> np.ndarray:
    """uint8 (h, w, 3) to uint8 (height, width, 3). Labels need NEAREST: mixed colors would mean other classes."""
    return np.asarray(Image.fromarray(image).resize((size[1], size[0]), method))


def _read_cache(path: Path, names: tuple[str, ...], size: tuple[int, int], source: str) -> RoadData | None:
    """The cached arrays, mapped into memory; None where there are none, or damaged ones (a warning says so, and the
    caller mends them)."""
    shape = (len(names), *size)
    try:
        with open(path, "rb") as file:
            file.seek(-len(_fingerprint(names)), os.SEEK_END)
            fingerprint = file.read().decode()
        planes = np.asarray(np.load(path, mmap_mode="c")).reshape(5, -1)
        images, masks, valid = planes[:3].reshape(*shape, 3), *planes[3:].view(bool).reshape(2, *shape)
        if _fingerprint(names, images, masks, valid) != fingerprint:
            raise ValueError("it has another digest")
        return RoadData(images, masks, valid, names, source, fingerprint)
    except (FileNotFoundError, NotADirectoryError, PermissionError):
        return None
    except DAMAGED as error:
        warnings.warn(f"The cache is damaged ({error}): it is made again from the images.", stacklevel=3)
        return None


def _write_cache(path: Path, data: RoadData) -> None:
    """One array, uint8 (5, N * H * W): three planes are images, two masks and valid; the fingerprint follows."""
    planes = np.concatenate([part.ravel().view(np.uint8) for part in (data.images, data.masks, data.valid)])
    remedy = "make the cache's folder writable, set ROADSEG_CACHE to a folder that is, or load with cache=False"
    with explained(DataError, path, remedy):
        path.parent.mkdir(parents=True, exist_ok=True)
        with atomic_write(path) as file:
            np.save(file, planes.reshape(5, -1))
            file.write(data.fingerprint.encode())


# --- training and validation set -------------------------------------------------------------------------------------


def split(data: RoadData, name: str = "course") -> Split:
    """`course_split` or `block_split` of the data, by name: course, blocks."""
    if name == "course":
        return course_split(len(data))
    if name == "blocks":
        return block_split(data.names)
    raise OptionError(f"no split is called {name!r}: choose course or blocks.")


def course_split(count: int) -> Split:
    """The assignment's split of `count` images sorted by name: the first 287 shuffled by NumPy's legacy seed 123, the
    last 15 of them for validation (questions 3 and 4: 272 / 4 = 68 steps)."""
    if count <= COURSE_VALIDATION:
        raise OptionError(f"{count} images cannot be split: expected more than {COURSE_VALIDATION}; add images.")
    order = np.random.RandomState(COURSE_SEED).permutation(min(count, COURSE_IMAGES))
    return Split(order[:-COURSE_VALIDATION], order[-COURSE_VALIDATION:])


def block_split(names: tuple[str, ...], *, fraction: float = 1 / 6, fold: int = 0) -> Split:
    """Hold out one block of neighboring frames of each category: neighbors resemble each other, so this is harder.

    Parameters
    ----------
    names : of images, sorted, such as "um_000000"; the category is the part before the underscore.
    fraction : of each category, in (0, 0.5].
    fold : which block, counted from the end; 0 holds out the last.

    Raises OptionError for a fraction or fold out of its range, and for too few images.
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
        raise OptionError(f"{len(names)} images are too few to hold out {fraction:.2f} of each category.")
    return Split(np.flatnonzero(~held_out), np.flatnonzero(held_out))


# --- samples and batches ---------------------------------------------------------------------------------------------


def arrays(data: RoadData, indices: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Samples as float32 arrays: image (n, H, W, 3) in [0, 1], mask (n, H, W, 1), weight (n, H, W, 1)."""
    image = data.images[indices].astype(np.float32) / 255
    mask = data.masks[indices, ..., None].astype(np.float32)
    return image, mask, data.valid[indices, ..., None].astype(np.float32)


def dataset(
    data: RoadData,
    indices: np.ndarray,
    *,
    batch_size: int = 4,
    shuffle: bool = False,
    random_flip: bool = False,
    random_zoom: float = 0.0,
    color_jitter: float = 0.0,
    camera_jitter: float = 0.0,
    half_resolution: bool = False,
    seed: int = 0,
    epoch: int = 0,
) -> tf.data.Dataset:
    """Batches of (image, mask, weight) for one epoch; what is random depends on `seed` and `epoch` alone.

    Parameters
    ----------
    shuffle : another order every epoch.
    random_flip : mirror each image left to right with probability one half, with its mask and weight.
    random_zoom : strength in [0, 1] of random zoom, stretch and shift; what comes in from outside has weight 0.
    color_jitter : strength in [0, 1] of random changes of brightness, contrast and white balance.
    camera_jitter : strength in [0, 1] of random changes of gamma, saturation, sharpness, local brightness and noise.
    half_resolution : samples of half the height and width, which must be even: a quarter of the work.

    All changes come after the cache, so that every epoch draws anew. Raises OptionError for a batch size or strength
    out of its range.
    """
    from roadseg import augment
    from roadseg.backend import tf

    strengths = {"random_zoom": random_zoom, "color_jitter": color_jitter, "camera_jitter": camera_jitter}
    if batch_size < 1 or not all(0 <= strength <= 1 for strength in strengths.values()):
        found = ", ".join(f"{name} {value}" for name, value in {"batch_size": batch_size, **strengths}.items())
        raise OptionError(f"{found}: expected a batch size of at least 1 and strengths in [0, 1].")
    indices = np.asarray(indices, np.int32)
    order = np.random.default_rng((seed, epoch)).permutation(indices) if shuffle else indices
    images, masks, valid = data._tensors

    def make_batch(index: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
        image = tf.cast(tf.gather(images, index), tf.float32) / 255
        mask, weight = (tf.cast(tf.gather(part, index), tf.float32)[..., None] for part in (masks, valid))
        if half_resolution:
            image, mask, weight = augment.half_resolution(image, mask, weight)
        draw = tf.stack([tf.constant(seed * 100_003 + epoch, tf.int64), tf.cast(index[0], tf.int64)])
        if random_flip:
            image, mask, weight = augment.random_flip(image, mask, weight, draw=draw)
        if random_zoom:
            image, mask, weight = augment.random_zoom(image, mask, weight, strength=random_zoom, draw=draw)
        if color_jitter:
            image = augment.color_jitter(image, strength=color_jitter, draw=draw)
        if camera_jitter:
            image = augment.camera_jitter(image, strength=camera_jitter, draw=draw)
        return image, mask, weight

    batches = tf.data.Dataset.from_tensor_slices(order).batch(batch_size)
    return batches.map(make_batch, num_parallel_calls=2).prefetch(2)
