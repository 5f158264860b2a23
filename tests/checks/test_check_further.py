"""The checks of notebook 04's tasks: right versions in several styles, and wrong ones that are named."""

import math
import random

import numpy as np
import pytest

from roadseg import checks
from roadseg.backend import keras, tf
from roadseg.checks import further

IMAGE = (1, 2, 3)  # the axes of one image in a batch


def flip_if(draw, image, mask, axis=1):
    return tuple(tf.where(draw < 0.5, tf.reverse(part, [axis]), part) for part in (image, mask))


def by_autograph(image, mask):
    if tf.random.uniform(()) > 0.5:
        image, mask = tf.image.flip_left_right(image), tf.image.flip_left_right(mask)
    return image, mask


def by_concatenation(image, mask):
    both = tf.image.random_flip_left_right(tf.concat([image, mask], axis=-1))
    return both[..., :3], both[..., 3:]


@pytest.mark.parametrize("function", [further.flip_together, by_autograph, by_concatenation])
def test_right_flips_pass_in_any_style(function):
    result = checks.random_flip(function)
    assert result.passed and result.function is function


def once(image, mask):
    return flip_if(random.random(), image, mask)


@pytest.mark.parametrize(
    "cause, function",
    [
        ("not_written", lambda image, mask: None),
        ("not_a_pair", lambda image, mask: image),
        ("error", lambda image, mask: image.flip()),
        ("mask_left", lambda image, mask: (flip_if(tf.random.uniform(()), image, mask)[0], mask)),
        ("image_left", lambda image, mask: (image, flip_if(tf.random.uniform(()), image, mask)[1])),
        ("two_draws", lambda *parts: tuple(tf.image.random_flip_left_right(part) for part in parts)),
        ("upside_down", lambda *parts: flip_if(tf.random.uniform(()), *parts, axis=0)),
        ("always", lambda *parts: flip_if(0.0, *parts)),
        ("never", lambda image, mask: (image, mask)),
        ("drawn_once", once),
        ("unfair", lambda *parts: flip_if(tf.random.uniform(()) - 0.44, *parts)),
        ("other", lambda image, mask: (1 - image, mask)),
    ],
)
def test_wrong_flips_are_named(cause, function):
    keras.utils.set_random_seed(0)
    result = checks.random_flip(function)
    assert not result.passed and result.cause == cause and result.function is further.flip_together


def dice_by_hand(mask, probability):
    axes = [1, 2, 3]
    both = tf.reduce_sum(mask * probability, axes)
    return tf.reduce_mean(1 - (2 * both + 1) / (tf.reduce_sum(mask, axes) + tf.reduce_sum(probability, axes) + 1))


@pytest.mark.parametrize("function", [further.dice_loss, dice_by_hand])
def test_right_dice_losses_pass(function):
    assert checks.soft_dice(function).passed


@pytest.mark.parametrize("cause", further.DICE_MISTAKES)
def test_each_dice_mistake_of_the_catalog_is_named(cause):
    assert checks.soft_dice(further.DICE_MISTAKES[cause][0]).cause == cause


@pytest.mark.parametrize(
    "cause, function",
    [
        ("not_written", lambda mask, probability: None),
        ("error", lambda mask, probability: mask / "probability"),
        ("not_a_number", lambda mask, probability: keras.losses.dice(mask, probability, axis=(1, 2, 3)) * tf.ones(3)),
        ("no_gradient", lambda mask, probability: np.float32(further.dice_loss(mask, probability).numpy())),
        ("empty", lambda m, p: 1 - tf.reduce_mean(2 * tf.reduce_sum(m * p, IMAGE) / tf.reduce_sum(m + p, IMAGE))),
        ("other", lambda mask, probability: keras.ops.mean(keras.losses.binary_crossentropy(mask, probability))),
    ],
)
def test_other_wrong_dice_losses_are_named(cause, function):
    result = checks.soft_dice(function)
    assert result.cause == cause and result.function is further.dice_loss


def test_the_reference_dice_is_its_formula():
    mask, probability = tf.constant([1.0, 1, 0, 0]), tf.constant([0.5, 1, 0.5, 0])
    shaped = [tf.reshape(part, (1, 2, 2, 1)) for part in (mask, probability)]
    assert float(further.dice_loss(*shaped)) == pytest.approx(1 - 2 * 1.5 / (2 + 2), abs=1e-6)


def test_right_schedules_pass_and_agree_with_keras():
    keras_schedule = keras.optimizers.schedules.CosineDecay(0.0, 100, warmup_target=0.02, warmup_steps=10)
    ours = [further.cosine_schedule(step, 0.02, 10, 110) for step in range(110)]
    np.testing.assert_allclose(ours, [float(keras_schedule(step)) for step in range(110)], atol=1e-6)

    def from_one(step, peak, warmup, total):
        if step < warmup:
            return peak * (step + 1) / warmup
        return peak * 0.5 * (1 + math.cos(math.pi * (step + 1 - warmup) / (total - warmup)))

    assert checks.warmup_cosine(further.cosine_schedule).passed and checks.warmup_cosine(from_one).passed


@pytest.mark.parametrize("cause", further.SCHEDULE_MISTAKES)
def test_each_mistake_of_a_schedule_is_named(cause):
    assert checks.warmup_cosine(further.SCHEDULE_MISTAKES[cause][0]).cause == cause


@pytest.mark.parametrize(
    "cause, function",
    [
        ("not_written", lambda step, peak, warmup, total: None),
        ("error", lambda step, peak, warmup, total: peak / 0),
        ("not_a_number", lambda step, peak, warmup, total: [peak, step]),
        ("other", lambda step, peak, warmup, total: 3 * peak),
    ],
)
def test_other_wrong_schedules_are_named(cause, function):
    result = checks.warmup_cosine(function)
    assert result.cause == cause and result.function is further.cosine_schedule
