"""Photos of any street: what a network finds on them, and how that is drawn.

A photo is uint8 (H, W, 3), upright, RGB, of any size; a probability is float32 (H, W), of the photo's size.
"""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import TYPE_CHECKING

import h5py
import numpy as np
from matplotlib.colors import to_rgb
from PIL import Image
from scipy import ndimage

from roadseg import kitti, models, runs
from roadseg.data import resize
from roadseg.errors import RunError
from roadseg.plots import FOUND
from roadseg.storage import runs_folder
from roadseg.training import predict

if TYPE_CHECKING:
    import keras

SUFFIXES = (".png", ".jpg", ".jpeg", ".webp")
TINT = 0.4  # how much of the road's color is the tint's
OUTLINE = 300  # the photo's longer side is so many times the width of its outline


def open_network(place: str | Path) -> keras.Model:
    """The network of a run (its folder, or its name in the runs folder), or the U-Net with other weights.

    place : a file's name ends with .weights.h5; best.weights.h5 of a run brings the run's own network; "scenes", where
        no run is called that, is the U-Net with the weights that ship.

    Raises RunError where there is none, or where the weights are of another network.
    """
    path = Path(place)
    if str(place) == "scenes" and not path.is_dir() and not (runs_folder() / path).is_dir():
        return models.unet(weights="scenes")
    if not path.name.endswith(".weights.h5"):
        return runs.open_run(path).model()
    if (path.parent / "finished.json").is_file():
        return runs.open_run(path.parent).model(path.name.removesuffix(".weights.h5"))
    try:
        with h5py.File(path) as file:
            model = models.unet(standardize="rescaling" in file["layers"])
        with warnings.catch_warnings():
            warnings.simplefilter("error", UserWarning)  # that parts of the file are missing
            model.load_weights(path)
    except (UserWarning, OSError, ValueError, LookupError, TypeError, AttributeError, RuntimeError) as error:
        raise RunError(
            f"{path}: expected the weights of a U-Net, found no such file; name a run or its file."
        ) from error
    return model


def open_photo(path: Path) -> np.ndarray:
    """The photo in a PNG, JPEG or WebP file, upright; DataError as `roadseg.kitti.read_image`."""
    with warnings.catch_warnings(action="ignore", category=Image.DecompressionBombWarning):  # the refusal says it
        return kitti.read_image(path, formats=("PNG", "JPEG", "WEBP"))


def find_road(model: keras.Model, photo: np.ndarray) -> np.ndarray:
    """The probability of road at each pixel of a photo."""
    small = resize(photo, model.input_shape[1:3], Image.Resampling.BILINEAR)
    return resize(predict(model, small[None])[0], photo.shape[:2], Image.Resampling.BILINEAR)


def draw_road(photo: np.ndarray, probability: np.ndarray, *, threshold: float = 0.5) -> np.ndarray:
    """The photo with its road tinted and outlined in blue."""
    road = probability >= threshold
    width = max(2, max(road.shape) // OUTLINE)
    edge = road & ~ndimage.minimum_filter(road, 2 * width + 1, mode="nearest")
    color, drawn = 255 * np.float32(to_rgb(FOUND)), photo.copy()
    drawn[road] = photo[road] + TINT * (color - photo[road])
    drawn[edge] = color
    return drawn


def eight_bits(probability: np.ndarray) -> np.ndarray:
    """Probabilities as uint8 of the same shape, 255 for 1: what an image file holds."""
    return np.round(255 * probability).astype(np.uint8)
