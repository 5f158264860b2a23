"""Films: videos through imageio-ffmpeg, which is loaded only here, and animated GIFs. Frames are uint8 (H, W, 3), RGB."""

from __future__ import annotations

import io
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing
from itertools import chain
from pathlib import Path

import numpy as np
from PIL import Image

from roadseg.errors import DataError, explained
from roadseg.storage import atomic_write, replace

SUFFIXES = (".mp4", ".mov", ".m4v", ".avi", ".mkv", ".webm")
QUALITY = 6  # of 10: at ten seconds of a scene about a megabyte
LARGEST_GIF = 1_000_000  # bytes: what a README may show
GIF_WIDTHS = (480, 400, 320, 256, 192, 128)  # pixels, from the first on until the file is small enough
GIF_COLORS = 64
USUAL_RATE = 25  # frames a second of a video that does not say
# What imageio-ffmpeg raises about a file without frames, or one that ends in the middle of a frame.
BROKEN = (OSError, RuntimeError, ValueError, LookupError, AssertionError, StopIteration)


def load_ffmpeg():
    """The module imageio_ffmpeg; DataError where it is not installed."""
    try:
        import imageio_ffmpeg
    except ImportError:
        raise DataError("videos need imageio-ffmpeg: python -m pip install imageio-ffmpeg") from None
    return imageio_ffmpeg


def read_video(path: Path) -> tuple[float, Iterator[np.ndarray]]:
    """Frames a second, and the frames one after another; DataError for a file that is no video or has no frame."""
    broken = f"{path}: expected a video, found no frame that can be read; export it as MP4"
    with explained(DataError, path, "make it a readable file"):
        open(path, "rb").close()
    stream = load_ffmpeg().read_frames(str(path))
    try:
        about, first = next(stream), next(stream)
    except BROKEN as error:
        raise DataError(broken) from error
    width, height = about["size"]

    def frames() -> Iterator[np.ndarray]:
        with closing(stream):
            try:
                for frame in chain([first], stream):
                    yield np.frombuffer(frame, np.uint8).reshape(height, width, 3)
            except BROKEN as error:
                raise DataError(broken) from error

    return about["fps"] or USUAL_RATE, frames()


def write_video(path: Path, frames: Iterable[np.ndarray], *, rate: float) -> None:
    """Write an MP4 file of this many frames a second, whole or not at all; an odd row or column is cut off.

    Raises DataError where imageio-ffmpeg is missing or the file cannot be written.
    """
    part, writer = path.with_name(f".part.{path.name}"), None
    try:
        with explained(DataError, path, "choose another folder, or free space"):
            part.touch()  # where ffmpeg would fail in many lines
            for frame in frames:
                height, width = (side - side % 2 for side in frame.shape[:2])
                if writer is None:
                    writer = load_ffmpeg().write_frames(
                        str(part), (width, height), fps=rate, quality=QUALITY, macro_block_size=2
                    )
                    writer.send(None)
                writer.send(np.ascontiguousarray(frame[:height, :width]))
            writer.close()
            replace(part, path)
    finally:
        part.unlink(missing_ok=True)


def write_gif(path: Path, frames: Sequence[np.ndarray], *, rate: float) -> None:
    """Write an animated GIF of at most 1 MB, as wide as that allows; DataError where it cannot be written."""
    for width in GIF_WIDTHS:
        size = (width, round(width * frames[0].shape[0] / frames[0].shape[1]))
        small = [Image.fromarray(frame).resize(size, Image.Resampling.LANCZOS) for frame in frames]
        palette = small[len(small) // 2].quantize(GIF_COLORS)
        first, *rest = [image.quantize(palette=palette, dither=Image.Dither.NONE) for image in small]
        content = io.BytesIO()
        first.save(content, "GIF", save_all=True, append_images=rest, duration=round(1000 / rate), loop=0)
        if content.tell() <= LARGEST_GIF:
            break
    with explained(DataError, path, "choose another folder, or free space"), atomic_write(path) as file:
        file.write(content.getvalue())
