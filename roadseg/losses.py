"""What a training lowers: binary cross-entropy over pixels and, where a recipe wants it, soft Dice over pictures.

Cross-entropy asks each pixel alone; Dice asks how far road and prediction overlap, which is what F1 asks, with
probabilities in place of yes and no. Tensors: road, probability and weight float32 (n, H, W, 1).
"""

from __future__ import annotations

from dataclasses import dataclass

from roadseg.backend import keras, tf


def soft_dice(road: tf.Tensor, probability: tf.Tensor, weight: tf.Tensor | None = None) -> tf.Tensor:
    """1 - Dice of each picture, float32 (n,), in [0, 1]: 0 where the two are equal (Milletari et al., 2016).

    One more pixel of overlap is counted everywhere, so that pictures without road have a value."""
    weight = tf.ones_like(road) if weight is None else weight
    both, either = (tf.reduce_sum(weight * part, [1, 2, 3]) for part in (road * probability, road + probability))
    return 1 - (2 * both + 1) / (either + 1)


@dataclass(frozen=True)
class RoadLoss:
    """Cross-entropy + `dice` x soft Dice, mean over what is weighed; called like a loss of Keras."""

    dice: float

    def __call__(self, road, probability, sample_weight=None):
        """The loss, float32 (); without sample_weight all pixels count."""
        entropy = keras.losses.BinaryCrossentropy(reduction="mean_with_sample_weight")
        loss = entropy(road, probability, sample_weight)
        if self.dice:
            loss += self.dice * tf.reduce_mean(soft_dice(road, probability, sample_weight))
        return loss
