"""How weights follow their gradients: Adam, or Muon for the kernels of convolutions with Adam beside it.

Adam scales each weight's step by itself. Muon takes a whole kernel's momentum as a matrix and sets all of its singular
values to about 1: rare directions learn as fast as common ones, and the U-Net needs about half as many steps
(K. Jordan et al., 2024, https://kellerjordan.github.io/posts/muon).
"""

from __future__ import annotations

from roadseg.backend import keras
from roadseg.recipes import Recipe

ADAM_SHARE = 0.1  # of Muon's learning rate: what Adam takes for biases and the last layer


class KernelMuon(keras.optimizers.Muon):
    """Keras's Muon, which leaves all but matrices to Adam, for the kernels of convolutions.

    A kernel (height, width, a, b) is the matrix (height x width x a, b). Left to Adam stay biases and kernels with one
    filter, which have one singular value only.
    """

    def _should_use_adamw(self, variable) -> bool:
        return len(variable.shape) < 4 or variable.shape[-1] == 1

    def zeropower_via_newtonschulz5(self, x, steps: int):
        """A kernel's momentum with all singular values at about 1, in the kernel's own shape."""
        matrix = keras.ops.reshape(x, (-1, x.shape[-1]))
        return keras.ops.reshape(super().zeropower_via_newtonschulz5(matrix, steps), x.shape)


def build(recipe: Recipe, *, steps: int, epochs: int) -> keras.optimizers.Optimizer:
    """A recipe's optimiser for so many epochs of so many steps.

    The learning rate is constant, or warms up over the first epoch and falls along a cosine to 1 % of its peak."""
    rate = recipe.learning_rate
    if recipe.cosine:
        falling = max(1, steps * (epochs - 1))
        rate = keras.optimizers.schedules.CosineDecay(0.0, falling, alpha=0.01, warmup_target=rate, warmup_steps=steps)
    average = {"use_ema": True, "ema_momentum": recipe.average} if recipe.average else {}
    if recipe.muon:
        plain = {"weight_decay": None, "adam_weight_decay": None, "rms_rate": None}  # Muon as first published
        return KernelMuon(rate, adam_lr_ratio=ADAM_SHARE, **plain, **average)
    return keras.optimizers.Adam(rate, **average)
