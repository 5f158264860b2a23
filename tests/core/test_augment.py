"""Random changes of a batch: image, mask and weight together, and the same draw the same change."""

import numpy as np
import pytest

from roadseg import augment
from roadseg.backend import tf

COUNT = 200


@pytest.fixture
def batch() -> list[tf.Tensor]:
    """Random images of 6 x 8 pixels with masks and weights."""
    rng = np.random.default_rng(0)
    image, mask, weight = rng.random((COUNT, 6, 8, 3)), rng.random((COUNT, 6, 8, 1)), rng.random((COUNT, 6, 8, 1))
    return [tf.constant(part, tf.float32) for part in (image, mask < 0.3, weight < 0.9)]


def draw(number: int) -> tf.Tensor:
    return tf.constant([1, number], tf.int64)


def test_flips_mirror_image_mask_and_weight_together(batch):
    changed, plain = np.concatenate(augment.random_flip(*batch, draw=draw(1)), -1), np.concatenate(batch, -1)
    same, mirrored = ((changed == expected).all((1, 2, 3)) for expected in (plain, plain[:, :, ::-1]))
    assert (same ^ mirrored).all()
    assert 0.35 < mirrored.mean() < 0.65  # four standard deviations to either side


@pytest.mark.parametrize(
    "change",
    [
        lambda batch, draw: augment.random_flip(*batch, draw=draw)[0],
        lambda batch, draw: augment.color_jitter(batch[0], strength=1.0, draw=draw),
        lambda batch, draw: augment.camera_jitter(batch[0], strength=1.0, draw=draw),
    ],
    ids=["random_flip", "color_jitter", "camera_jitter"],
)
def test_the_same_draw_makes_the_same_change_also_in_a_graph(batch, change):
    first, again, other = (change(batch, draw(number)).numpy() for number in (2, 2, 3))
    np.testing.assert_array_equal(again, first)
    assert (np.abs(other - first).max((1, 2, 3)) > 0.01).mean() > 0.3
    np.testing.assert_allclose(tf.function(change)(batch, draw(2)).numpy(), first, atol=1e-6)


def test_color_jitter_keeps_to_its_limits(batch):
    """Half of 40 % for brightness and contrast and of 10 % for white balance, on two flat stripes of gray."""
    gray = np.repeat([80 / 255, 120 / 255], 2)[:, None] * np.ones((COUNT, 4, 4, 3))
    image = augment.color_jitter(tf.constant(gray, tf.float32), strength=0.5, draw=draw(1)).numpy() * 255
    dark, light = image[:, 0, 0], image[:, 0, 2]
    brightness, contrast = (dark + light) / 200, (light - dark) / (light + dark) * 5
    balance = brightness.max(1) / brightness.min(1)
    np.testing.assert_allclose(contrast, contrast[:, :1].repeat(3, 1), rtol=1e-4)  # one for all channels
    for values, low, high in ((contrast, 0.8, 1.2), (brightness, 0.8 * 0.95, 1.2 * 1.05), (balance, 1, 1.05 / 0.95)):
        assert low - 1e-4 < values.min() and values.max() < high + 1e-4
        assert np.ptp(values) > 0.6 * (high - low)
    random = augment.color_jitter(batch[0], strength=1.0, draw=draw(1)).numpy()
    assert random.dtype == np.float32 and random.min() >= 0 and random.max() <= 1


def test_half_resolution_averages_the_image_and_picks_from_mask_and_weight(batch):
    image, mask, weight = augment.half_resolution(*batch)
    means = batch[0].numpy().reshape(COUNT, 3, 2, 4, 2, 3).mean((2, 4))
    np.testing.assert_allclose(image, means, atol=1e-6)
    np.testing.assert_array_equal(mask, batch[1][:, 1::2, 1::2])
    np.testing.assert_array_equal(weight, batch[2][:, 1::2, 1::2])
