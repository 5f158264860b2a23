"""The catalog of task 4: wrong networks as students write them, each the right builder with some lines changed.

To teach the check a new mistake, write it down here, and its message in `network.toml` under the same id. Options
that a student may choose freely, such as a number of filters, need only one entry: differences of the same kind are
the same. What the first thing that differs names by itself, such as another activation, is not here.
"""

from __future__ import annotations

from functools import cache

from roadseg.checks.probe import rewritten
from roadseg.checks.sketch import sketched
from roadseg.checks.trace import Row

RIGHT = """
def convolution(x, count):
    return layers.Conv2D(count, 3, padding="same", activation="relu")(x)

def build_unet(input_shape=(256, 256, 3), filters=(8, 16, 32, 64, 128)):
    inputs = layers.Input(input_shape)
    x = inputs
    skips = []
    for count in filters[:-1]:
        x = convolution(x, count)
        x = convolution(x, count)
        skips.append(x)
        x = layers.MaxPooling2D(2)(x)
    x = convolution(x, filters[-1])
    x = convolution(x, filters[-1])
    for count, skip in zip(reversed(filters[:-1]), reversed(skips)):
        x = layers.Conv2DTranspose(count, 2, strides=2, activation="relu")(x)
        x = layers.Concatenate()([skip, x])
        x = convolution(x, count)
        x = convolution(x, count)
    outputs = layers.Conv2D(1, 1, activation="sigmoid")(x)
    return keras.Model(inputs, outputs)
"""
FILTERS = "(8, 16, 32, 64, 128)"
ONE = "        x = convolution(x, count)\n"
TWO = ONE + ONE
KEEP, POOL = "        skips.append(x)\n", "        x = layers.MaxPooling2D(2)(x)\n"
DOWN, BOTTLENECK = TWO + KEEP, "    x = convolution(x, filters[-1])\n    x = convolution(x, filters[-1])\n"
UP = 'layers.Conv2DTranspose(count, 2, strides=2, activation="relu")(x)'
JOIN, BOTH = "        x = layers.Concatenate()([skip, x])\n", "[skip, x]"
LEVELS, LAST = "zip(reversed(filters[:-1]), reversed(skips))", TWO + "    outputs"
HEAD = 'layers.Conv2D(1, 1, activation="sigmoid")(x)'

MISTAKES: list[tuple] = [
    # convolutions
    ("number_of_convolutions", (BOTTLENECK, "")),
    ("function_between", (JOIN, '        x = layers.Activation("tanh")(layers.Concatenate()([skip, x]))\n')),
    # filters
    ("filters_not_divided", (FILTERS, "(64, 128, 256, 512, 1024)")),
    ("filters_backwards", (LEVELS, "zip(filters[:-1], reversed(skips))")),
    ("filters_backwards", (FILTERS, "(128, 64, 32, 16, 8)")),
    # the encoder
    ("pooled_first", (DOWN + POOL, POOL + DOWN)),
    ("number_of_poolings", (BOTTLENECK, BOTTLENECK + POOL[4:])),
    ("pooled_again", (LAST, TWO + POOL + "    outputs")),
    ("pooled_again", (LAST, TWO + POOL[4:] + "    outputs")),
    # the decoder
    ("not_doubled", (f"        x = {UP}\n", f"        {UP}\n")),
    ("transposed_skip", (UP, UP.replace("(x)", "(skip)"))),
    # skips
    ("no_skips", (JOIN, "")),
    ("no_skips", (JOIN, ""), ("Conv2DTranspose(count", "Conv2DTranspose(2 * count")),
    ("joined_with_itself", (BOTH, "[x, x]")),
    ("joined_with_itself", (BOTH, "[skip, skip]")),
    ("joined_with_decoder", (BOTH, "[convolution(x, count), x]")),
    ("joined_late", (JOIN + TWO, ONE + JOIN + ONE)),
    ("joined_late", (JOIN + TWO, TWO + JOIN)),
    ("joined_late", (JOIN, ONE + JOIN)),
    ("skip_before_convolutions", (DOWN, KEEP + TWO)),
    # the output
    ("head_missing", (HEAD, "x")),
    ("head_missing", (HEAD, 'layers.Activation("sigmoid")(x)')),
]


def _built(*changes: tuple[str, str]) -> tuple[Row, ...]:
    """The rows of the right builder with some of its lines changed."""
    names = {}
    exec(rewritten(RIGHT, *changes), names)
    return sketched(names["build_unet"])


@cache
def catalog() -> tuple[tuple[str, tuple[Row, ...]], ...]:
    """Each wrong network: its id and its rows."""
    return tuple((name, _built(*changes)) for name, *changes in MISTAKES)


@cache
def right_rows() -> tuple[Row, ...]:
    """The rows of the right network."""
    return _built()
