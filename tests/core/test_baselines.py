"""Baselines: answers known by hand, and their scores on real images where there are some."""

import numpy as np
import pytest

from roadseg import data
from roadseg.baselines import BASELINES
from roadseg.errors import OptionError
from roadseg.metrics import confusion_counts

GRAY, GREEN, PINK = (100, 100, 100), (30, 200, 30), (250, 100, 200)
IMAGES = np.array([[[GREEN, GREEN], [GRAY, GREEN]], [[GREEN, GRAY], [GRAY, GRAY]]], np.uint8)
MASKS = np.array([[[0, 0], [1, 0]], [[0, 0], [1, 1]]], bool)  # 3 of 8 pixels; 3 of 4 gray ones; no green one


def test_all_background_and_mean_mask_ignore_the_image():
    assert not BASELINES["all background"](IMAGES, MASKS)(IMAGES).any()
    found = BASELINES["mean mask"](IMAGES, MASKS)(255 - IMAGES)
    np.testing.assert_array_equal(found, [[[0, 0], [1, 0.5]]] * 2)


def test_color_is_the_fraction_of_road_in_its_bin():
    """Two pixels of the average, 3/8 road, are added to each bin; a color never seen is left with these."""
    near_gray = (111, 96, 100)  # the same bin, 96 to 111
    found = BASELINES["color"](IMAGES, MASKS)(np.array([[[GRAY, GREEN], [PINK, near_gray]]], np.uint8))
    gray, green, unseen = (3 + 2 * 3 / 8) / (4 + 2), (2 * 3 / 8) / (4 + 2), 3 / 8
    np.testing.assert_allclose(found, [[[gray, green], [unseen, gray]]], rtol=1e-6)


def test_color_and_position_multiply_their_odds():
    color = BASELINES["color"](IMAGES, MASKS)(IMAGES)[1, 1, 1]
    found = BASELINES["color and position"](IMAGES, MASKS)(IMAGES)
    odds = color / (1 - color) * 1 / (3 / 5)  # the odds of this position are 1, the prior's 3/5
    assert found[1, 1, 1] == pytest.approx(odds / (1 + odds), rel=1e-5)
    assert found[0, 0, 0] < 0.001 and found[0, 1, 0] > 0.999


@pytest.mark.parametrize("name", ["mean mask", "color", "color and position"])
def test_masks_of_one_class_are_learned(name):
    found = BASELINES[name](IMAGES, np.full(MASKS.shape, True))(np.full((1, 2, 2, 3), PINK, np.uint8))
    np.testing.assert_allclose(found, 1, atol=0.0011)  # color and position keep a doubt of 0.001


def test_arrays_that_do_not_fit_are_named():
    for images, masks, found in (
        (IMAGES / np.float32(255), MASKS, "float32"),
        (IMAGES[:0], MASKS[:0], r"\(0, 2, 2, 3\)"),
        (IMAGES, MASKS.astype(np.uint8), "uint8"),
        (IMAGES, MASKS[:1], r"\(1, 2, 2\)"),
    ):
        for fit in BASELINES.values():
            with pytest.raises(OptionError, match=found):
                fit(images, masks)
    for name, images, found in (("color", IMAGES / 255, "float64"), ("mean mask", IMAGES[:, :1], r"\(N, 2, 2, 3\)")):
        with pytest.raises(OptionError, match=found):
            BASELINES[name](IMAGES, MASKS)(images)


# --- scores ----------------------------------------------------------------------------------------------------------

MEASURED = {  # accuracy and best F1 by an independent program, on the 240 real images at half size and this split
    "all background": (0.829, 0.0),
    "mean mask": (0.939, 0.819),
    "color": (0.884, 0.683),
    "color and position": (0.942, 0.851),
}


def scores(roads: data.RoadData, name: str) -> tuple[float, float]:
    """Accuracy and best F1 on a sixth of the images, drawn at random, every pixel counted."""
    order = np.random.RandomState(123).permutation(len(roads))
    train, test = np.split(order, [round(len(roads) * 0.83)])
    probability = BASELINES[name](roads.images[train], roads.masks[train])(roads.images[test])
    counts = [confusion_counts(probability, roads.masks[test], threshold=step / 20) for step in range(1, 20)]
    return counts[9].accuracy, max(each.f1 for each in counts)


def test_scores_on_real_images(kitti_folder):
    roads = data.load(kitti_folder / "half", cache=False)
    assert {name: scores(roads, name) for name in BASELINES} == {
        name: pytest.approx(measured, abs=0.003) for name, measured in MEASURED.items()
    }


@pytest.mark.long
@pytest.mark.parametrize("name", BASELINES)
def test_rendered_scenes_are_as_hard_as_real_images(all_scenes, name):
    accuracy, max_f1 = MEASURED[name]
    assert scores(all_scenes, name) == (pytest.approx(accuracy, abs=0.03), pytest.approx(max_f1, abs=0.05))
