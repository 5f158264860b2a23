"""Pasted images, decoded by Pillow and encoded again: smaller where they are large, and without metadata."""

from __future__ import annotations

import base64
import io
import warnings

from PIL import Image, ImageOps

DECODED = ("PNG", "JPEG", "GIF", "WEBP", "BMP")
LARGEST = 1600  # pixels along the longer side: sharp across a page
MAX_PIXELS = 60_000_000  # an image that claims more is not decoded
DPI, MAX_HEIGHT = 130, 5.5  # dots an inch and inches: the size on paper where there is room for it


def recoded(content: str) -> tuple[bytes, str] | None:
    """An image file for one in base64, and its media type: PNG or JPEG, whichever is smaller; None for no image."""
    try:
        image = _decoded(base64.b64decode(content))
    except Exception:  # Pillow's decoders raise many kinds about files that are damaged or of another kind
        return None
    files = []
    for kind in ("png", "jpeg"):
        file, dpi = io.BytesIO(), max(DPI, image.height / MAX_HEIGHT)
        image.save(file, kind, optimize=True, quality=88, dpi=(dpi, dpi))
        files.append((file.getvalue(), f"image/{kind}"))
    return min(files, key=lambda file: len(file[0]))


def _decoded(file: bytes) -> Image.Image:
    """The image on white, the right way up, at most LARGEST pixels wide and high."""
    with warnings.catch_warnings(action="ignore"), Image.open(io.BytesIO(file), formats=DECODED) as image:
        if image.width * image.height > MAX_PIXELS:
            raise ValueError("too many pixels")
        image.draft("RGB", (LARGEST, LARGEST))  # a large JPEG is decoded small at once
        upright = ImageOps.exif_transpose(image).convert("RGBA")
    upright.thumbnail((LARGEST, LARGEST))
    return Image.alpha_composite(Image.new("RGBA", upright.size, "white"), upright).convert("RGB")
