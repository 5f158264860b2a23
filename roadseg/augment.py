"""Random changes to a batch in `tf.data`, drawn anew in every epoch: image, mask and weight change together.

Tensors: image float32 (n, H, W, 3) in [0, 1]; mask and weight float32 (n, H, W, 1) of 0 and 1. `draw` int64 (2,) is the
seed of TensorFlow's stateless random numbers: the same draw makes the same changes, so a resumed run sees what an
uninterrupted one would.
"""

from __future__ import annotations

from roadseg.backend import tf


def random_flip(image: tf.Tensor, mask: tf.Tensor, weight: tf.Tensor, *, draw: tf.Tensor) -> tuple[tf.Tensor, ...]:
    """Mirror about half of the samples left to right: image, mask and weight share one random draw."""
    flip = tf.random.stateless_uniform([tf.shape(image)[0], 1, 1, 1], draw) < 0.5
    return tuple(tf.where(flip, tf.reverse(part, [2]), part) for part in (image, mask, weight))


def random_zoom(
    image: tf.Tensor, mask: tf.Tensor, weight: tf.Tensor, *, strength: float, draw: tf.Tensor
) -> tuple[tf.Tensor, ...]:
    """Zoom into or out of each sample (height and width by up to 1.65, their ratio by up to 1.35), and move it: image,
    mask and weight share one random draw. What comes in from outside is black background of weight 0.

    strength : in [0, 1], multiplies the logarithms of these limits."""
    count = tf.shape(image)[0]
    zoom, stretch = 0.35 * strength, 0.15 * strength
    size = tf.exp(_uniform(draw, 13, [count, 1], -zoom, zoom) + _uniform(draw, 14, [count, 2], -stretch, stretch))
    center = 0.5 + tf.abs(1 - size) / 2 * _uniform(draw, 15, [count, 2], -1.0, 1.0)
    boxes = tf.concat([center - size / 2, center + size / 2], 1)
    parts = tf.concat([image, mask, weight], -1)
    parts = tf.image.crop_and_resize(parts, boxes, tf.range(count), tf.shape(image)[1:3])
    image, mask, weight = tf.split(parts, [3, 1, 1], -1)
    return image, tf.round(mask), tf.floor(weight + 1e-3)


def color_jitter(image: tf.Tensor, *, strength: float, draw: tf.Tensor) -> tf.Tensor:
    """Change brightness and contrast (each by up to 40 %) and white balance (up to 10 %) of each image.

    strength : in [0, 1], multiplies these limits."""

    def factor(kind: int, channels: int, limit: float) -> tf.Tensor:
        spread = limit * strength
        return _uniform(draw, kind, [tf.shape(image)[0], 1, 1, channels], 1 - spread, 1 + spread)

    mean = tf.reduce_mean(image, [1, 2], keepdims=True)
    contrasted = (image - mean) * factor(1, 1, 0.4) + mean
    return tf.clip_by_value(contrasted * factor(2, 1, 0.4) * factor(3, 3, 0.1), 0, 1)


def camera_jitter(image: tf.Tensor, *, strength: float, draw: tf.Tensor) -> tf.Tensor:
    """Change what differs between cameras and weathers, for each image: gamma (by a factor of up to 1.6), saturation
    and sharpness (up to 60 %), colors (up to 20 %), brightness of parts (a factor of up to 1.6), noise (up to 0.04).

    strength : in [0, 1], multiplies these limits."""
    count, size = tf.shape(image)[0], tf.shape(image)[1:3]

    def change(kind: int, limit: float, *shape: int) -> tf.Tensor:
        return _uniform(draw, kind, [count, *(shape or (1, 1, 1))], -limit * strength, limit * strength)

    gray = tf.reduce_mean(image, -1, keepdims=True)
    image = gray + (image - gray) * (1 + change(6, 0.6))
    near = tf.nn.avg_pool2d(image, 3, 1, "SAME")
    image = near + (image - near) * (1 + change(7, 0.6))
    image = tf.pow(tf.clip_by_value(image, 1e-4, 1), tf.exp(change(8, 0.47)))
    parts = tf.image.resize(change(9, 0.47, 6, 6, 1), size, "bicubic")
    image *= tf.exp(parts) * (1 + change(10, 0.2, 1, 1, 3))
    noise = tf.random.stateless_normal(tf.shape(image), _apart(draw, 11))
    return tf.clip_by_value(image + noise * change(12, 0.04), 0, 1)


def half_resolution(image: tf.Tensor, mask: tf.Tensor, weight: tf.Tensor) -> tuple[tf.Tensor, ...]:
    """Half of the height and width, which must be even: means of 2 x 2 pixels of the image, one of each four pixels of
    mask and weight, which stay 0 or 1. The first epochs of progressive resizing train on these."""
    return tf.nn.avg_pool2d(image, 2, 2, "VALID"), mask[:, 1::2, 1::2], weight[:, 1::2, 1::2]


def _uniform(draw: tf.Tensor, kind: int, shape: list, low: float, high: float) -> tf.Tensor:
    """Random numbers for one kind of change."""
    return tf.random.stateless_uniform(shape, _apart(draw, kind), low, high)


def _apart(draw: tf.Tensor, kind: int) -> tf.Tensor:
    """A draw far from that of any other kind or batch."""
    return draw + tf.constant([0, kind * 1_000_003], tf.int64)
