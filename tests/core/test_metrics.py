"""Metrics against scikit-learn, against the benchmark's definition read literally, and by hand."""

import math
from fractions import Fraction

import numpy as np
import pytest
from sklearn import metrics as reference

from roadseg.errors import OptionError
from roadseg.metrics import ConfusionCounts, confusion_counts, f1_by_image, report, threshold_sweep


def example(seed: int, shape=(3, 20, 30)):
    """Probabilities that know something of the road, a truth, and valid pixels."""
    random = np.random.default_rng(seed)
    mask = random.random(shape) < 0.2
    probability = np.clip(0.3 * mask + random.normal(0.4, 0.25, shape), 0, 1)
    return probability.astype(np.float32), mask, random.random(shape) < 0.9


@pytest.mark.parametrize("threshold", [0.25, 0.9])
def test_counts_and_ratios_agree_with_scikit_learn(threshold):
    probability, mask, valid = example(0)
    truth, predicted = mask[valid], probability[valid] >= threshold
    found = confusion_counts(probability, mask, valid, threshold=threshold)
    (tn, fp), (fn, tp) = reference.confusion_matrix(truth, predicted, labels=[False, True])
    assert found == ConfusionCounts(tp, fp, tn, fn)
    assert found.accuracy == pytest.approx(reference.accuracy_score(truth, predicted))
    assert found.precision == pytest.approx(reference.precision_score(truth, predicted))
    assert found.recall == pytest.approx(reference.recall_score(truth, predicted))
    assert found.f1 == pytest.approx(reference.f1_score(truth, predicted))
    assert found.iou == pytest.approx(reference.jaccard_score(truth, predicted))
    assert found.false_negative_rate == pytest.approx(1 - reference.recall_score(truth, predicted))
    assert found.false_positive_rate == pytest.approx(1 - reference.recall_score(~truth, ~predicted))


def test_the_sweep_follows_the_definition():
    """MaxF and AP in exact fractions, so that a recall of 3/10 is at least 3/10; on several chunks of pixels."""
    probability, mask, valid = example(2, (5, 256, 256))
    found = threshold_sweep(probability, mask, valid)
    points = []
    for i, threshold in enumerate((np.arange(256) / 255).astype(np.float32)):
        predicted, truth = probability[valid] >= threshold, mask[valid]
        hits, positives, road = (int(np.count_nonzero(part)) for part in (predicted & truth, predicted, truth))
        points.append(ConfusionCounts(hits, positives - hits, truth.size - positives - road + hits, road - hits))
        assert vars(points[i]) == {field: getattr(found, field)[i] for field in vars(points[i])}
    f1 = [Fraction(2 * p.true_positive, 2 * p.true_positive + p.false_positive + p.false_negative) for p in points]
    found_road = [p for p in points if p.true_positive]
    precision = [Fraction(p.true_positive, p.true_positive + p.false_positive) for p in found_road]
    recall = [Fraction(p.true_positive, p.true_positive + p.false_negative) for p in found_road]
    best = [max(p for p, r in zip(precision, recall) if r >= Fraction(tenth, 10)) for tenth in range(11)]
    assert found.max_f1 == pytest.approx(float(max(f1)))
    assert found.threshold == f1.index(max(f1)) / 255 and found.best == points[f1.index(max(f1))]
    assert found.average_precision == pytest.approx(float(sum(best) / 11))


def test_average_precision_by_hand():
    """Recall 1/2 at precision 1, then recall 1 at precision 2/3: six of eleven recalls have 1, five have 2/3."""
    found = threshold_sweep([[0.9, 0.7, 0.5, 0.1]], [[1, 0, 1, 0]])
    assert found.average_precision == pytest.approx((6 * 1 + 5 * 2 / 3) / 11)
    assert found.max_f1 == pytest.approx(0.8)
    assert found.threshold == math.ceil(0.1 * 255) / 255  # the lowest threshold of those that reach MaxF
    three_tenths = threshold_sweep([[1.0] * 3 + [0.0] * 17], [[1] * 10 + [0] * 10])  # in floating point 3 * 0.1 > 0.3
    assert three_tenths.average_precision == pytest.approx((4 * 1 + 7 * 0.5) / 11)


@pytest.mark.parametrize("dtype", [np.float16, np.float32])
def test_a_probability_on_a_threshold_reaches_it(dtype):
    steps, ones = np.arange(256), np.ones((16, 16))
    probability = (steps / 255).astype(dtype)
    np.testing.assert_array_equal(threshold_sweep(probability.reshape(16, 16), ones).true_positive, 256 - steps)
    below = np.nextafter(probability[1:], dtype(0)).reshape(15, 17)
    np.testing.assert_array_equal(threshold_sweep(below, np.ones((15, 17))).true_positive, 255 - steps)
    assert confusion_counts(probability, np.ones(256), threshold=200 / 255).true_positive == 56
    around_half = np.array([[127 / 255, np.nextafter(dtype(0.5), dtype(0)), 0.5, 128 / 255]], dtype)
    found = threshold_sweep(around_half, np.ones((1, 4)))
    assert found.at_half == confusion_counts(around_half, np.ones((1, 4))) == ConfusionCounts(2, 0, 0, 2)
    assert found.true_positive[127] == 4 and found.true_positive[128] == 1


def test_excluded_pixels_and_the_layout_of_arrays_do_not_matter():
    probability, mask, valid = example(4)
    expected = confusion_counts(probability, mask, valid)
    assert confusion_counts(np.where(valid, probability, np.nan), mask ^ ~valid, valid) == expected
    assert confusion_counts(probability[..., None], mask.astype(np.float32), valid[..., None].astype(int)) == expected
    assert confusion_counts(probability[:, None], mask[:, None], valid[:, None]) == expected


def test_images_are_pooled_not_averaged():
    """An image with one road pixel, missed, weighs one pixel: pooled F1 is 18/19, the mean of the two 1/2."""
    mask = np.zeros((2, 1, 10), bool)
    mask[0, 0, :9] = mask[1, 0, 0] = True
    probability = np.where(mask, 0.9, 0) * [[[1]], [[0]]]
    one, two = (confusion_counts(*arrays) for arrays in zip(probability, mask))
    assert one + two == confusion_counts(probability, mask)
    assert (one + two).f1 == pytest.approx(18 / 19) and (one.f1 + two.f1) / 2 == 0.5
    first, second = (threshold_sweep(*arrays) for arrays in zip(probability, mask))
    np.testing.assert_equal((first + second).summary(), threshold_sweep(probability, mask).summary())
    with pytest.raises(TypeError):
        first + one


def test_ratios_without_denominator_are_nan():
    road = threshold_sweep(np.ones((4, 4)), np.ones((4, 4))).summary()
    assert math.isnan(road["fpr"]) and road["accuracy"] == road["max_f"] == road["average_precision"] == 1
    background = threshold_sweep(np.zeros((4, 4)), np.zeros((4, 4))).summary()
    assert background["accuracy"] == 1 and background["max_f"] == 0
    unknown = {name for name, value in background.items() if math.isnan(value)}
    assert unknown == {"precision", "recall", "f1", "iou", "average_precision", "rec", "fnr"}
    missed = confusion_counts(np.zeros((2, 5)), [[1, 0, 0, 0, 0]] * 2)
    assert (missed.accuracy, missed.recall, missed.f1, missed.iou) == (0.8, 0, 0, 0) and math.isnan(missed.precision)


def test_a_report_summarizes_each_category_and_all():
    probability, mask, valid = example(1, shape=(6, 8, 9))
    categories = ["uu", "um", "um", "umm", "uu", "um"]
    found = report(probability[..., None], mask, valid, categories)
    assert list(found) == ["um", "umm", "uu", "all"]
    assert found["um"] == threshold_sweep(probability[[1, 2, 5]], mask[[1, 2, 5]], valid[[1, 2, 5]]).summary()
    sweep, summary = threshold_sweep(probability, mask, valid), found["all"]
    assert {type(value) for value in summary.values()} == {float}
    assert summary["iou"] == sweep.at_half.iou and summary["max_f"] == sweep.max_f1
    assert (summary["pre"], summary["fnr"]) == (sweep.best.precision, sweep.best.false_negative_rate)
    assert report(probability, mask, None, categories)["all"] == threshold_sweep(probability, mask).summary()
    with pytest.raises(OptionError, match="found 5 for 6"):
        report(probability, mask, valid, categories[:5])


@pytest.mark.parametrize(
    ("probability", "mask", "valid", "found"),
    [
        (np.zeros((2, 3)), np.zeros((3, 2)), None, r"\(2, 3\).*\(3, 2\)"),
        (np.zeros((2, 3)), np.zeros((2, 3)), np.ones((2, 2)), r"\(2, 2\)"),
        (np.full((2, 2), np.nan), np.zeros((2, 2)), None, "NaN"),
        (np.array([[-0.5, 1.5]]), np.zeros((1, 2)), None, "-0.5.*1.5"),
        (np.array([[0, 1]]), np.zeros((1, 2)), None, "int64"),
        (np.zeros((1, 2)), np.array([[0, 255]]), None, "mask"),
        (np.zeros((1, 2)), np.zeros((1, 2)), np.array([[0.5, 1]]), "valid"),
        (np.zeros((1, 2)), np.zeros((1, 2)), np.zeros((1, 2)), "valid"),
    ],
)
def test_bad_input_is_named(probability, mask, valid, found):
    for function in (confusion_counts, threshold_sweep):
        with pytest.raises(OptionError, match=found):
            function(probability, mask, valid)


def test_a_threshold_out_of_range_is_named():
    with pytest.raises(OptionError, match="nan"):
        confusion_counts(np.zeros((2, 2)), np.zeros((2, 2)), threshold=float("nan"))


def test_f1_by_image_is_that_of_each_image_alone():
    probability, masks, valid = example(3)
    expected = [reference.f1_score(m[v], p[v] >= 0.5) for p, m, v in zip(probability, masks, valid)]
    assert f1_by_image(probability, masks, valid) == pytest.approx(expected)
