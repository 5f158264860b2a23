"""What the experiments of notebook 03 measure, by hand, and the facts that the workbook states about them."""

import re

import numpy as np
import pytest

from roadseg import data, models
from roadseg.backend import keras
from roadseg.workbook import analysis


def test_thin_lines_are_thin_bright_and_repeatable():
    images, masks = analysis.thin_lines(20, size=32)
    assert images.shape == (20, 32, 32, 3) and masks.shape == (20, 32, 32, 1)
    assert images.dtype == masks.dtype == np.float32 and images.min() >= 0 and images.max() <= 1
    assert 0.03 < masks.mean() < analysis.LINES / 32 and set(np.unique(masks)) == {0, 1}
    bright = images.mean(-1, keepdims=True)
    assert bright[masks == 1].mean() > bright[masks == 0].mean() + 0.3
    np.testing.assert_array_equal(images, analysis.thin_lines(20, size=32)[0])
    assert not np.array_equal(masks, analysis.thin_lines(20, size=32, seed=1)[1])


def test_the_plateau_ends_where_the_mean_accuracy_leaves_it():
    accuracy = np.repeat([0.5, 0.8, 0.95], [10, 60, 30])
    assert analysis.steps_on_plateau(accuracy, 0.8, window=10) == 72  # the second step above: 0.8 + 2 x 0.015
    assert analysis.steps_on_plateau(accuracy[:70], 0.8, window=10) == 70  # never


def test_distance_to_edge_counts_from_both_sides():
    mask = np.zeros((2, 7, 9), bool)
    mask[0, 3:, 2:] = True  # touches the border of the image, which is no edge
    distance = analysis.distance_to_edge(mask, most=4)
    assert distance[0, 5].tolist() == [2, 1, 1, 2, 3, 3, 3, 3, 3]
    assert distance[0, :, 8].tolist() == [3, 2, 1, 1, 2, 3, 4]
    assert (distance[1] == 4).all() and (analysis.distance_to_edge(~mask[1:], most=4) == 4).all()


# --- what the workbook states, where no training is needed to see it --------------------------------------------------


def test_numbers_of_steps_and_parameters():
    steps = len(data.course_split(data.COURSE_IMAGES).train) // 4
    assert (steps, 12 * steps) == (68, 816)  # questions 3 and 4
    assert models.unet().count_params() == 485_817  # question 8
    assert models.unet(skip_connections=False).count_params() == 529_457


def test_the_loss_of_a_road_pixel_falls_on_one_side_of_one_half():
    loss = keras.losses.BinaryCrossentropy(reduction="none")
    np.testing.assert_allclose(loss([[1.0], [1.0]], [[0.2], [0.4]]), [1.61, 0.92], atol=0.01)  # question 2


def test_the_unet_gives_the_same_in_both_modes():
    network, images = models.unet((32, 32, 3), filters=(4, 8)), np.random.default_rng(0).random((2, 32, 32, 3))
    np.testing.assert_array_equal(network(images, training=True), network(images, training=False))  # question 9


def test_softmax_of_a_score_and_zero_is_the_sigmoid():
    scores = np.random.default_rng(0).normal(size=(5, 1)).astype(np.float32)
    two = keras.ops.softmax(np.hstack([scores, 0 * scores]))
    np.testing.assert_allclose(two[:, :1], keras.ops.sigmoid(scores), rtol=1e-5)  # questions 10 and 12


def test_the_best_guess_of_two_sharp_edges_is_blurred_under_l2_alone():
    edges = np.stack([np.arange(40) >= 18, np.arange(40) >= 22, np.arange(40) >= 22]).astype(float)
    guesses = np.linspace(0, 1, 101)[:, None, None]
    squared = guesses[((guesses - edges) ** 2).mean(1).argmin(0), 0, 0]
    absolute = guesses[np.abs(guesses - edges).mean(1).argmin(0), 0, 0]
    np.testing.assert_allclose(squared[18:22], 0.33)  # question 13: the mean
    np.testing.assert_array_equal(absolute, edges[1])  # the median


@pytest.mark.parametrize(
    "guess, measured, numbers",
    [(None, 0.8234, ["0.823"]), (0.5, 0.8234, ["0.5", "0.823", "0.323"]), (0.82340, 0.8234, ["0.8234", "0.823"])],
)
def test_a_guess_is_told_how_far_off_it_is(guess, measured, numbers, capsys):
    analysis.compare_guess(guess, measured)
    assert re.findall(r"\d\.\d+", capsys.readouterr().out) == numbers


def test_a_word_is_right_or_not(capsys):
    analysis.compare_guess("flip", "flip")
    analysis.compare_guess("Dice", "flip")
    right, wrong = capsys.readouterr().out.splitlines()
    assert right != wrong.replace("Dice", "flip")
