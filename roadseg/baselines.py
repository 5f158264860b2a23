"""Baselines that know no shape: four predictors that a network has to beat (questions 1 and 5).

Each is fitted on training images and returns a function from images to probabilities:

>>> predict = BASELINES["color"](train_images, train_masks)  # doctest: +SKIP
>>> probability = predict(images)  # doctest: +SKIP

images      : uint8 (N, H, W, 3), RGB
masks       : bool (N, H, W), the truth; every pixel counts, as in the course
probability : float32 (N, H, W) in [0, 1]
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from roadseg.errors import OptionError

Predictor = Callable[[np.ndarray], np.ndarray]

BIN_BITS = 4  # of a channel's 8: 16 bins, coarse enough that training has seen most colors of a new image
BINS = 1 << 3 * BIN_BITS
PSEUDO_PIXELS = 2.0  # of average color, added to each bin: an unseen color gets the average fraction of road
LEAST_DOUBT = 0.001  # in color and position, so that neither alone can rule the other out


def all_background(train_images: np.ndarray, train_masks: np.ndarray) -> Predictor:
    """Predict background everywhere: right for four pixels in five."""
    _check_training(train_images, train_masks)
    return lambda images: np.zeros(_checked(images).shape[:3], np.float32)


def mean_mask(train_images: np.ndarray, train_masks: np.ndarray) -> Predictor:
    """Predict the mean of the training masks for every image (which must have their size)."""
    _check_training(train_images, train_masks)
    mean = train_masks.mean(axis=0, dtype=np.float32)
    return lambda images: np.repeat(mean[None], len(_checked(images, size=mean.shape)), axis=0)


def color(train_images: np.ndarray, train_masks: np.ndarray) -> Predictor:
    """Predict the fraction of road among training pixels of the same color, in 16 bins a channel."""
    _check_training(train_images, train_masks)
    histograms = (  # pixels of each color, background and road
        np.bincount((_bins(image) + BINS * mask).ravel(), minlength=2 * BINS)
        for image, mask in zip(train_images, train_masks, strict=True)
    )
    background, road = sum(histograms).reshape(2, BINS)
    prior = train_masks.mean()
    fraction = ((road + PSEUDO_PIXELS * prior) / (background + road + PSEUDO_PIXELS)).astype(np.float32)
    return lambda images: np.stack([fraction[_bins(image)] for image in _checked(images)])


def color_and_position(train_images: np.ndarray, train_masks: np.ndarray) -> Predictor:
    """Multiply the odds of `color` by those of `mean_mask`, as if the two were independent (naive Bayes).

    Both contain the prior odds of road, so these are divided out once.
    """
    by_color, by_position = color(train_images, train_masks), mean_mask(train_images, train_masks)
    prior_odds = _odds(train_masks.mean())

    def predict(images: np.ndarray) -> np.ndarray:
        odds = _odds(by_color(images)) * _odds(by_position(images)) / prior_odds
        return odds / (1 + odds)

    return predict


BASELINES: dict[str, Callable[[np.ndarray, np.ndarray], Predictor]] = {
    "all background": all_background,
    "mean mask": mean_mask,
    "color": color,
    "color and position": color_and_position,
}


def _bins(image: np.ndarray) -> np.ndarray:
    """Bin of each pixel's color: uint16 (H, W) below 4096."""
    red, green, blue = np.moveaxis(image >> 8 - BIN_BITS, -1, 0).astype(np.uint16)
    return (red << 2 * BIN_BITS) + (green << BIN_BITS) + blue


def _odds(probability):
    clipped = np.clip(probability, LEAST_DOUBT, 1 - LEAST_DOUBT, dtype=np.float32)
    return clipped / (1 - clipped)


def _check_training(images: np.ndarray, masks: np.ndarray) -> None:
    if masks.dtype != bool or masks.shape != _checked(images).shape[:3]:
        expected = f"bool {images.shape[:3]} to match the images"
        raise OptionError(f"masks: expected {expected}, found {masks.dtype} {masks.shape}; pass a mask like blue > 0")


def _checked(images: np.ndarray, *, size: tuple[int, int] | None = None) -> np.ndarray:
    fits = images.ndim == 4 and images.shape[-1] == 3 and len(images) > 0 and size in (None, images.shape[1:3])
    if images.dtype != np.uint8 or not fits:
        height, width = size or ("H", "W")
        expected = f"uint8 (N, {height}, {width}, 3), N at least 1"
        raise OptionError(f"images: expected {expected}, found {images.dtype} {images.shape}; stack images of one size")
    return images
