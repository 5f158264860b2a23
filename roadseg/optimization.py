"""What training minimizes, and how: cross-entropy and soft Dice; Adam, and Muon for the kernels of convolutions.

Cross-entropy scores each pixel alone; Dice scores how far mask and prediction overlap, as F1 does, with probabilities
in place of yes and no (Milletari et al., 2016). Tensors: mask, probability and weight float32 (n, H, W, 1).

Adam scales each weight's step by itself. Muon takes a whole kernel's momentum as a matrix and sets all of its singular
values to about 1: rare directions learn as fast as common ones, and the U-Net needs about half as many steps
(K. Jordan et al., 2024, https://kellerjordan.github.io/posts/muon).
"""

from __future__ import annotations

from dataclasses import dataclass

from roadseg.backend import keras, tf

ADAM_RATIO = 0.1  # of Muon's learning rate: what Adam takes for biases and the last layer


@dataclass(frozen=True)
class RoadLoss:
    """Mean cross-entropy + `dice` x mean soft Dice of what is weighted; called like a loss of Keras.

    Where a batch is divided between several devices, each computes the loss of its part. The mean of their values,
    which running metrics take, is the loss of the whole batch; the sum of their gradients, which Keras's optimizers
    take, is its gradient.

    Parameters
    ----------
    dice : weight of soft Dice, 0 or more.
    replicas : number of devices that share the batch.
    batch_weight : weight (n, H, W, 1) of the whole batch, where several devices share it.
    """

    dice: float = 0.0
    replicas: int = 1
    batch_weight: tf.Tensor | None = None

    def __call__(self, mask, probability, sample_weight=None):
        """The loss, float32 (); without sample_weight all pixels count."""
        whole = mask if self.batch_weight is None else self.batch_weight
        if sample_weight is None:
            pixels = tf.cast(tf.size(whole), tf.float32)
        else:
            pixels = tf.reduce_sum(sample_weight if self.batch_weight is None else whole)
        entropy = keras.losses.BinaryCrossentropy(reduction="sum")(mask, probability, sample_weight)
        loss = tf.math.divide_no_nan(entropy, pixels)
        if self.dice:
            weight = 1.0 if sample_weight is None else sample_weight
            overlap = keras.losses.dice(weight * mask, weight * probability, axis=(1, 2, 3))
            loss += self.dice * tf.reduce_sum(overlap) / tf.cast(tf.shape(whole)[0], tf.float32)
        return loss if self.replicas == 1 else scale_gradient(self.replicas * loss, 1 / self.replicas)


@tf.custom_gradient
def scale_gradient(value, factor):
    """The value as it is, with its gradient times a factor."""
    return tf.identity(value), lambda upstream: (factor * upstream, None)


class KernelMuon(keras.optimizers.Muon):
    """Keras's Muon, which leaves all but matrices to Adam, for the kernels of convolutions.

    A kernel (height, width, a, b) is the matrix (height x width x a, b). Left to Adam are biases and kernels with one
    filter, which have one singular value only.
    """

    def _should_use_adamw(self, variable) -> bool:
        return len(variable.shape) < 4 or variable.shape[-1] == 1

    def zeropower_via_newtonschulz5(self, x, steps: int):
        """A kernel's momentum with all singular values at about 1, in the kernel's own shape."""
        matrix = keras.ops.reshape(x, (-1, x.shape[-1]))
        return keras.ops.reshape(super().zeropower_via_newtonschulz5(matrix, steps), x.shape)


def build_optimizer(
    learning_rate: float, *, cosine: bool, cosine_floor: float, muon: bool, ema: float, steps: int, epochs: int
) -> keras.optimizers.Optimizer:
    """Adam, or Muon with Adam, for so many epochs of so many steps.

    Parameters
    ----------
    learning_rate : constant, or the peak of the schedule.
    cosine : warm up over the first epoch, then fall along a cosine to the fraction `cosine_floor` of the peak.
    ema : momentum of the moving average of the weights, which `finalize_variable_values` puts in their place; 0: none.
    """
    rate = learning_rate
    if cosine:
        decay = max(1, steps * (epochs - 1))
        rate = keras.optimizers.schedules.CosineDecay(
            0.0, decay, alpha=cosine_floor, warmup_target=rate, warmup_steps=steps
        )
    average = {"use_ema": True, "ema_momentum": ema} if ema else {}
    if not muon:
        return keras.optimizers.Adam(rate, **average)
    return KernelMuon(
        rate, adam_lr_ratio=ADAM_RATIO, weight_decay=None, adam_weight_decay=None, rms_rate=None, **average
    )
