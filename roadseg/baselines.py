"""How far one gets without looking at shape: four predictors that a network has to beat (questions 1 and 5).

Each is fitted on training images and returns a function from images to probabilities:

>>> predict = BASELINES["colour"](train_images, train_road)  # doctest: +SKIP
>>> probability = predict(images)  # doctest: +SKIP

images      : uint8 (N, H, W, 3), red, green, blue
road        : bool (N, H, W), the truth; every pixel counts, as in the course
probability : float32 (N, H, W) in [0, 1]
"""

from collections.abc import Callable

import numpy as np

from roadseg.errors import OptionError

Predictor = Callable[[np.ndarray], np.ndarray]

BIN_BITS = 4  # of a channel's 8: 16 bins, coarse enough that training has seen most colours of a new image
BINS = 1 << 3 * BIN_BITS
PSEUDO_PIXELS = 2.0  # of average colour, added to each bin: an unseen colour gets the average share of road
LEAST_DOUBT = 0.001  # in colour and position, so that neither alone can rule the other out


def no_road(train_images: np.ndarray, train_road: np.ndarray) -> Predictor:
    """Say NO ROAD everywhere: right for four pixels in five."""
    _check_training(train_images, train_road)
    return lambda images: np.zeros(_checked(images).shape[:3], np.float32)


def mean_mask(train_images: np.ndarray, train_road: np.ndarray) -> Predictor:
    """Answer with the mean of the training masks, whatever the image (which must have their size)."""
    _check_training(train_images, train_road)
    mean = train_road.mean(axis=0, dtype=np.float32)
    return lambda images: np.repeat(mean[None], len(_checked(images, size=mean.shape)), axis=0)


def colour(train_images: np.ndarray, train_road: np.ndarray) -> Predictor:
    """Answer with the share of road among training pixels of the same colour, in 16 bins a channel."""
    _check_training(train_images, train_road)
    other, road = sum(_histogram(image, mask) for image, mask in zip(train_images, train_road, strict=True))
    prior = train_road.mean()
    share = ((road + PSEUDO_PIXELS * prior) / (other + road + PSEUDO_PIXELS)).astype(np.float32)
    return lambda images: np.stack([share[_bins(image)] for image in _checked(images)])


def colour_and_position(train_images: np.ndarray, train_road: np.ndarray) -> Predictor:
    """Multiply the odds of `colour` by those of `mean_mask`, as if the two were independent (naive Bayes).

    Both contain the odds of road as such, so these are divided out once.
    """
    by_colour, by_position = colour(train_images, train_road), mean_mask(train_images, train_road)
    prior_odds = _odds(train_road.mean())

    def predict(images: np.ndarray) -> np.ndarray:
        odds = _odds(by_colour(images)) * _odds(by_position(images)) / prior_odds
        return odds / (1 + odds)

    return predict


BASELINES: dict[str, Callable[[np.ndarray, np.ndarray], Predictor]] = {
    "no road": no_road,
    "mean mask": mean_mask,
    "colour": colour,
    "colour and position": colour_and_position,
}


def _bins(image: np.ndarray) -> np.ndarray:
    """Bin of each pixel's colour: uint16 (H, W) below 4096."""
    red, green, blue = np.moveaxis(image >> 8 - BIN_BITS, -1, 0).astype(np.uint16)
    return (red << 2 * BIN_BITS) + (green << BIN_BITS) + blue


def _histogram(image: np.ndarray, road: np.ndarray) -> np.ndarray:
    """Pixels of each colour: int64 (2, 4096), NO ROAD and road."""
    return np.bincount((_bins(image) + BINS * road).ravel(), minlength=2 * BINS).reshape(2, BINS)


def _odds(probability):
    sure = np.clip(probability, LEAST_DOUBT, 1 - LEAST_DOUBT, dtype=np.float32)
    return sure / (1 - sure)


def _check_training(images: np.ndarray, road: np.ndarray) -> None:
    if road.dtype != bool or road.shape != _checked(images).shape[:3]:
        expected = f"bool {images.shape[:3]} to match the images"
        raise OptionError(f"road: expected {expected}, found {road.dtype} {road.shape}; pass a mask such as blue > 0")


def _checked(images: np.ndarray, *, size: tuple[int, int] | None = None) -> np.ndarray:
    fits = images.ndim == 4 and images.shape[-1] == 3 and len(images) > 0 and size in (None, images.shape[1:3])
    if images.dtype != np.uint8 or not fits:
        height, width = size or ("H", "W")
        expected = f"uint8 (N, {height}, {width}, 3), N at least 1"
        raise OptionError(f"images: expected {expected}, found {images.dtype} {images.shape}; stack images of one size")
    return images
