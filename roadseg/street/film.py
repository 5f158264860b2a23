"""Films: MP4 through imageio-ffmpeg, which is loaded only here, and animated GIFs.

A frame is uint8 (H, W, 3), RGB; a rate is in frames a second.
"""

from __future__ import annotations

import errno
import io
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing
from itertools import chain, islice
from pathlib import Path

import numpy as np
from PIL import Image

from roadseg.errors import DataError, explained
from roadseg.storage import atomic_write, part_of

SUFFIXES = (".mp4", ".mov", ".m4v", ".avi", ".mkv", ".webm")
QUALITY = 6  # of 10
LARGEST_GIF = 1_000_000  # bytes: what a README may show
GIF_SECONDS, GIF_RATE, GIF_COLORS = 10, 5, 64
GIF_WIDTHS = (480, 400, 320, 256, 192, 128)  # pixels, from the first on until the file is small enough
USUAL_RATE = 25  # of a video that does not say
REMEDY = "choose another folder, or free space"
# What imageio-ffmpeg raises about a file without frames, or one that ends in the middle of a frame.
DAMAGED = (OSError, RuntimeError, ValueError, LookupError, AssertionError, StopIteration)


def load_ffmpeg():
    """The module imageio_ffmpeg; DataError where it is not installed."""
    try:
        import imageio_ffmpeg
    except ImportError:
        raise DataError("videos need imageio-ffmpeg: python -m pip install imageio-ffmpeg") from None
    return imageio_ffmpeg


def read_video(path: Path) -> tuple[float, Iterator[np.ndarray]]:
    """Rate and frames of a video, one after another; DataError for a file that is no video, or has no frame."""
    broken = f"{path}: expected a video, found no frame that can be read; export it as MP4"
    with explained(DataError, path, "make it a readable file"):
        open(path, "rb").close()
    stream = load_ffmpeg().read_frames(str(path))
    try:
        about, first = next(stream), next(stream)
    except DAMAGED as error:
        raise DataError(broken) from error

    def frames() -> Iterator[np.ndarray]:
        with closing(stream):
            try:
                for frame in chain([first], stream):
                    yield np.frombuffer(frame, np.uint8).reshape(*about["size"][::-1], 3)
            except DAMAGED as error:
                raise DataError(broken) from error

    return about["fps"] or USUAL_RATE, frames()


def write_film(
    path: Path,
    frames: Iterable[np.ndarray],
    *,
    rate: float,
    draw: Callable[[np.ndarray], np.ndarray] = lambda frame: frame,
) -> None:
    """Write a film whole or not at all: as .mp4, or as a .gif of at most 1 MB.

    A GIF has about five frames a second of the first ten seconds. `draw` makes of a frame what is shown.

    Raises DataError for another ending, where imageio-ffmpeg is missing, or where the file cannot be written.
    """
    ending = path.suffix.lower()
    if ending not in (".mp4", ".gif"):
        raise DataError(f"{path}: expected a name that ends with .mp4 or .gif")
    with explained(DataError, path, REMEDY):
        if ending == ".mp4":
            write_mp4(path, map(draw, frames), rate)
        else:
            step = max(1, round(rate / GIF_RATE))
            shown = islice(frames, 0, max(1, round(GIF_SECONDS * rate)), step)
            write_gif(path, map(draw, shown), rate / step)


def write_mp4(path: Path, frames: Iterator[np.ndarray], rate: float) -> None:
    """Write an MP4 file; an odd row or column is cut off, as its coding halves the resolution of colors."""
    failed = OSError(errno.EIO, "ffmpeg could not write all of it", str(path))
    with part_of(path) as part:
        part.touch()  # raises what ffmpeg would tell in many lines
        first = next(frames)
        height, width = (side - side % 2 for side in first.shape[:2])
        writer = load_ffmpeg().write_frames(str(part), (width, height), fps=rate, quality=QUALITY, macro_block_size=2)
        try:
            with closing(writer):
                writer.send(None)
                for frame in chain([first], frames):
                    writer.send(np.ascontiguousarray(frame[:height, :width]))
        except OSError as error:
            raise failed from error
        try:
            with closing(read_video(part)[1]) as written:
                next(written)  # where the disk is full ffmpeg may end without a word
        except DataError as error:
            raise failed from error


def write_gif(path: Path, frames: Iterator[np.ndarray], rate: float) -> None:
    """Write an animated GIF, as wide as its limit of bytes allows."""
    with atomic_write(path) as file:  # before the frames are drawn, which takes a while
        shown = list(frames)
        for width in GIF_WIDTHS:
            size = (width, round(width * shown[0].shape[0] / shown[0].shape[1]))
            small = [Image.fromarray(frame).resize(size, Image.Resampling.LANCZOS) for frame in shown]
            palette = Image.fromarray(np.vstack([np.asarray(image)[::10] for image in small])).quantize(GIF_COLORS)
            first, *rest = [image.quantize(palette=palette, dither=Image.Dither.NONE) for image in small]
            content = io.BytesIO()
            first.save(content, "GIF", save_all=True, append_images=rest, duration=10 * round(100 / rate), loop=0)
            if content.tell() <= LARGEST_GIF:
                break
        file.write(content.getvalue())
