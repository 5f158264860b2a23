"""Pasted pictures, made anew: decoded by Pillow, made smaller where they are large, and written without metadata."""

from __future__ import annotations

import base64
import io
import struct
import warnings
import zlib
from collections.abc import Mapping

from PIL import Image, ImageOps

FORMATS = {"image/png": "PNG", "image/jpeg": "JPEG"}
LARGEST = 1600  # pixels along the longer side: sharp across a page
MOST_PIXELS = 60_000_000  # a picture that claims more is not decoded
DOTS, HIGHEST = 130, 5.5  # an inch, and inches: how large a picture is on paper, where there is room for it

# What Pillow and base64 raise about files that are damaged or claim to be huge.
DAMAGED = (
    OSError,
    SyntaxError,
    ValueError,
    EOFError,
    IndexError,
    struct.error,
    zlib.error,
    Image.DecompressionBombError,
)


class Unusable(Exception):
    """A picture cannot be shown; the text says why."""


def picture_file(attachment: Mapping[str, str]) -> tuple[bytes, str]:
    """A new image file, and its media type, for an attachment {media type: base64}: PNG or JPEG, whichever is smaller.

    Raises Unusable."""
    kind = next((kind for kind in FORMATS if kind in attachment), None)
    if kind is None:
        raise Unusable(f"it is {', '.join(attachment) or 'empty'}, and only PNG and JPEG can be")
    try:
        image = _decoded(base64.b64decode("".join(attachment[kind])))
    except DAMAGED as error:
        raise Unusable("it is damaged or far too large") from error
    files = {kind: _encoded(image, name) for kind, name in FORMATS.items()}
    smaller = min(files, key=lambda kind: len(files[kind]))
    return files[smaller], smaller


def _decoded(file: bytes) -> Image.Image:
    """The picture on white, the right way up, at most LARGEST pixels wide and high."""
    with warnings.catch_warnings(action="ignore"), Image.open(io.BytesIO(file), formats=[*FORMATS.values()]) as image:
        if image.width * image.height > MOST_PIXELS:
            raise ValueError("too many pixels")
        image.draft("RGB", (LARGEST, LARGEST))  # a large JPEG is decoded small at once
        upright = ImageOps.exif_transpose(image).convert("RGBA")
    upright.thumbnail((LARGEST, LARGEST))
    return Image.alpha_composite(Image.new("RGBA", upright.size, "white"), upright).convert("RGB")


def _encoded(image: Image.Image, name: str) -> bytes:
    file, dots = io.BytesIO(), max(DOTS, image.height / HIGHEST)
    image.save(file, name, optimize=True, quality=88, dpi=(dots, dots))
    return file.getvalue()
