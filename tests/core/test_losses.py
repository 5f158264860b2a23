"""The losses by hand, and what they must be at their ends."""

import numpy as np
import pytest

from roadseg import losses
from roadseg.backend import keras, tf

RNG = np.random.default_rng(0)
ROAD = tf.constant(RNG.random((3, 8, 8, 1)) < 0.3, tf.float32)
PROBABILITY = tf.constant(RNG.random((3, 8, 8, 1)), tf.float32)
WEIGHT = tf.constant(RNG.random((3, 8, 8, 1)) < 0.9, tf.float32)


def dice_by_hand(road, probability, weight):
    return [
        1 - (2 * np.sum(w * y * p) + 1) / (np.sum(w * y) + np.sum(w * p) + 1)
        for y, p, w in zip(road.numpy(), probability.numpy(), weight.numpy())
    ]


@pytest.mark.parametrize("weight", [None, WEIGHT], ids=["all pixels", "weighed"])
def test_soft_dice_by_hand(weight):
    found = losses.soft_dice(ROAD, PROBABILITY, weight)
    wanted = dice_by_hand(ROAD, PROBABILITY, tf.ones_like(ROAD) if weight is None else weight)
    np.testing.assert_allclose(found, wanted, rtol=1e-5)


def test_soft_dice_at_its_ends():
    np.testing.assert_allclose(losses.soft_dice(ROAD, ROAD), 0, atol=1e-6)
    assert (losses.soft_dice(ROAD, 1 - ROAD).numpy() > 0.95).all()
    nothing = tf.zeros_like(ROAD)
    np.testing.assert_array_equal(losses.soft_dice(nothing, nothing), 0)
    np.testing.assert_array_equal(losses.soft_dice(ROAD, PROBABILITY, nothing), 0)


def test_of_yes_and_no_it_is_one_minus_f1():
    """But for the pixel that is counted more: F1 = 2 TP / (2 TP + FP + FN)."""
    big, called = (tf.constant(RNG.random((1, 256, 256, 1)) < share, tf.float32) for share in (0.3, 0.4))
    both, either = float(tf.reduce_sum(big * called)), float(tf.reduce_sum(big + called))
    assert float(losses.soft_dice(big, called)[0]) == pytest.approx(1 - 2 * both / either, abs=1e-4)


@pytest.mark.parametrize("weight", [None, WEIGHT], ids=["all pixels", "weighed"])
def test_without_dice_it_is_keras_own_cross_entropy(weight):
    wanted = keras.losses.BinaryCrossentropy(reduction="mean_with_sample_weight")(ROAD, PROBABILITY, weight)
    assert float(losses.RoadLoss(0.0)(ROAD, PROBABILITY, weight)) == float(wanted)


def test_dice_is_added_with_its_weight():
    entropy, one, two = (float(losses.RoadLoss(dice)(ROAD, PROBABILITY, WEIGHT)) for dice in (0.0, 1.0, 2.0))
    assert one - entropy == pytest.approx(np.mean(dice_by_hand(ROAD, PROBABILITY, WEIGHT)), rel=1e-4)
    assert two - entropy == pytest.approx(2 * (one - entropy), rel=1e-4)


def test_its_gradient_leads_to_the_truth():
    guess = tf.Variable(tf.zeros_like(ROAD))
    for _ in range(60):
        with tf.GradientTape() as tape:
            loss = losses.RoadLoss(1.0)(ROAD, tf.sigmoid(guess))
        guess.assign_sub(100 * tape.gradient(loss, guess))
    assert float(loss) < 0.1 and ((guess.numpy() > 0) == (ROAD.numpy() > 0.5)).all()
