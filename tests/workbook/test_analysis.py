"""What the experiments of notebook 03 measure, by hand."""

import re

import numpy as np
import pytest

from roadseg.workbook import analysis


def test_thin_lines_are_thin_bright_and_repeatable():
    images, masks = analysis.thin_lines(20, size=32)
    assert images.shape == (20, 32, 32, 3) and masks.shape == (20, 32, 32, 1)
    assert images.dtype == masks.dtype == np.float32 and images.min() >= 0 and images.max() <= 1
    assert 0.03 < masks.mean() < analysis.LINES / 32 and set(np.unique(masks)) == {0, 1}
    bright = images.mean(-1, keepdims=True)
    assert bright[masks == 1].mean() > bright[masks == 0].mean() + 0.3
    np.testing.assert_array_equal(images, analysis.thin_lines(20, size=32)[0])


def test_the_plateau_ends_where_the_mean_accuracy_leaves_it():
    accuracy = np.repeat([0.5, 0.8, 0.95], [10, 60, 30])
    assert analysis.steps_on_plateau(accuracy, 0.8, window=10) == 72  # the second step above: 0.8 + 2 x 0.015
    assert analysis.steps_on_plateau(accuracy[:70], 0.8, window=10) == 70  # never
    assert analysis.steps_on_plateau(accuracy[10:17], 0.8, window=10) == 7  # a run shorter than the window


def test_distance_to_edge_counts_from_both_sides():
    mask = np.zeros((2, 7, 9), bool)
    mask[0, 3:, 2:] = True  # touches the border of the image, which is no edge
    distance = analysis.distance_to_edge(mask, most=4)
    assert distance[0, 5].tolist() == [2, 1, 1, 2, 3, 3, 3, 3, 3]
    assert distance[0, :, 8].tolist() == [3, 2, 1, 1, 2, 3, 4]
    assert (distance[1] == 4).all() and (analysis.distance_to_edge(~mask[1:], most=4) == 4).all()


@pytest.mark.parametrize(
    "guess, measured, numbers",
    [
        (None, 0.8234, ["0.823"]),
        (82, 0.8234, ["0.823", "81.177", "0.82"]),
        (0.5, 0.8234, ["0.5", "0.823", "0.323"]),
        (0.82340, 0.8234, ["0.8234", "0.823"]),
    ],
)
def test_a_guess_is_told_how_far_off_it_is(guess, measured, numbers, capsys):
    analysis.compare_guess(guess, measured)
    assert re.findall(r"\d+\.\d+", capsys.readouterr().out) == numbers


def test_a_word_is_right_or_not(capsys):
    analysis.compare_guess("flip", "flip")
    analysis.compare_guess("Dice", "flip")
    right, wrong = capsys.readouterr().out.splitlines()
    assert right != wrong.replace("Dice", "flip")


@pytest.mark.parametrize("guess, measured", [(" UU ", "uu"), ("Cars", "CARS"), ("encoder 1", "encoder1")])
def test_a_word_is_right_in_any_case_and_with_any_spaces(guess, measured, capsys):
    analysis.compare_guess(guess, measured)
    assert "(right)" in capsys.readouterr().out


@pytest.mark.parametrize("guess", [np.array([3, 6]), (3, 6), [3, 6], np.array([3, 6, 1]), float("nan"), np.float32(3)])
def test_guesses_of_any_kind_are_compared(guess, capsys):
    analysis.compare_guess(guess, [3, 6])
    assert ("(right)" in capsys.readouterr().out) == (np.size(guess) == 2)
    analysis.compare_guess(guess, 0.5)
    assert ("too high" in capsys.readouterr().out) == isinstance(guess, np.float32)
