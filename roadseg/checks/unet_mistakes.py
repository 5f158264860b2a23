"""The catalog of task 4: wrong networks as students write them, each the right builder with some of its lines
changed.

To teach the check a new mistake, write it down here, and its message in `network.toml` under the same id. Options
that a student may choose freely, such as a number of filters, need only one entry: differences of the same kind are
the same.
"""

from __future__ import annotations

from functools import cache

from roadseg.checks.sketch import sketched
from roadseg.checks.trace import Row

RIGHT = """
def convolution(x, count):
    return layers.Conv2D(count, 3, padding="same", activation="relu")(x)

def build_unet(input_shape=(256, 256, 3), filters=(8, 16, 32, 64, 128)):
    x = inputs = layers.Input(input_shape)
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
CONVOLUTION, SAME = 'layers.Conv2D(count, 3, padding="same", activation="relu")(x)', 'padding="same"'
ONE = "        x = convolution(x, count)\n"
TWO = ONE + ONE
KEEP, POOL = "        skips.append(x)\n", "        x = layers.MaxPooling2D(2)(x)\n"
DOWN, BOTTLENECK = TWO + KEEP, "    x = convolution(x, filters[-1])\n    x = convolution(x, filters[-1])\n"
UP = 'layers.Conv2DTranspose(count, 2, strides=2, activation="relu")(x)'
JOIN, BOTH = "        x = layers.Concatenate()([skip, x])\n", "[skip, x]"
LEVELS, LAST = "zip(reversed(filters[:-1]), reversed(skips))", TWO + "    outputs"
HEAD, ACTIVATED = 'layers.Conv2D(1, 1, activation="sigmoid")(x)', 'padding="same", activation="relu"'
LINEAR = '        x = layers.Conv2D(count, 3, padding="same")(x)\n'
SHARED = "        same = layers.Conv2D(count, 3, padding='same', activation='relu')\n        x = same(same(x))\n"

MISTAKES: list[tuple] = [
    # convolutions
    ("padding_valid", (', padding="same"', "")),
    ("padding_valid", (', padding="same"', ""), (JOIN, "")),
    ("dilated_convolution", (SAME, 'padding="same", dilation_rate=2')),
    ("separable_convolution", ("layers.Conv2D(count", "layers.SeparableConv2D(count")),
    ("grouped_convolution", (SAME, 'padding="same", groups=2')),
    ("strided_convolution", (POOL, f"        x = {CONVOLUTION.replace(', 3,', ', 3, strides=2,')}\n")),
    (
        "strided_convolution",
        (DOWN, ONE + f"        x = {CONVOLUTION.replace(', 3,', ', 3, strides=2,')}\n" + KEEP),
        (POOL, ""),
    ),
    ("begins_again", (DOWN, DOWN.replace("(x, count)", "(inputs, count)", 1))),
    ("convolution_kernel", ("count, 3", "count, 5")),
    ("convolutions_missing", (TWO, ONE)),
    ("convolutions_missing", (BOTTLENECK, "")),
    ("convolutions_extra", (LAST, ONE + LAST)),
    ("convolutions_extra", (BOTTLENECK, BOTTLENECK + BOTTLENECK)),
    ("convolution_without_relu", (ACTIVATED, SAME)),
    ("without_bias", (SAME, 'padding="same", use_bias=False')),
    ("without_bias", ("strides=2", "strides=2, use_bias=False")),
    ("without_bias", ("1, 1, ", "1, 1, use_bias=False, ")),
    ("shared_layer", (DOWN, SHARED + KEEP)),
    ("function_between", (JOIN, '        x = layers.Activation("tanh")(layers.Concatenate()([skip, x]))\n')),
    # filters
    ("filters_not_divided", (FILTERS, "(64, 128, 256, 512, 1024)")),
    ("filters_scaled", (FILTERS, "(16, 32, 64, 128, 256)")),
    ("filters_scaled", (FILTERS, "(4, 8, 16, 32, 64)")),
    ("filters_constant", (FILTERS, "(8, 8, 8, 8, 8)")),
    ("filters_constant", (FILTERS, "(64, 64, 64, 64, 64)")),
    ("bottleneck_filters", (FILTERS, "(8, 16, 32, 64, 64)")),
    ("filters_backwards", (LEVELS, "zip(filters[:-1], reversed(skips))")),
    ("filters_backwards", (FILTERS, "(128, 64, 32, 16, 8)")),
    # the way down
    ("pooled_first", (DOWN + POOL, POOL + DOWN)),
    ("average_pooling", ("MaxPooling2D", "AveragePooling2D")),
    ("pooling_window", ("MaxPooling2D(2)", 'MaxPooling2D(3, strides=2, padding="same")')),
    ("pooling_window", ("MaxPooling2D(2)", "MaxPooling2D(3)")),
    ("pooling_window", ("MaxPooling2D(2)", "MaxPooling2D(3)"), (JOIN, "")),
    ("pooling_missing", (POOL, f"        if count != 32:\n    {POOL}")),
    ("pooling_missing", (POOL, f"        if count != 8:\n    {POOL}")),
    ("pooling_missing", (POOL, f"        if count != 64:\n    {POOL}")),
    ("pooling_extra", (BOTTLENECK, BOTTLENECK + POOL[4:])),
    ("pooling_extra", (BOTTLENECK, POOL[4:] + BOTTLENECK)),
    ("pooled_again", (LAST, TWO + POOL + "    outputs")),
    ("pooled_again", (LAST, TWO + POOL[4:] + "    outputs")),
    ("no_way_down", (LAST, LAST.replace("(x, count)", "(skip, count)", 1))),
    ("no_way_down", (POOL, POOL.replace("x =", "y =")), (JOIN, "")),
    ("no_way_down", (POOL, POOL.replace("x =", "y ="))),
    ("levels_too_few", (FILTERS, "(8, 16, 32, 64)")),
    ("levels_too_few", (FILTERS, "(16, 32, 64, 128)")),
    ("levels_too_few", (FILTERS, "(8, 16, 32)")),
    ("levels_too_many", (FILTERS, "(8, 16, 32, 64, 128, 256)")),
    ("levels_too_many", (FILTERS, "(4, 8, 16, 32, 64, 128)")),
    ("levels_uneven", (LEVELS, "zip((64, 32, 16), reversed(skips))")),
    ("levels_uneven", (LEVELS, "zip((64,), reversed(skips))")),
    ("no_way_up", (LEVELS, "[]")),
    ("no_way_up", (POOL, POOL + "        return keras.Model(inputs, x)\n")),
    # the way up
    ("upsampling", (UP, "layers.UpSampling2D()(x)")),
    ("upsampling", (UP, "convolution(layers.UpSampling2D()(x), count)")),
    ("upsampling", (UP, 'layers.Conv2D(count, 2, padding="same")(layers.UpSampling2D()(x))')),
    ("upsampling", (UP, 'layers.Conv2D(count, 2, padding="same", activation="relu")(layers.UpSampling2D()(x))')),
    ("not_doubled", (f"        x = {UP}\n", f"        {UP}\n")),
    ("transposed_skip", (UP, UP.replace("(x)", "(skip)"))),
    ("transposed_stride", ("strides=2, ", "")),
    ("transposed_kernel", ("count, 2, strides=2", 'count, 3, strides=2, padding="same"')),
    ("transposed_kernel", ("count, 2, strides=2", "count, 3, strides=2")),
    ("transposed_keeps_channels", ("Conv2DTranspose(count", "Conv2DTranspose(2 * count")),
    ("transposed_filters", ("Conv2DTranspose(count", "Conv2DTranspose(count // 2")),
    ("transposed_without_relu", ('strides=2, activation="relu"', "strides=2")),
    # skips
    ("no_skips", (JOIN, "")),
    ("no_skips", (JOIN, ""), ("Conv2DTranspose(count", "Conv2DTranspose(2 * count")),
    ("skip_missing", (JOIN, "        if count != 8:\n    " + JOIN)),
    ("skip_missing", (JOIN, "        if count != 64:\n    " + JOIN)),
    ("skips_added", ("layers.Concatenate", "layers.Add")),
    ("merged_otherwise", ("layers.Concatenate", "layers.Multiply")),
    ("residual", (DOWN, ONE + "        x = layers.Add()([x, convolution(x, count)])\n" + KEEP)),
    ("residual", (DOWN, ONE + "        before = x\n" + ONE + "        x = layers.Add()([x, before])\n" + KEEP)),
    ("joined_axis", ("Concatenate()", "Concatenate(axis=1)")),
    ("joined_several", (BOTH, "[skip, skip, x]")),
    ("joined_several", (BOTH, "[*skips, x]")),
    ("joined_with_itself", (BOTH, "[x, x]")),
    ("joined_with_itself", (BOTH, "[skip, skip]")),
    ("joined_with_decoder", (BOTH, "[convolution(x, count), x]")),
    ("joined_late", (JOIN + TWO, ONE + JOIN + ONE)),
    ("joined_late", (JOIN + TWO, TWO + JOIN)),
    ("skip_wrong_level", (LEVELS, "zip(reversed(filters[:-1]), skips)")),
    ("skip_wrong_level", (BOTH, "[skips[0], x]")),
    ("skip_wrong_level", (BOTH, "[skips[-1], x]")),
    ("skip_after_pooling", (KEEP + POOL, POOL + KEEP)),
    ("skip_before_convolutions", (DOWN, KEEP + TWO)),
    ("skip_after_first_convolution", (DOWN, ONE + KEEP + ONE)),
    ("skip_before_activation", (DOWN, ONE + LINEAR + KEEP + "        x = layers.ReLU()(x)\n")),
    ("skip_from_input", ("reversed(skips))", "[*skips[:0:-1], inputs])")),
    ("skip_processed", (BOTH, "[convolution(skip, count), x]")),
    ("skip_processed", (BOTH, "[layers.Conv2D(count, 1)(skip), x]")),
    # the output
    ("head_missing", (HEAD, "x")),
    ("head_missing", (HEAD, 'layers.Activation("sigmoid")(x)')),
    ("head_transposed", (HEAD, "layers.Conv2DTranspose(1, 1, activation='sigmoid')(x)")),
    ("head_transposed", (HEAD, "layers.Conv2DTranspose(1, 2, strides=2, activation='sigmoid')(x)")),
    ("head_channels", ("Conv2D(1, 1, activation", "Conv2D(2, 1, activation")),
    ("head_channels", ('Conv2D(1, 1, activation="sigmoid"', 'Conv2D(2, 1, activation="softmax"')),
    ("head_kernel", ("Conv2D(1, 1", 'Conv2D(1, 3, padding="same"')),
    ("no_sigmoid", (', activation="sigmoid"', "")),
    ("softmax_over_one", ('"sigmoid"', '"softmax"')),
    ("sigmoid_twice", (HEAD, f'layers.Activation("sigmoid")({HEAD})')),
    ("changed_before_sigmoid", (HEAD, 'layers.Activation("sigmoid")(layers.Conv2D(1, 1, activation="relu")(x))')),
]


def _built(changes: tuple[tuple[str, str], ...]) -> tuple[Row, ...]:
    """The rows of the right builder with some of its lines changed."""
    source = RIGHT
    for old, new in changes:
        assert old in source, f"nothing to change: {old}"
        source = source.replace(old, new)
    names = {}
    exec(source, names)
    return sketched(names["build_unet"])


@cache
def catalog() -> tuple[tuple[str, tuple[Row, ...]], ...]:
    """Each wrong network: its id and its rows."""
    return tuple((name, _built(changes)) for name, *changes in MISTAKES)


@cache
def right_rows() -> tuple[Row, ...]:
    """The rows of the right network."""
    return _built(())
