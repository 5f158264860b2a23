"""The loss against Keras's own and by hand, whole and in parts; Muon against Keras's own; the schedule."""

import numpy as np
import pytest

from roadseg import optimization
from roadseg.backend import keras, tf

RNG = np.random.default_rng(0)
MASK, WEIGHT = (tf.constant(RNG.random((3, 8, 8, 1)) < fraction, tf.float32) for fraction in (0.3, 0.9))
PROBABILITY = tf.constant(RNG.random((3, 8, 8, 1)), tf.float32)
WEIGHTED = pytest.mark.parametrize("weight", [None, WEIGHT], ids=["all pixels", "weighted"])


@WEIGHTED
def test_without_dice_it_is_the_cross_entropy_of_keras(weight):
    expected = keras.losses.BinaryCrossentropy(reduction="mean_with_sample_weight")(MASK, PROBABILITY, weight)
    assert float(optimization.RoadLoss()(MASK, PROBABILITY, weight)) == pytest.approx(float(expected), rel=1e-6)


@WEIGHTED
def test_dice_is_added_with_its_weight(weight):
    w = np.ones(MASK.shape) if weight is None else weight.numpy()
    y, p, image = MASK.numpy() * w, PROBABILITY.numpy() * w, (1, 2, 3)
    dice = np.mean(1 - 2 * (y * p).sum(image) / (y.sum(image) + p.sum(image)))
    without, with_dice = (float(optimization.RoadLoss(factor)(MASK, PROBABILITY, weight)) for factor in (0.0, 1.5))
    assert with_dice - without == pytest.approx(1.5 * dice, rel=1e-4)


def test_the_loss_at_its_ends():
    assert float(optimization.RoadLoss(1.0)(MASK, MASK)) == pytest.approx(0, abs=1e-5)
    assert float(optimization.RoadLoss()(MASK, PROBABILITY, tf.zeros_like(MASK))) == 0  # no pixel counts


@WEIGHTED
@pytest.mark.parametrize("dice", [0.0, 0.7])
def test_two_parts_add_up_to_the_whole_loss_and_gradient(weight, dice):
    scale = tf.Variable(1.0)

    def measure(loss_fn, part):
        with tf.GradientTape() as tape:
            sample_weight = None if weight is None else weight[part]
            loss = loss_fn(MASK[part], tf.sigmoid(scale * PROBABILITY[part]), sample_weight)
        return float(loss), float(tape.gradient(loss, scale))

    loss, gradient = measure(optimization.RoadLoss(dice), slice(None))
    on_a_device = optimization.RoadLoss(dice, 2, WEIGHT)
    values, gradients = zip(*(measure(on_a_device, part) for part in (slice(1), slice(1, None))))
    assert (np.mean(values), sum(gradients)) == (pytest.approx(loss, rel=1e-5), pytest.approx(gradient, rel=1e-4))


# --- optimizers ------------------------------------------------------------------------------------------------------

SCHEDULE = {"steps": 5, "epochs": 3, "cosine_floor": 0.1, "ema": 0.0}


def muon() -> keras.optimizers.Optimizer:
    return optimization.build_optimizer(0.02, cosine=False, muon=True, **SCHEDULE)


def update(optimizer: keras.optimizers.Optimizer, start: np.ndarray, gradients: np.ndarray) -> np.ndarray:
    """What a weight is after steps along these gradients."""
    variable = keras.Variable(start)
    optimizer.build([variable])
    for gradient in gradients:
        optimizer.apply([tf.constant(gradient)], [variable])
    return variable.numpy()


@pytest.mark.parametrize("shape", [(3, 3, 8, 16), (1, 1, 4, 12)], ids=["3 x 3", "wide"])
def test_a_kernel_learns_as_its_matrix_does_with_keras(shape):
    start, *gradients = RNG.normal(size=(4, *shape)).astype(np.float32)
    published = keras.optimizers.Muon(0.02, weight_decay=None, adam_weight_decay=None, rms_rate=None)
    matrix = (-1, shape[-1])
    expected = update(published, start.reshape(matrix), [gradient.reshape(matrix) for gradient in gradients])
    np.testing.assert_allclose(update(muon(), start, gradients).reshape(matrix), expected, atol=1e-6)


@pytest.mark.parametrize("shape", [(16,), (1, 1, 8, 1)], ids=["bias", "last layer"])
def test_adam_trains_the_rest_at_a_tenth_of_the_rate(shape):
    start, *gradients = RNG.normal(size=(4, *shape)).astype(np.float32)
    expected = update(keras.optimizers.Adam(0.1 * 0.02), start, gradients)
    np.testing.assert_allclose(update(muon(), start, gradients), expected, atol=1e-6)


@pytest.mark.parametrize("muon", [False, True])
def test_the_rate_is_constant_or_warms_up_and_falls_to_its_floor(muon):
    optimizer = optimization.build_optimizer(0.02, cosine=False, muon=muon, **SCHEDULE)
    assert float(optimizer.learning_rate) == pytest.approx(0.02)
    assert type(optimizer) is (optimization.KernelMuon if muon else keras.optimizers.Adam)
    optimizer = optimization.build_optimizer(0.02, cosine=True, muon=muon, **SCHEDULE)
    rates = []
    for step in range(16):
        optimizer.iterations.assign(step)
        rates.append(float(optimizer.learning_rate))
    warm, cosine = np.arange(5) / 5, 0.1 + 0.9 * (1 + np.cos(np.pi * np.arange(11) / 10)) / 2
    np.testing.assert_allclose(rates, 0.02 * np.concatenate([warm, cosine]), rtol=1e-4, atol=1e-8)
