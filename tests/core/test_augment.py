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
        lambda batch, draw: augment.random_zoom(*batch, strength=1.0, draw=draw)[0],
        lambda batch, draw: augment.color_jitter(batch[0], strength=1.0, draw=draw),
        lambda batch, draw: augment.camera_jitter(batch[0], strength=1.0, draw=draw),
    ],
    ids=["random_flip", "random_zoom", "color_jitter", "camera_jitter"],
)
def test_the_same_draw_makes_the_same_change_also_in_a_graph(batch, change):
    first, again, other = (change(batch, draw(number)).numpy() for number in (2, 2, 3))
    np.testing.assert_array_equal(again, first)
    assert (np.abs(other - first).max((1, 2, 3)) > 0.01).mean() > 0.3
    np.testing.assert_allclose(tf.function(change)(batch, draw(2)).numpy(), first, atol=1e-6)


def test_zoom_moves_image_mask_and_weight_together_and_counts_only_what_is_known():
    """The image holds each pixel's row and column, and the mask what lies right of the middle."""
    row, column = np.meshgrid(np.linspace(0, 1, 48), np.linspace(0, 1, 64), indexing="ij")
    image = np.stack([row, column, np.ones_like(row)], -1)[None].repeat(COUNT, 0)
    parts = image, image[..., 1:2] > 0.5, np.ones((COUNT, 48, 64, 1))
    image, mask, weight = augment.random_zoom(
        *(tf.constant(part, tf.float32) for part in parts), strength=1.0, draw=draw(1)
    )
    image, mask, known = image.numpy(), mask.numpy()[..., 0], weight.numpy()[..., 0] == 1
    assert set(np.unique(mask)) == {0, 1} and set(np.unique(weight)) == {0, 1}
    np.testing.assert_array_equal(mask[known], image[known][:, 1] > 0.5)
    assert not image[~known].any(-1).all() and not mask[np.isclose(image[..., 2], 0)].any()
    shares = known.mean((1, 2))
    assert 0.1 < (shares == 1).mean() < 0.9 and shares.min() > 1 / 1.65**2 - 0.05
    steps = np.stack(
        [np.diff(image[..., 0], axis=1)[:, 24, 32] * 47, np.diff(image[..., 1], axis=2)[:, 24, 32] * 63], 1
    )
    assert 1 / 1.65 - 1e-3 < steps.min() < 0.7 and 1.4 < steps.max() < 1.65 + 1e-3
    assert 1.2 < (steps[:, 0] / steps[:, 1]).max() < 1.35 + 1e-3


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
