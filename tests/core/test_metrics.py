"""Metrics against scikit-learn, against a slow reading of their definition, and against answers known by hand."""

import math
import warnings
from fractions import Fraction

import numpy as np
import pytest
from sklearn import metrics as reference

from roadseg.errors import OptionError
from roadseg.metrics import Counts, Curve, counts, curve, report

SEEDS = range(5)
NAMES = ("true_positive", "false_positive", "true_negative", "false_negative")


def example(seed: int, shape=(3, 20, 30)):
    """Probabilities that know something of the road, a truth, and a mask that leaves some pixels out."""
    random = np.random.default_rng(seed)
    road = random.random(shape) < 0.2
    probability = np.clip(0.3 * road + random.normal(0.4, 0.25, shape), 0, 1)
    return probability.astype(random.choice([np.float32, np.float64])), road, random.random(shape) < 0.9


def literal_curve(probability, road, evaluated):
    """Read the benchmark's definition word for word, pixel sets and all: (256, 4) counts in the order of NAMES."""
    probability, road = probability[evaluated], road[evaluated]
    rows = []
    for threshold in (np.arange(256) / 255).astype(probability.dtype):
        called = probability >= threshold
        rows.append([(called & road).sum(), (called & ~road).sum(), (~called & ~road).sum(), (~called & road).sum()])
    return np.array(rows)


def literal_scores(rows):
    """MaxF, AP and the index of MaxF in exact fractions, so that a recall of 3/10 is at least 3/10."""
    points = [tuple(map(int, row)) for row in rows if row[0] > 0]  # recall and precision both 0: left out
    f1 = [Fraction(2 * tp, 2 * tp + fp + fn) for tp, fp, _, fn in points]
    best_precisions = []
    for tenth in range(11):
        reached = [Fraction(tp, tp + fp) for tp, fp, _, fn in points if Fraction(tp, tp + fn) >= Fraction(tenth, 10)]
        best_precisions.append(max(reached))
    return float(max(f1)), float(sum(best_precisions) / 11), f1.index(max(f1))


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("threshold", [0.0, 0.25, 0.5, 0.9])
def test_counts_agree_with_scikit_learn(seed, threshold):
    probability, road, evaluated = example(seed)
    truth, called = road[evaluated], probability[evaluated] >= threshold
    found = counts(probability, road, evaluated, threshold=threshold)
    (tn, fp), (fn, tp) = reference.confusion_matrix(truth, called, labels=[False, True])
    assert found == Counts(tp, fp, tn, fn)
    assert found.accuracy == pytest.approx(reference.accuracy_score(truth, called))
    assert found.precision == pytest.approx(reference.precision_score(truth, called))
    assert found.recall == pytest.approx(reference.recall_score(truth, called))
    assert found.f1 == pytest.approx(reference.f1_score(truth, called))
    assert found.iou == pytest.approx(reference.jaccard_score(truth, called))
    assert found.false_negative_rate == pytest.approx(1 - reference.recall_score(truth, called))
    if tn:
        assert found.false_positive_rate == pytest.approx(1 - reference.recall_score(~truth, ~called))


@pytest.mark.parametrize("seed", SEEDS)
def test_the_curve_agrees_with_scikit_learn(seed):
    """On 8-bit probabilities, whose precision-recall curve has just the curve's thresholds that occur."""
    probability, road, evaluated = example(seed)
    eight_bits = np.rint(probability * 255).astype(np.uint8)
    precision, recall, levels = reference.precision_recall_curve(road[evaluated], eight_bits[evaluated])
    found = curve(eight_bits, road, evaluated)
    np.testing.assert_allclose(found.precision[levels], precision[:-1])
    np.testing.assert_allclose(found.recall[levels], recall[:-1])
    f1 = [reference.f1_score(road[evaluated], eight_bits[evaluated] >= level) for level in levels]
    assert found.max_f1 == pytest.approx(max(f1))


@pytest.mark.parametrize("seed", SEEDS)
def test_the_curve_follows_the_definition(seed):
    probability, road, evaluated = example(seed)
    rows = literal_curve(probability, road, evaluated)
    found = curve(probability, road, evaluated)
    for name, column in zip(NAMES, rows.T, strict=True):
        np.testing.assert_array_equal(getattr(found, name), column, err_msg=name)
    max_f, average_precision, index = literal_scores(rows)
    assert found.max_f1 == pytest.approx(max_f)
    assert found.average_precision == pytest.approx(average_precision)
    assert found.threshold == index / 255
    assert found.best == Counts(*rows[index].tolist())


def test_average_precision_by_hand():
    """Recall 1/2 at precision 1, then recall 1 at precision 2/3: six of eleven recalls see 1, five see 2/3."""
    found = curve([[0.9, 0.7, 0.5, 0.1]], [[1, 0, 1, 0]])
    assert found.average_precision == pytest.approx((6 * 1 + 5 * 2 / 3) / 11)
    assert found.max_f1 == pytest.approx(0.8)
    assert found.threshold == math.ceil(0.1 * 255) / 255  # the lowest threshold of those that reach MaxF


def test_a_recall_of_exactly_three_tenths_counts():
    """In floating point 3 * 0.1 exceeds 0.3; the recall 3/10 must be found all the same."""
    road = np.array([[1] * 10 + [0] * 10])
    probability = np.array([[1.0] * 3 + [0.0] * 17])
    assert curve(probability, road).average_precision == pytest.approx((4 * 1 + 7 * 0.5) / 11)


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_a_probability_on_a_threshold_reaches_it(dtype):
    steps = np.arange(256)
    for probability in ((steps / 255).astype(dtype), steps.astype(dtype) / dtype(255)):
        found = curve(probability.reshape(16, 16), np.ones((16, 16), bool))
        np.testing.assert_array_equal(found.true_positive, 256 - steps)
        below = np.nextafter(probability[1:], dtype(0)).reshape(15, 17)
        np.testing.assert_array_equal(curve(below, np.ones((15, 17))).true_positive, 255 - steps)
        for step in steps:
            assert counts(probability, np.ones(256), threshold=step / 255).true_positive == 256 - step


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_one_half_lies_between_two_thresholds_of_the_curve(dtype):
    probability = np.array([[0, 127 / 255, np.nextafter(dtype(0.5), dtype(0)), 0.5, 128 / 255, 1]], dtype)
    found = curve(probability, np.ones((1, 6)))
    assert found.at_half == counts(probability, np.ones((1, 6))) == Counts(3, 0, 0, 3)
    assert found.true_positive[127] == 5 and found.true_positive[128] == 2


@pytest.mark.parametrize("seed", SEEDS)
def test_eight_bits_and_floats_say_the_same(seed):
    probability, road, evaluated = example(seed)
    eight_bits = np.rint(probability * 255).astype(np.uint8)
    for dtype in (np.float32, np.float64):
        floats = eight_bits.astype(dtype) / dtype(255)
        assert curve(eight_bits, road, evaluated).summary() == curve(floats, road, evaluated).summary()
        for threshold in (0, 0.3, 0.5, 200 / 255, 1):
            assert counts(eight_bits, road, evaluated, threshold=threshold) == counts(
                floats, road, evaluated, threshold=threshold
            )


@pytest.mark.parametrize("seed", SEEDS)
def test_excluded_pixels_do_not_count(seed):
    probability, road, evaluated = example(seed)
    changed, turned = probability.copy(), road ^ ~evaluated
    changed[~evaluated] = np.nan
    assert counts(changed, turned, evaluated) == counts(probability, road, evaluated)
    assert curve(changed, turned, evaluated).summary() == curve(probability, road, evaluated).summary()
    assert sum(vars(counts(probability, road, evaluated)).values()) == evaluated.sum()
    assert counts(probability, road, evaluated) != counts(probability, road)


def test_images_are_pooled_not_averaged():
    """A picture with one road pixel, missed, weighs one pixel: pooled F1 is 18/19, the mean of the two 1/2."""
    road = np.zeros((2, 1, 10), bool)
    road[0, 0, :9] = road[1, 0, 0] = True
    probability = road * 0.9
    probability[1] = 0
    whole, parts = counts(probability, road), [counts(p, r) for p, r in zip(probability, road, strict=True)]
    assert parts[0] + parts[1] == whole
    assert whole.f1 == pytest.approx(18 / 19)
    assert np.mean([part.f1 for part in parts]) == pytest.approx(0.5)


@pytest.mark.parametrize("seed", SEEDS)
def test_curves_of_parts_add_up_to_the_whole(seed):
    arrays = example(seed)
    first, *rest = (curve(*parts) for parts in zip(*arrays, strict=True))
    assert sum(rest, first).summary() == curve(*arrays).summary()
    with pytest.raises(TypeError):
        first + counts(*arrays)


@pytest.mark.parametrize("seed", SEEDS)
def test_layout_and_type_of_the_masks_do_not_matter(seed):
    probability, road, evaluated = example(seed)
    expected = counts(probability, road, evaluated)
    assert counts(probability[..., None], road[..., None], evaluated[..., None]) == expected
    assert counts(probability[..., None], road.astype(np.float32), evaluated.astype(int)) == expected
    assert counts(probability[:, None], road[:, None], evaluated[:, None]) == expected


def test_a_large_input_is_binned_in_pieces_without_loss():
    arrays = example(0, shape=(5, 256, 256))
    found = curve(*arrays)
    np.testing.assert_array_equal(np.stack([getattr(found, name) for name in NAMES], axis=1), literal_curve(*arrays))


def test_all_road_and_all_right():
    summary = curve(np.ones((4, 4)), np.ones((4, 4))).summary()
    assert summary.pop("threshold") == 0 and summary.pop("fnr") == 0
    assert math.isnan(summary.pop("fpr"))  # there is no NO ROAD to be wrong about
    assert set(summary.values()) == {1.0}


def test_no_road_and_none_called():
    summary = curve(np.zeros((4, 4)), np.zeros((4, 4))).summary()
    assert summary["accuracy"] == 1 and summary["max_f"] == 0
    assert all(math.isnan(summary[name]) for name in ("precision", "recall", "f1", "iou", "average_precision", "rec"))


def test_road_and_none_called():
    found = counts(np.zeros((2, 5)), [[1, 0, 0, 0, 0]] * 2)
    assert (found.accuracy, found.recall, found.f1, found.iou) == (0.8, 0, 0, 0)
    assert math.isnan(found.precision)
    everything = curve(np.zeros((2, 5)), [[1, 0, 0, 0, 0]] * 2)
    assert everything.max_f1 == pytest.approx(1 / 3) and everything.average_precision == pytest.approx(0.2)


def test_ratios_without_denominator_warn_nobody():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert np.isnan(curve(np.zeros((2, 2)), np.zeros((2, 2))).precision[1:]).all()


def test_a_summary_is_plain_numbers():
    summary = curve(*example(0)).summary()
    assert list(summary)[:5] == ["accuracy", "precision", "recall", "f1", "iou"]
    assert list(summary)[5:] == ["max_f", "average_precision", "pre", "rec", "fpr", "fnr", "threshold"]
    assert {type(value) for value in summary.values()} == {float}
    assert all(type(value) is int for value in vars(counts(*example(0))).values())
    assert isinstance(curve(*example(0)), Curve)


def test_a_report_has_a_row_for_each_category_and_one_for_all():
    probability, road, evaluated = example(1, shape=(6, 8, 9))
    categories = ["uu", "um", "um", "umm", "uu", "um"]
    found = report(probability[..., None], road, evaluated, categories)
    assert list(found) == ["um", "umm", "uu", "all"]
    assert found["um"] == curve(probability[[1, 2, 5]], road[[1, 2, 5]], evaluated[[1, 2, 5]]).summary()
    assert found["all"] == curve(probability, road, evaluated).summary()
    assert report(probability, road, None, categories)["all"] == curve(probability, road).summary()


@pytest.mark.parametrize(
    ("probability", "road", "evaluated", "found"),
    [
        (np.zeros((2, 3)), np.zeros((3, 2)), None, r"found \(2, 3\), \(3, 2\)"),
        (np.zeros((2, 3)), np.zeros((2, 3)), np.ones((2, 2)), r"\(2, 2\)"),
        (np.zeros((1, 2, 3, 2)), np.zeros((1, 2, 3)), None, r"\(1, 2, 3, 2\)"),
        (np.full((2, 2), np.nan), np.zeros((2, 2)), None, "found NaN"),
        (np.array([[0, 1.5]]), np.zeros((1, 2)), None, "found values from 0 to 1.5"),
        (np.array([[-0.5, 1]]), np.zeros((1, 2)), None, "found values from -0.5 to 1"),
        (np.array([[0, 1]]), np.zeros((1, 2)), None, "found int64"),
        (np.zeros((1, 2)), np.array([[0, 255]]), None, "road: expected"),
        (np.zeros((1, 2)), np.zeros((1, 2)), np.array([[0.5, 1]]), "evaluated: expected"),
        (np.zeros((1, 2)), np.zeros((1, 2)), np.zeros((1, 2)), "found none"),
        (np.zeros((0, 2)), np.zeros((0, 2)), None, "found none"),
    ],
)
def test_bad_input_is_named(probability, road, evaluated, found):
    for function in (counts, curve):
        with pytest.raises(OptionError, match=found) as error:
            function(probability, road, evaluated)
        assert "\n" not in str(error.value)


@pytest.mark.parametrize("threshold", [-0.1, 1.1, float("nan")])
def test_a_threshold_out_of_range_is_named(threshold):
    with pytest.raises(OptionError, match="threshold"):
        counts(np.zeros((2, 2)), np.zeros((2, 2)), threshold=threshold)


@pytest.mark.parametrize("categories", [[], ["um"], ["um"] * 3])
def test_a_report_needs_a_category_for_each_image(categories):
    with pytest.raises(OptionError, match=f"found {len(categories)} for 2"):
        report(np.zeros((2, 2, 2)), np.zeros((2, 2, 2)), None, categories)
