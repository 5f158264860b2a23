"""Baselines: answers known by hand, and their scores on the real images where these are at hand."""

import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from roadseg.baselines import BASELINES
from roadseg.errors import OptionError
from roadseg.metrics import counts

GREY, GREEN, PINK = (100, 100, 100), (30, 200, 30), (250, 100, 200)
SIDE = 256


def paint(*rows):
    """Stack images, each given as a nested list of colours: uint8 (N, H, W, 3)."""
    return np.array(rows, np.uint8)


TRAIN = paint([[GREEN, GREEN], [GREY, GREEN]], [[GREEN, GREY], [GREY, GREY]])
ROAD = np.array([[[0, 0], [1, 0]], [[0, 0], [1, 1]]], bool)  # 3 of 8 pixels; 3 of 4 grey ones; none of the green


def test_the_baselines_are_four():
    assert list(BASELINES) == ["no road", "mean mask", "colour", "colour and position"]


@pytest.mark.parametrize("name", BASELINES)
def test_a_prediction_is_a_probability_for_each_pixel(name):
    random = np.random.default_rng(0)
    images = random.integers(0, 256, (7, 5, 6, 3), np.uint8)
    before = images.copy()
    found = BASELINES[name](images[:4], random.random((4, 5, 6)) < 0.3)(images[4:])
    assert found.shape == (3, 5, 6) and found.dtype == np.float32
    assert found.min() >= 0 and found.max() <= 1
    np.testing.assert_array_equal(images, before)


def test_no_road_is_as_accurate_as_there_is_no_road():
    found = counts(BASELINES["no road"](TRAIN, ROAD)(TRAIN), ROAD)
    assert found.accuracy == 5 / 8 and found.recall == 0


def test_the_mean_mask_looks_at_no_image():
    predict = BASELINES["mean mask"](TRAIN, ROAD)
    expected = [[0, 0], [1, 0.5]]
    np.testing.assert_array_equal(predict(TRAIN), [expected, expected])
    np.testing.assert_array_equal(predict(255 - TRAIN[:1]), [expected])


def test_colour_is_the_share_of_road_in_its_bin():
    """Two pixels of the average, 3/8 road, are added to each bin; a colour never seen is left with these."""
    predict = BASELINES["colour"](TRAIN, ROAD)
    grey, green, unseen = (3 + 2 * 3 / 8) / (4 + 2), (2 * 3 / 8) / (4 + 2), 3 / 8
    near_grey = (111, 96, 100)  # the same bin, 96 to 111
    found = predict(paint([[GREY, GREEN], [PINK, near_grey]]))
    np.testing.assert_allclose(found, [[[grey, green], [unseen, grey]]], rtol=1e-6)


def test_colour_tells_the_channels_apart():
    images = paint([[(200, 0, 0), (0, 200, 0), (0, 0, 200)]])
    found = BASELINES["colour"](images, np.array([[[True, False, False]]]))(images)
    assert found[0, 0, 0] > 1 / 3 > found[0, 0, 1] == found[0, 0, 2]


def test_colour_does_not_care_for_the_place():
    images = np.random.default_rng(0).integers(0, 256, (4, 6, 8, 3), np.uint8)
    predict = BASELINES["colour"](images, images[..., 1] < 90)
    np.testing.assert_array_equal(predict(images[:, ::-1, ::-1]), predict(images)[:, ::-1, ::-1])


def test_colour_and_position_multiply_their_odds():
    colour, place = (BASELINES[name](TRAIN, ROAD)(TRAIN) for name in ("colour", "mean mask"))
    found = BASELINES["colour and position"](TRAIN, ROAD)(TRAIN)
    grey_there = colour[1, 1, 1] / (1 - colour[1, 1, 1]) * 1 / (3 / 5)  # the place's odds are 1, the prior's 3/5
    assert place[1, 1, 1] == 0.5
    assert found[1, 1, 1] == pytest.approx(grey_there / (1 + grey_there), rel=1e-5)
    assert found[0, 0, 0] < 0.001 and found[0, 1, 0] > 0.999


def test_where_place_says_nothing_colour_decides_and_the_reverse():
    images = paint([[GREY, GREEN]], [[GREEN, GREY]])
    road = np.array([[[True, False]], [[False, True]]])
    by_both, by_colour = (BASELINES[name](images, road)(images) for name in ("colour and position", "colour"))
    np.testing.assert_allclose(by_both, by_colour, rtol=1e-5)
    one_colour = np.full((2, 1, 2, 3), 80, np.uint8)
    road = np.array([[[True, False]], [[True, True]]])
    found = BASELINES["colour and position"](one_colour, road)(one_colour)
    np.testing.assert_allclose(found[0, 0], [0.999, 0.5], rtol=1e-5)


@pytest.mark.parametrize("everywhere", [False, True])
@pytest.mark.parametrize("name", [name for name in BASELINES if name != "no road"])
def test_training_without_road_or_with_nothing_else_is_no_trouble(name, everywhere):
    found = BASELINES[name](TRAIN, np.full(ROAD.shape, everywhere))(paint([[PINK, GREY], [GREY, GREEN]]))
    np.testing.assert_allclose(found, float(everywhere), atol=0.0011)  # colour and position keep a doubt of 0.001


@pytest.mark.parametrize("name", BASELINES)
@pytest.mark.parametrize(
    ("images", "road", "found"),
    [
        (TRAIN / np.float32(255), ROAD, "float32"),
        (TRAIN[..., 0], ROAD, r"\(2, 2, 2\)"),
        (TRAIN[:0], ROAD[:0], r"\(0, 2, 2, 3\)"),
        (TRAIN, ROAD.astype(np.uint8), "uint8"),
        (TRAIN, ROAD[:1], r"\(1, 2, 2\)"),
    ],
)
def test_training_data_that_do_not_fit_are_named(name, images, road, found):
    with pytest.raises(OptionError, match=found) as error:
        BASELINES[name](images, road)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("name", BASELINES)
def test_images_that_do_not_fit_are_named(name):
    with pytest.raises(OptionError, match="float64"):
        BASELINES[name](TRAIN, ROAD)(TRAIN / 255)


@pytest.mark.parametrize("name", ["mean mask", "colour and position"])
def test_a_place_needs_images_of_the_training_size(name):
    with pytest.raises(OptionError, match=r"uint8 \(N, 2, 2, 3\)"):
        BASELINES[name](TRAIN, ROAD)(TRAIN[:, :1])


@pytest.fixture(scope="module")
def kitti():
    """Read the 240 real images at half resolution: (images uint8, road bool), 256 x 256."""
    root = Path(os.environ.get("ROADSEG_KITTI") or pytest.skip("ROADSEG_KITTI names no folder of real images"))
    labels = sorted((root / "half" / "training" / "gt_image_2").glob("*_road_*.png"))
    assert labels, f"no label in {root}/half/training/gt_image_2"
    images = (label.parents[1] / "image_2" / label.name.replace("_road_", "_") for label in labels)
    return resized(images, Image.Resampling.BILINEAR), resized(labels, Image.Resampling.NEAREST)[..., 2] > 0


def resized(paths, resampling):
    return np.stack([np.asarray(Image.open(path).convert("RGB").resize((SIDE, SIDE), resampling)) for path in paths])


def scores(images, road, name):
    """Accuracy and best F1 on a sixth of the images, drawn at random, every pixel counted."""
    order = np.random.RandomState(123).permutation(len(images))
    train, test = np.split(order, [round(len(images) * 0.83)])
    probability = BASELINES[name](images[train], road[train])(images[test])
    f1 = [counts(probability, road[test], threshold=threshold).f1 for threshold in np.arange(0.05, 1, 0.05)]
    return counts(probability, road[test]).accuracy, max(f1)


@pytest.mark.parametrize(
    ("name", "accuracy", "max_f1"),
    [
        ("no road", 0.829, 0.0),
        ("mean mask", 0.939, 0.819),
        ("colour", 0.884, 0.683),
        ("colour and position", 0.942, 0.851),
    ],
)
def test_scores_on_real_images(kitti, name, accuracy, max_f1):
    """As an independent program measured them on these 240 images and this split, every pixel counted."""
    found = scores(*kitti, name)
    assert found == (pytest.approx(accuracy, abs=0.003), pytest.approx(max_f1, abs=0.003))


@pytest.mark.slow
@pytest.mark.long
@pytest.mark.parametrize(
    ("name", "accuracy", "max_f1"),
    [
        ("no road", 0.82, 0.0),
        ("mean mask", 0.937, 0.82),
        ("colour", 0.888, 0.71),
        ("colour and position", 0.946, 0.86),
    ],
)
def test_rendered_scenes_are_as_hard_as_real_images(all_scenes, name, accuracy, max_f1):
    """Beside the scores of real images, with 49 of them held out."""
    found = scores(all_scenes.images, all_scenes.road, name)
    assert found == (pytest.approx(accuracy, abs=0.03), pytest.approx(max_f1, abs=0.05))
