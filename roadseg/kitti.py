"""KITTI road on disk: pairs of image and label, and what the colors of a label mean.

The layout below a data set's root, as published in ``data_road.zip``; folder names may be spelled in any case::

    training/image_2/um_000000.png           uint8 (H, W, 3), RGB
    training/gt_image_2/um_road_000000.png   uint8 (H, W, 3): red > 0 is valid, blue > 0 is road

Images of any size are read, as long as each label has the size of its image. The benchmark's are 1242 x 375,
1241 x 376, 1238 x 374 or 1226 x 370 pixels. Labels of the single lane (``um_lane_*``) are left out.

Source: Fritsch, Kuehnl, Geiger, "A New Performance Measure and Evaluation Benchmark for Road Detection Algorithms",
ITSC 2013. License of the images: CC BY-NC-SA 3.0.
"""

from __future__ import annotations

import io
import re
import struct
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from roadseg.errors import DataError, explained, one_line

CATEGORIES = ("um", "umm", "uu")  # urban marked, urban multiple marked lanes, urban unmarked
ROOT = "data_road"
IMAGES, LABELS = ("training", "image_2"), ("training", "gt_image_2")
IMAGE_NAME = re.compile(rf"({'|'.join(CATEGORIES)})_([0-9]{{6}})\.png")
LABEL_NAME = re.compile(rf"({'|'.join(CATEGORIES)})_road_([0-9]{{6}})\.png")
LARGEST_IMAGE = Image.MAX_IMAGE_PIXELS  # 89 million; a decompression bomb has billions
REPLACE = "replace it by an intact copy"
DAMAGED = (OSError, SyntaxError, ValueError, EOFError, IndexError, struct.error, zlib.error)  # what Pillow raises


@dataclass(frozen=True)
class Frame:
    """The files of one labeled image: `name` is "um_000000"."""

    name: str
    image: Path
    label: Path


def list_frames(root: Path) -> list[Frame]:
    """The images below `root` paired with their road labels, sorted by name.

    Raises DataError where `root` is no data set, cannot be read, or an image or a label lacks its partner.
    """
    base = find_dataset(root)
    images = _named_files(find_path(base, *IMAGES), IMAGE_NAME)
    labels = _named_files(find_path(base, *LABELS), LABEL_NAME)
    if not images and not labels:
        raise DataError(f"{root}: no image like {'/'.join(IMAGES)}/um_000000.png; copy the published files there")
    for found, lacking, partner in ((images, labels, "label"), (labels, images, "image")):
        if alone := sorted(found[name].name for name in found.keys() - lacking.keys()):
            raise DataError(
                f"{root}: {len(alone)} without {partner} ({a_few(alone)}); restore each {partner} or remove these files"
            )
    return [Frame(name, images[name], labels[name]) for name in sorted(images)]


def read_frame(frame: Frame) -> tuple[np.ndarray, np.ndarray]:
    """Image and label of one frame, each uint8 (H, W, 3).

    Raises DataError for a file that is not a whole PNG image, for two sizes, and for a label with other colors than
    KITTI's, with red and blue exchanged, without any valid pixel, or with its image's pixels.
    """
    image, label = read_image(frame.image), read_image(frame.label, gray=False)
    if image.shape != label.shape:
        (height, width), (label_height, label_width) = image.shape[:2], label.shape[:2]
        raise DataError(
            f"{frame.label}: expected the size of its image {frame.image.name}, {width} x {height} pixels, "
            f"found {label_width} x {label_height}; replace both files by the published ones"
        )
    strange = label[(label[..., 1] > 0) | (label[..., 0] % 255 > 0) | (label[..., 2] % 255 > 0)]
    if len(strange):
        raise DataError(
            f"{frame.label}: expected the colors (255, 0, 0) not road, (255, 0, 255) road, (0, 0, 0) and (0, 0, 255) "
            f"excluded, found {tuple(strange[0].tolist())}; use KITTI's label, and resize labels by nearest neighbor"
        )
    if np.array_equal(image, label):
        raise DataError(f"{frame.image}: expected a photo, found the label {frame.label.name}; {REPLACE}")
    mask, valid = decode_label(label)
    if np.count_nonzero(mask & ~valid) > np.count_nonzero(valid & ~mask):
        raise DataError(f"{frame.label}: more (0, 0, 255) than (255, 0, 0); save it with the channels in the order RGB")
    if not valid.any():
        raise DataError(f"{frame.label}: no valid pixel (red > 0 nowhere); replace the label or remove its pair")
    return image, label


def decode_label(label: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Two boolean arrays (H, W), mask and valid, of a label uint8 (H, W, 3).

    Red (255, 0, 0) is not road, magenta (255, 0, 255) is road, black is excluded from evaluation, and so is the road
    that a few labels mark in blue (0, 0, 255).
    """
    return label[..., 2] > 0, label[..., 0] > 0


def find_dataset(root: Path) -> Path:
    """`root`, or its folder data_road as some unpackers nest it, whichever holds images and labels.

    Raises DataError where neither does."""
    for base in (root, find_path(root, ROOT)):
        if base and find_path(base, *IMAGES) and find_path(base, *LABELS):
            return base
    found = (a_few(sorted(path.name for path in root.iterdir())) or "nothing") if root.is_dir() else "no such folder"
    expected = f"{'/'.join(IMAGES)} and {'/'.join(LABELS)}"
    raise DataError(f"{root}: expected {expected} in it, found {found}; unpack {ROOT}.zip there")


def find_path(folder: Path, *names: str) -> Path | None:
    """folder/name/name/..., each name in any case but rather as written, or None where there is none."""
    with explained(DataError, folder, "make the folder readable"):
        for name in names:
            entries = folder.iterdir() if folder.is_dir() else ()
            spellings = {path.name: path for path in sorted(entries) if path.name.lower() == name}
            if not spellings:
                return None
            folder = spellings.get(name) or next(iter(spellings.values()))
    return folder


def a_few(names: list[str] | tuple[str, ...]) -> str:
    """Up to three names, and how many more there are."""
    return ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")


def _named_files(folder: Path, pattern: re.Pattern) -> dict[str, Path]:
    """The files of `folder` that match, keyed by frame name such as "um_000000"."""
    files = {}
    with explained(DataError, folder, "make the folder readable"):
        for path in sorted(folder.iterdir()):
            if match := pattern.fullmatch(path.name.lower()):
                if not path.is_file():
                    raise DataError(f"{path}: expected a file, found a folder or a broken link; {REPLACE}")
                if "_".join(match.groups()) in files:
                    raise DataError(f"{path}: there twice, in another spelling; remove one of the two")
                files["_".join(match.groups())] = path
    return files


def read_image(path: Path, *, formats: Sequence[str] = ("PNG",), gray: bool = True) -> np.ndarray:
    """An image file of 8 bits a channel as uint8 (H, W, 3), turned as its EXIF data say.

    formats : Pillow's names of those accepted; gray : False requires colors. Raises DataError for anything else: not an
    image, truncated, too large, animated, CMYK or 16 bits a channel.
    """
    with explained(DataError, path, "make it a readable file"):
        content = io.BytesIO(path.read_bytes())
    modes = ("RGB", "RGBA", "P", "PA") + gray * ("1", "L", "LA")
    try:
        Image.open(content, formats=formats).verify()  # checksums, which decoding leaves out
        image = Image.open(content, formats=formats)
        frames = 1 if image.format == "MPO" else getattr(image, "n_frames", 1)  # phones put a second image into a JPEG
        facts = {
            f"{image.width} x {image.height} pixels": image.width * image.height <= LARGEST_IMAGE,
            f"{frames} frames": frames == 1,
            f"mode {image.mode}": image.mode in modes,
        }
        if all(facts.values()):
            ImageOps.exif_transpose(image, in_place=True)
            image = image.convert("RGBA") if "P" in image.mode else image  # the one way on which Pillow does not warn
            return np.asarray(image.convert("RGB"))
    except (Image.DecompressionBombError, Image.DecompressionBombWarning):
        raise DataError(f"{path}: expected an image of at most {LARGEST_IMAGE:,} pixels; make it smaller") from None
    except UnidentifiedImageError:
        kinds = " or ".join(formats)
        raise DataError(f"{path}: expected an image ({kinds}), found something else; {REPLACE}") from None
    except DAMAGED as error:
        raise DataError(f"{path}: truncated or damaged image ({one_line(error)}); {REPLACE}") from error
    found = " and ".join(fact for fact, fits in facts.items() if not fits)
    raise DataError(
        f"{path}: expected a still image of at most {LARGEST_IMAGE:,} pixels in one of the modes {', '.join(modes)}, "
        f"found {found}; save it as one"
    )
