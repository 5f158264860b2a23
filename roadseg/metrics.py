"""How good a predicted road is: pixels are counted over the whole data set, and only then divided.

Every function takes the same three arrays, of one shape, (..., H, W) or (..., H, W, 1):

probability : float in [0, 1], or uint8 in 0..255, which stands for probability * 255
road        : bool, or numbers 0 and 1: the truth
evaluated   : bool, or numbers 0 and 1: the pixels that count, or None where all do

A pixel is called road where its probability is at least the threshold. Ratios are never averaged over images: counts
add up (``+``), and the ratio of the sums is taken. A ratio without a denominator, 0 / 0, is NaN: the precision
of a prediction without any road, say, is unknown rather than good or bad.

Question 6 and the notebooks 01 to 04 use it. The curve and its numbers (MaxF, AP, PRE, REC, FPR, FNR) are those of
Fritsch, Kuehnl, Geiger, "A New Performance Measure and Evaluation Benchmark for Road Detection Algorithms", ITSC 2013,
taken on the image as it is; the benchmark's table takes them on a view from above, so its numbers differ.
"""

from collections.abc import Sequence
from dataclasses import dataclass, fields
from functools import reduce
from operator import add

import numpy as np
from numpy.typing import ArrayLike

from roadseg.errors import OptionError

THRESHOLDS = 256  # of the curve: 0/255, 1/255, ... 255/255, what an 8-bit probability image can tell apart
LEVELS = 2 * THRESHOLDS - 1  # 0/510, 1/510, ... 510/510: these thresholds at even places, and also one half
HALF = LEVELS // 2
CHUNK = 1 << 18  # pixels binned at a time: temporary arrays that fit the cache, about twice as fast as whole ones


class _Ratios:
    """What follows from the four counts: a float each, and in a `Curve` float64 (256,), one for each threshold."""

    def __add__(self, other):
        """Pool two data sets (return a new object)."""
        if type(other) is not type(self):
            return NotImplemented
        return type(self)(*(getattr(self, field.name) + getattr(other, field.name) for field in fields(self)))

    @property
    def accuracy(self) -> float:
        """Share of pixels that are right."""
        right = self.true_positive + self.true_negative
        return _ratio(right, right + self.false_positive + self.false_negative)

    @property
    def precision(self) -> float:
        """Share of road among the pixels called road (the benchmark's PRE)."""
        return _ratio(self.true_positive, self.true_positive + self.false_positive)

    @property
    def recall(self) -> float:
        """Share of the road that is called road (REC)."""
        return _ratio(self.true_positive, self.true_positive + self.false_negative)

    @property
    def f1(self) -> float:
        """Harmonic mean of precision and recall; 0 as soon as one pixel is wrong and no road is found."""
        return _ratio(2 * self.true_positive, 2 * self.true_positive + self.false_positive + self.false_negative)

    @property
    def iou(self) -> float:
        """Intersection of predicted and true road over their union (Jaccard index)."""
        return _ratio(self.true_positive, self.true_positive + self.false_positive + self.false_negative)

    @property
    def false_positive_rate(self) -> float:
        """Share of NO ROAD that is called road (FPR)."""
        return _ratio(self.false_positive, self.false_positive + self.true_negative)

    @property
    def false_negative_rate(self) -> float:
        """Share of the road that is missed (FNR), 1 - recall."""
        return _ratio(self.false_negative, self.true_positive + self.false_negative)


@dataclass(frozen=True)
class Counts(_Ratios):
    """Pixels at one threshold, by prediction and truth: a false positive is called road and is none."""

    true_positive: int
    false_positive: int
    true_negative: int
    false_negative: int


@dataclass(frozen=True, eq=False)  # arrays have no single truth value to compare by
class Curve(_Ratios):
    """Counts at each of the 256 thresholds, int64 (256,), and at one half, which lies between two of them."""

    true_positive: np.ndarray
    false_positive: np.ndarray
    true_negative: np.ndarray
    false_negative: np.ndarray
    at_half: Counts

    @property
    def thresholds(self) -> np.ndarray:
        """float64 (256,): 0/255, 1/255, ... 255/255."""
        return np.arange(THRESHOLDS) / (THRESHOLDS - 1)

    @property
    def max_f1(self) -> float:
        """The benchmark's MaxF: the best F1 that any threshold gives; 0 where no pixel is road."""
        return self.best.f1

    @property
    def threshold(self) -> float:
        """The threshold of `max_f1`; the lowest if several reach it, as in the benchmark."""
        return float(self.thresholds[self._best_index])

    @property
    def best(self) -> Counts:
        """The counts at `threshold`: its ratios are the benchmark's PRE, REC, FPR and FNR."""
        return Counts(*(int(getattr(self, field.name)[self._best_index]) for field in fields(Counts)))

    @property
    def average_precision(self) -> float:
        """The benchmark's AP: the mean, over recalls 0, 0.1, ... 1, of the best precision at that recall or more.

        As in the benchmark, thresholds that find no road (recall and precision both 0) are left out. A recall that
        no threshold reaches does not occur: threshold 0 calls everything road. Without any road pixel AP is NaN.
        """
        found = self.true_positive > 0
        if not found.any():
            return float("nan")
        precision, recall = self.precision[found], self.recall[found]
        return float(np.mean([precision[recall >= tenth / 10].max() for tenth in range(11)]))

    @property
    def _best_index(self) -> int:
        return int(np.nanargmax(self.f1))  # threshold 0 calls all pixels road, so at least one F1 is a number

    def summary(self) -> dict[str, float]:
        """Accuracy, precision, recall, F1 and IoU at one half; then MaxF, AP, and what holds at MaxF's threshold."""
        half, best = self.at_half, self.best
        return {
            **{name: getattr(half, name) for name in ("accuracy", "precision", "recall", "f1", "iou")},
            "max_f": best.f1,
            "average_precision": self.average_precision,
            "pre": best.precision,
            "rec": best.recall,
            "fpr": best.false_positive_rate,
            "fnr": best.false_negative_rate,
            "threshold": self.threshold,
        }


def counts(
    probability: ArrayLike, road: ArrayLike, evaluated: ArrayLike | None = None, *, threshold: float = 0.5
) -> Counts:
    """Count the evaluated pixels at one threshold in [0, 1]; the arrays are described at the top of this file.

    Raises OptionError for shapes that differ, values out of range, NaN, or no evaluated pixel.

    >>> counts([[0.9, 0.6], [0.4, 0.1]], [[1, 0], [1, 0]])
    Counts(true_positive=1, false_positive=1, true_negative=1, false_negative=1)
    """
    if not 0 <= threshold <= 1:
        raise OptionError(f"threshold: expected a number in [0, 1], found {threshold}; 0.5 is the usual one")
    probability, road = _evaluated_pixels(probability, road, evaluated)
    if probability.dtype == np.uint8:
        called = (np.arange(256) / 255 >= threshold)[probability]
    else:
        called = probability >= probability.dtype.type(threshold)
    hits, called, road_pixels = (int(np.count_nonzero(mask)) for mask in (called & road, called, road))
    return Counts(hits, called - hits, road.size - called - road_pixels + hits, road_pixels - hits)


def curve(probability: ArrayLike, road: ArrayLike, evaluated: ArrayLike | None = None) -> Curve:
    """Count the evaluated pixels at all 256 thresholds; the arrays are described at the top of this file.

    A threshold is compared in the precision of the probabilities, so that float32 k / 255 reaches threshold k / 255.
    Raises OptionError for shapes that differ, values out of range, NaN, or no evaluated pixel.
    """
    histogram = _histogram(*_evaluated_pixels(probability, road, evaluated))
    called = histogram[:, ::-1].cumsum(axis=1)[:, ::-1]  # pixels at each level or above it
    rest = histogram.sum(axis=1, keepdims=True) - called
    confusion = np.stack([called[1], called[0], rest[0], rest[1]])  # (4, 511), in the order of the fields
    return Curve(*confusion[:, ::2], at_half=Counts(*confusion[:, HALF].tolist()))


def report(
    probability: ArrayLike, road: ArrayLike, evaluated: ArrayLike | None, categories: Sequence[str]
) -> dict[str, dict[str, float]]:
    """Summarise each category ("um", "umm", "uu") that occurs, and "all", their pixels pooled.

    `categories` names the category of each of the N images; the arrays are (N, H, W) or (N, H, W, 1).
    Raises OptionError as `curve` does, and where N differs.
    """
    probability, road, kinds = np.asarray(probability), np.asarray(road), np.asarray(categories)
    evaluated = np.ones(road.shape, bool) if evaluated is None else np.asarray(evaluated)
    arrays = probability, road, evaluated
    if not 0 < len(kinds) == len(probability) == len(road) == len(evaluated):
        found = ", ".join(str(len(array)) for array in arrays)
        raise OptionError(f"categories: expected one for each image, found {len(kinds)} for {found}; pass one each")
    curves = {str(kind): curve(*(array[kinds == kind] for array in arrays)) for kind in np.unique(kinds)}
    curves["all"] = reduce(add, curves.values())
    return {name: pooled.summary() for name, pooled in curves.items()}


def _ratio(part: int | np.ndarray, whole: int | np.ndarray) -> float | np.ndarray:
    whole = np.asarray(whole)
    ratio = np.divide(part, whole, out=np.full(whole.shape, np.nan), where=whole > 0)
    return ratio if ratio.ndim else float(ratio)


def _evaluated_pixels(probability, road, evaluated) -> tuple[np.ndarray, np.ndarray]:
    """Check the arrays; return probabilities (float or uint8) and truths (bool) that count, both (pixels,)."""
    probability, road = _plane(probability), _mask("road", road)
    evaluated = np.ones(road.shape, bool) if evaluated is None else _mask("evaluated", evaluated)
    if not probability.shape == road.shape == evaluated.shape:
        found = f"{probability.shape}, {road.shape} and {evaluated.shape}"
        raise OptionError(f"probability, road, evaluated: expected one shape, found {found}; index them alike")
    if not evaluated.any():
        raise OptionError("evaluated: expected a pixel that counts, found none; look at the labels' red channel")
    probability = probability[evaluated]
    _check_probability(probability)
    return probability, road[evaluated]


def _plane(values: ArrayLike) -> np.ndarray:
    """Drop the channel axis of (..., H, W, 1)."""
    values = np.asarray(values)
    return values[..., 0] if values.ndim > 2 and values.shape[-1] == 1 else values


def _mask(name: str, values: ArrayLike) -> np.ndarray:
    values = _plane(values)
    if values.dtype != bool and not np.all((values == 0) | (values == 1)):
        raise OptionError(f"{name}: expected bool, or 0 and 1, found other values; pass a mask such as blue > 0")
    return values.astype(bool, copy=False)


def _check_probability(values: np.ndarray) -> None:
    if values.dtype == np.uint8:
        return
    if not np.issubdtype(values.dtype, np.floating):
        raise OptionError(f"probability: expected float or uint8, found {values.dtype}; convert with astype('float32')")
    lowest, highest = values.min(), values.max()
    if not (lowest >= 0 and highest <= 1):  # so put, it is also true of NaN
        found = "NaN" if np.isnan(lowest) else f"values from {lowest:g} to {highest:g}"
        raise OptionError(f"probability: expected values in [0, 1], found {found}; apply a sigmoid, look at the loss")


def _histogram(probability: np.ndarray, road: np.ndarray) -> np.ndarray:
    """Count pixels by the highest level that they reach: int64 (2, 511), NO ROAD and road."""
    histogram = np.zeros(2 * LEVELS, np.int64)
    for start in range(0, probability.size, CHUNK):
        piece = slice(start, start + CHUNK)
        histogram += np.bincount(_level(probability[piece]) + LEVELS * road[piece], minlength=2 * LEVELS)
    return histogram.reshape(2, LEVELS)


def _level(probability: np.ndarray) -> np.ndarray:
    """Index of the highest level j / 510 that is at most the probability, compared in the probability's own type."""
    if probability.dtype == np.uint8:
        return 2 * probability.astype(np.intp)
    levels = (np.arange(LEVELS) / (LEVELS - 1)).astype(probability.dtype)
    nearest = np.rint(probability * (LEVELS - 1)).astype(np.intp)
    return nearest - (probability < levels[nearest])  # the nearest may lie just above, never further
