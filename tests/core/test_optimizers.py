"""Muon for kernels beside Keras's own for matrices, Adam for the rest beside Keras's own, and the schedule."""

import numpy as np
import pytest

from roadseg import optimizers, recipes
from roadseg.backend import keras, tf

RNG = np.random.default_rng(0)
KERNELS = {"convolution": (3, 3, 8, 16), "transposed": (2, 2, 4, 8), "first": (3, 3, 3, 8), "wide": (1, 1, 4, 12)}
MUON = recipes.changed("fast", name="own", learning_rate=0.02, cosine=False)


def gradients(shape: tuple[int, ...]) -> list[np.ndarray]:
    return [RNG.normal(size=shape).astype(np.float32) for _ in range(3)]


def updated(optimizer: keras.optimizers.Optimizer, start: np.ndarray, steps: list[np.ndarray]) -> np.ndarray:
    """Where a weight is after these gradients."""
    variable = keras.Variable(start)
    optimizer.build([variable])
    for gradient in steps:
        optimizer.apply([tf.constant(gradient)], [variable])
    return variable.numpy()


@pytest.mark.parametrize("shape", KERNELS.values(), ids=KERNELS)
def test_a_kernel_learns_as_its_matrix_does_with_keras(shape):
    start, steps = RNG.normal(size=shape).astype(np.float32), gradients(shape)
    found = updated(optimizers.build(MUON, steps=5, epochs=3), start, steps)
    own = keras.optimizers.Muon(0.02, weight_decay=None, adam_weight_decay=None, rms_rate=None)
    matrix = (-1, shape[-1])
    expected = updated(own, start.reshape(matrix), [step.reshape(matrix) for step in steps])
    np.testing.assert_allclose(found.reshape(matrix), expected, atol=1e-6)


def test_all_singular_values_of_a_step_are_about_one():
    shape, start = KERNELS["convolution"], np.zeros(KERNELS["convolution"], np.float32)
    uneven = gradients(shape)[0] * np.geomspace(
        1, 30, shape[-1], dtype=np.float32
    )  # some filters hear much, some little
    values = np.linalg.svd(uneven.reshape(-1, shape[-1]), compute_uv=False)
    step = updated(optimizers.build(MUON, steps=5, epochs=3), start, [uneven]).reshape(-1, shape[-1]) / -0.02
    found = np.linalg.svd(step, compute_uv=False)
    assert values.max() / values.min() > 15 and found.min() > 0.6 and found.max() < 1.3


@pytest.mark.parametrize("shape", [(16,), (1, 1, 8, 1), (3, 3, 8, 1)], ids=["bias", "last layer", "one filter"])
def test_adam_has_the_rest_at_a_tenth_of_the_rate(shape):
    start, steps = RNG.normal(size=shape).astype(np.float32), gradients(shape)
    found = updated(optimizers.build(MUON, steps=5, epochs=3), start, steps)
    np.testing.assert_allclose(found, updated(keras.optimizers.Adam(0.002), start, steps), atol=1e-6)


def test_without_muon_it_is_adam():
    for name in ("assigned", "reported"):
        optimizer = optimizers.build(recipes.RECIPES[name], steps=5, epochs=3)
        assert type(optimizer) is keras.optimizers.Adam
        assert float(optimizer.learning_rate) == pytest.approx(recipes.RECIPES[name].learning_rate)


@pytest.mark.parametrize("muon", [False, True])
def test_the_rate_warms_up_and_falls_to_a_hundredth(muon):
    recipe = recipes.changed(MUON, name="own", cosine=True, muon=muon, average=0.9)
    optimizer = optimizers.build(recipe, steps=5, epochs=3)
    rates = []
    for step in range(16):
        optimizer.iterations.assign(step)
        rates.append(float(optimizer.learning_rate))
    warm, cosine = np.arange(5) / 5, 0.01 + 0.99 * (1 + np.cos(np.pi * np.arange(11) / 10)) / 2
    np.testing.assert_allclose(rates, 0.02 * np.concatenate([warm, cosine]), rtol=1e-4, atol=1e-8)
    assert optimizer.use_ema and optimizer.ema_momentum == 0.9
