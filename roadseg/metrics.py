"""How good predictions are: pixels are counted over the whole data set, and only then divided.

Every function takes the same three arrays, of one shape, (..., H, W) or (..., H, W, 1):

probability : float in [0, 1], or uint8 in 0..255, which stands for probability * 255
mask        : bool, or numbers 0 and 1: the truth, 1 is road
valid       : bool, or numbers 0 and 1: the pixels that count, or None where all do

A pixel is predicted as road where its probability is at least the threshold. Ratios are never averaged over images:
counts add up (``+``), and the ratio of the sums is taken. A ratio without a denominator, 0 / 0, is NaN: the precision
of a prediction without any road, for example, is unknown rather than good or bad.

Notebooks 00 to 04 use it, question 6 above all. The sweep and its numbers (MaxF, AP, PRE, REC, FPR, FNR) are those of
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

THRESHOLDS = 256  # of the sweep: 0/255, 1/255, ... 255/255, what an 8-bit probability image can tell apart
LEVELS = 2 * THRESHOLDS - 1  # 0/510, 1/510, ... 510/510: these thresholds at even places, and also one half
HALF = LEVELS // 2
CHUNK = 1 << 18  # pixels binned at a time: temporary arrays that fit the cache, about twice as fast as whole ones


@dataclass(frozen=True)
class ConfusionCounts:
    """Pixels at one threshold, by prediction and truth: a false positive is predicted as road and is background.

    Ratios of the four counts are a float each, and in a `ThresholdSweep` float64 (256,), one for each threshold.
    """

    true_positive: int
    false_positive: int
    true_negative: int
    false_negative: int

    def __add__(self, other):
        """Pool two data sets (return a new object)."""
        if type(other) is not type(self):
            return NotImplemented
        return type(self)(*(getattr(self, field.name) + getattr(other, field.name) for field in fields(self)))

    @property
    def accuracy(self) -> float:
        """Fraction of pixels that are right, (TP + TN) / all."""
        right = self.true_positive + self.true_negative
        return _ratio(right, right + self.false_positive + self.false_negative)

    @property
    def precision(self) -> float:
        """Fraction of road among the pixels predicted as road, TP / (TP + FP) (the benchmark's PRE)."""
        return _ratio(self.true_positive, self.true_positive + self.false_positive)

    @property
    def recall(self) -> float:
        """Fraction of the road that is predicted as road, TP / (TP + FN) (REC)."""
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
        """Fraction of the background that is predicted as road, FP / (FP + TN) (FPR)."""
        return _ratio(self.false_positive, self.false_positive + self.true_negative)

    @property
    def false_negative_rate(self) -> float:
        """Fraction of the road that is missed, 1 - recall (FNR)."""
        return _ratio(self.false_negative, self.true_positive + self.false_negative)


@dataclass(frozen=True, eq=False)  # arrays have no single truth value to compare by
class ThresholdSweep(ConfusionCounts):
    """Counts at each of the 256 thresholds, int64 (256,), and at one half, which lies between two of them."""

    at_half: ConfusionCounts

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
    def best(self) -> ConfusionCounts:
        """The counts at `threshold`: its ratios are the benchmark's PRE, REC, FPR and FNR."""
        return ConfusionCounts(*(int(getattr(self, field.name)[self._best_index]) for field in fields(ConfusionCounts)))

    @property
    def average_precision(self) -> float:
        """The benchmark's AP: the mean, over recalls 0, 0.1, ... 1, of the best precision at that recall or more.

        As in the benchmark, thresholds that find no road (recall and precision both 0) are left out. Every recall is
        reached, as at threshold 0 everything is predicted as road. Without any road pixel AP is NaN.
        """
        found = self.true_positive > 0
        if not found.any():
            return float("nan")
        precision, recall = self.precision[found], self.recall[found]
        return float(np.mean([precision[recall >= tenth / 10].max() for tenth in range(11)]))

    @property
    def _best_index(self) -> int:
        return int(np.nanargmax(self.f1))  # at threshold 0 all pixels are road, so at least one F1 is a number

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


def confusion_counts(
    probability: ArrayLike, mask: ArrayLike, valid: ArrayLike | None = None, *, threshold: float = 0.5
) -> ConfusionCounts:
    """Count the valid pixels at one threshold in [0, 1]; the arrays are described at the top of this file.

    Raises OptionError for shapes that differ, values out of range, NaN, or no valid pixel.

    >>> confusion_counts([[0.9, 0.6], [0.4, 0.1]], [[1, 0], [1, 0]])
    ConfusionCounts(true_positive=1, false_positive=1, true_negative=1, false_negative=1)
    """
    if not 0 <= threshold <= 1:
        raise OptionError(f"threshold: expected a number in [0, 1], found {threshold}; 0.5 is the usual one")
    probability, mask = _valid_pixels(probability, mask, valid)
    if probability.dtype == np.uint8:
        predicted = (np.arange(256) / 255 >= threshold)[probability]
    else:
        predicted = probability >= probability.dtype.type(threshold)
    hits, predicted, road_pixels = (int(np.count_nonzero(part)) for part in (predicted & mask, predicted, mask))
    return ConfusionCounts(hits, predicted - hits, mask.size - predicted - road_pixels + hits, road_pixels - hits)


def f1_by_image(probability: np.ndarray, masks: np.ndarray, valid: np.ndarray) -> np.ndarray:
    """F1 at one half of each image alone, float (n,); arrays (n, H, W) and errors as in `confusion_counts`."""
    return np.array([confusion_counts(*image).f1 for image in zip(probability, masks, valid, strict=True)])


def threshold_sweep(probability: ArrayLike, mask: ArrayLike, valid: ArrayLike | None = None) -> ThresholdSweep:
    """Count the valid pixels at all 256 thresholds; the arrays are described at the top of this file.

    A threshold is compared in the precision of the probabilities, so that float32 k / 255 reaches threshold k / 255.
    Raises OptionError for shapes that differ, values out of range, NaN, or no valid pixel.
    """
    probability, mask = _valid_pixels(probability, mask, valid)
    histogram = np.zeros(2 * LEVELS, np.int64)
    for start in range(0, probability.size, CHUNK):
        piece = slice(start, start + CHUNK)
        histogram += np.bincount(_level(probability[piece]) + LEVELS * mask[piece], minlength=2 * LEVELS)
    histogram = histogram.reshape(2, LEVELS)  # background and road, by the highest level that they reach
    predicted = histogram[:, ::-1].cumsum(axis=1)[:, ::-1]  # pixels at each level or above it
    rest = histogram.sum(axis=1, keepdims=True) - predicted
    confusion = np.stack([predicted[1], predicted[0], rest[0], rest[1]])  # (4, 511), in the order of the fields
    return ThresholdSweep(*confusion[:, ::2], at_half=ConfusionCounts(*confusion[:, HALF].tolist()))


def report(
    probability: ArrayLike, mask: ArrayLike, valid: ArrayLike | None, categories: Sequence[str]
) -> dict[str, dict[str, float]]:
    """Summarize each category ("um", "umm", "uu") that occurs, and "all", their pixels pooled.

    `categories` names the category of each of the N images; the arrays are (N, H, W) or (N, H, W, 1).
    Raises OptionError as `threshold_sweep` does, and where N differs.
    """
    kinds = np.asarray(categories)
    arrays = [np.asarray(array) for array in (probability, mask, valid) if array is not None]
    if not len(kinds) or any(len(array) != len(kinds) for array in arrays):
        found = ", ".join(str(len(array)) for array in arrays)
        raise OptionError(f"categories: expected one for each image, found {len(kinds)} for {found}; pass one each")
    sweeps = {str(kind): threshold_sweep(*(array[kinds == kind] for array in arrays)) for kind in np.unique(kinds)}
    sweeps["all"] = reduce(add, sweeps.values())
    return {name: pooled.summary() for name, pooled in sweeps.items()}


def _ratio(part: int | np.ndarray, whole: int | np.ndarray) -> float | np.ndarray:
    whole = np.asarray(whole)
    ratio = np.divide(part, whole, out=np.full(whole.shape, np.nan), where=whole > 0)
    return ratio if ratio.ndim else float(ratio)


def _valid_pixels(probability, mask, valid) -> tuple[np.ndarray, np.ndarray]:
    """Check the arrays; return probabilities (float or uint8) and truths (bool) that count, both (pixels,)."""
    probability, mask = _plane(probability), _boolean("mask", mask)
    valid = np.ones(mask.shape, bool) if valid is None else _boolean("valid", valid)
    if not probability.shape == mask.shape == valid.shape:
        found = f"{probability.shape}, {mask.shape} and {valid.shape}"
        raise OptionError(f"probability, mask, valid: expected one shape, found {found}; index them alike")
    if not valid.any():
        raise OptionError("valid: expected a pixel that counts, found none; look at the labels' red channel")
    values, mask = probability[valid], mask[valid]
    if values.dtype == np.uint8:
        return values, mask
    if not np.issubdtype(values.dtype, np.floating):
        raise OptionError(f"probability: expected float or uint8, found {values.dtype}; convert with astype('float32')")
    lowest, highest = values.min(), values.max()
    if not (lowest >= 0 and highest <= 1):  # also true of NaN
        found = "NaN" if np.isnan(lowest) else f"values from {lowest:g} to {highest:g}"
        raise OptionError(
            f"probability: expected values in [0, 1], found {found}; apply a sigmoid, or look for a loss that is NaN"
        )
    return values, mask


def _plane(values: ArrayLike) -> np.ndarray:
    """Drop the channel axis of (..., H, W, 1)."""
    values = np.asarray(values)
    return values[..., 0] if values.ndim > 2 and values.shape[-1] == 1 else values


def _boolean(name: str, values: ArrayLike) -> np.ndarray:
    values = _plane(values)
    if values.dtype != bool and not np.all((values == 0) | (values == 1)):
        raise OptionError(f"{name}: expected bool, or 0 and 1, found other values; pass a mask such as blue > 0")
    return values.astype(bool, copy=False)


def _level(probability: np.ndarray) -> np.ndarray:
    """Index of the highest level j / 510 that is at most the probability, compared in the probability's own type."""
    if probability.dtype == np.uint8:
        return 2 * probability.astype(np.intp)
    levels = (np.arange(LEVELS) / (LEVELS - 1)).astype(probability.dtype)
    nearest = np.rint(probability * (LEVELS - 1)).astype(np.intp)
    return nearest - (probability < levels[nearest])  # the nearest may lie just above, never further
