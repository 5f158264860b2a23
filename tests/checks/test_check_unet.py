"""The check of task 4: right networks in many styles pass, each wrong one is told its own mistake, and grading agrees.

Most versions are the source of a right one with something in it replaced, as a student would write it by mistake.
"""

import random
import re
import sys
import warnings
from functools import cache, partial

import numpy as np
import pytest

from roadseg import checks, models
from roadseg.backend import keras, tf
from roadseg.checks import architecture, network, probe, unet_mistakes
from roadseg.checks.result import NOT_WRITTEN
from roadseg.checks.unet_mistakes import BOTTLENECK, DOWN, HEAD, JOIN, KEEP, LAST, LEVELS, ONE, TWO, UP

layers = keras.layers
FILTERS = (8, 16, 32, 64, 128)
OF_AN_EXAMPLE = layers.Conv2D(8, 3, padding="same")(keras.Input((32, 32, 3)))  # as an earlier cell leaves it
ADVICE = architecture.advice()

pytestmark = pytest.mark.slow

CONVOLUTION = 'layers.Conv2D(count, 3, padding="same", activation="relu")(x)'
POOL, JOINED = "layers.MaxPooling2D(2)(x)", "layers.Concatenate()([skip, x])"
RETURN = "return keras.Model(inputs, outputs)"


def written(*changes: tuple[str, str]):
    """The function of the source, with texts in it replaced."""
    names = {"layers": layers, "keras": keras, "tf": tf, "OF_AN_EXAMPLE": OF_AN_EXAMPLE, "KEPT": []}
    exec(probe.rewritten(unet_mistakes.RIGHT, *changes), names)
    return names["build_unet"]


# --- right -----------------------------------------------------------------------------------------------------------

PLAIN = 'layers.Conv2D(count, 3, padding="same")(x)'
RIGHT = {
    "as the workbook": (),
    "activations as layers": (
        (CONVOLUTION, f"layers.ReLU()({PLAIN})"),
        (UP, 'layers.Activation("relu")(layers.Conv2DTranspose(count, 2, 2)(x))'),
        (HEAD, 'layers.Activation("sigmoid")(layers.Conv2D(1, 1)(x))'),
    ),
    "functions for layers": (
        (CONVOLUTION, f"keras.ops.relu({PLAIN})"),
        (POOL, "keras.ops.max_pool(x, 2)"),
        (JOINED, "keras.ops.concatenate([x, skip], axis=-1)"),
        (HEAD, "keras.ops.sigmoid(layers.Conv2D(1, 1)(x))"),
    ),
    "names, initializers, regularizers": (
        ('padding="same", act', 'padding="SAME", kernel_initializer="he_normal", kernel_regularizer="l2", act'),
        ("strides=2, act", 'strides=(2, 2), padding="same", name=f"up{count}", act'),
        (POOL, 'layers.MaxPool2D((2, 2), strides=2, padding="same")(x)'),
    ),
    "zeros put around, a dense layer": (
        (CONVOLUTION, 'layers.Conv2D(count, 3, activation="relu")(layers.ZeroPadding2D()(x))'),
        (HEAD, 'layers.Dense(1, activation="sigmoid")(x)'),
        ("[skip, x]", "[x, skip]"),
    ),
    "ReLU behind the concatenation, the larger of it and 0, a sigmoid written out": (
        (CONVOLUTION, f"keras.ops.maximum({PLAIN}, 0)"),
        ('strides=2, activation="relu"', "strides=2"),
        (JOINED, "layers.ReLU()(layers.Concatenate()([skip, x]))"),
        (HEAD, "1 / (1 + keras.ops.exp(-layers.Conv2D(1, 1)(x)))"),
    ),
    "ReLU behind the pooling, TensorFlow in a Lambda": (
        (DOWN, ONE + f"        x = {PLAIN}\n" + KEEP),
        ("skips.append(x)", "skips.append(layers.ReLU()(x))"),
        (POOL, "layers.ReLU()(layers.MaxPooling2D(2)(x))"),
        (JOINED, "layers.Lambda(lambda pair: tf.concat(pair, -1))([skip, x])"),
    ),
    "ReLU by a choice, images of any size": (
        (CONVOLUTION, f"(lambda y: keras.ops.where(y > 0, y, 0.0))({PLAIN})"),
        ("(256, 256, 3)", "(None, None, 3)"),
    ),
    "ReLU by a mask, no argument for the shape": (
        (CONVOLUTION, f"(lambda y: y * keras.ops.cast(y > 0, 'float32'))({PLAIN})"),
        ("input_shape=(256, 256, 3), ", ""),
        ("(input_shape)", "((256, 256, 3))"),
    ),
    "leaky ReLU that does not leak, inputs in a dictionary": (
        (CONVOLUTION, f"layers.LeakyReLU(0.0)({PLAIN})"),
        (POOL, "layers.LeakyReLU(0.0)(layers.MaxPooling2D(2)(x))"),
        (RETURN, 'return keras.Model({"image": inputs}, outputs)'),
    ),
    "skips by their filters, layers that hand on": (
        (KEEP, "        skips[count] = x\n"),
        ("skips = []", "skips = {}"),
        (LEVELS, "[(count, layers.Identity()(skips[count])) for count in filters[-2::-1]]"),
        (JOINED, 'layers.Activation("linear")(layers.Concatenate(axis=3)([x, skip]))'),
    ),
    "blocks of layers, a model in a model": (
        (CONVOLUTION, f"keras.Sequential([layers.Input((None, None, x.shape[-1])), {CONVOLUTION[:-3]}])(x)"),
        (RETURN, "return keras.Sequential([inputs, keras.Model(inputs, outputs)])"),
    ),
}


class UNet(keras.Model):
    """The U-Net as a class, some of it in TensorFlow's functions."""

    def __init__(self, padding="same"):
        super().__init__()
        self.convolutions = [self._pair(count, padding) for count in (*FILTERS, *FILTERS[-2::-1])]
        self.ups = [layers.Conv2DTranspose(count, 2, 2) for count in FILTERS[-2::-1]]
        self.pool, self.head = layers.MaxPooling2D(), layers.Conv2D(1, 1)

    def _pair(self, count, padding):
        return [layers.Conv2D(count, 3, padding=padding, activation="relu") for _ in range(2)]

    def call(self, image):
        levels, skips, x = iter(self.convolutions), [], image
        for _ in self.ups:
            skips.append(self._convolved(x, next(levels)))
            x = self.pool(skips[-1])
        x = self._convolved(x, next(levels))
        for up in self.ups:
            x = tf.concat([skips.pop(), tf.nn.relu(up(x))], axis=3)
            x = self._convolved(x, next(levels))
        return tf.sigmoid(self.head(x))

    def _convolved(self, x, pair):
        for convolution in pair:
            x = convolution(x)
        return x


class CompiledUNet(UNet):
    @tf.function
    def call(self, image, training=None):
        return super().call(image)


def in_two_models():
    """The encoder is a model of its own, with five outputs."""
    whole = models.unet()
    names = [*(f"encoder{level}_conv2" for level in range(1, 5)), "bottleneck_conv2"]
    down = keras.Model(whole.input, [whole.get_layer(name).output for name in names])
    inputs = layers.Input((256, 256, 3))
    *skips, x = down(inputs)
    for count in FILTERS[-2::-1]:
        x = layers.concatenate([layers.Conv2DTranspose(count, 2, 2, activation="relu")(x), skips.pop()])
        for _ in range(2):
            x = layers.Conv2D(count, 3, padding="same", activation="relu")(x)
    return keras.Model(inputs, layers.Conv2D(1, 1, activation="sigmoid")(x))


def of_blocks_built_by_shape():
    """A subclass whose blocks have no weights before the first call, though `build` has been called."""

    class Blocks(keras.Model):
        def __init__(self):
            super().__init__()
            two = lambda count: keras.Sequential(  # noqa: E731
                [layers.Conv2D(count, 3, padding="same", activation="relu") for _ in range(2)]
            )
            self.down, self.up = [two(count) for count in FILTERS], [two(count) for count in FILTERS[-2::-1]]
            self.doubled = [layers.Conv2DTranspose(count, 2, 2, activation="relu") for count in FILTERS[-2::-1]]
            self.head = layers.Conv2D(1, 1, activation="sigmoid")

        def call(self, x):
            skips = []
            for block in self.down:
                x = block(keras.ops.max_pool(x, 2) if skips else x)
                skips.append(x)
            for doubled, block, skip in zip(self.doubled, self.up, skips[-2::-1]):
                x = block(keras.ops.concatenate([doubled(x), skip], -1))
            return self.head(x)

    model = Blocks()
    model.build((None, 256, 256, 3))
    return model


LINEAR = f"        x = {PLAIN}\n"
KEEPING = 'layers.Conv2DTranspose(count, 3, padding="same", activation="relu")(x)'
SHARED = "    same = layers.Conv2D(64, 3, padding='same', activation='relu')\n    x = same(same(x))\n"
GROUPED = "    x = layers.Conv2D(128, 3, groups=2, padding='same', activation='relu')(x)\n"
STRIDED = 'layers.Conv2D(count, 3, strides=2, padding="same", activation="relu")(x)'
RESIZED = 'layers.Conv2D(count, 2, padding="same")(layers.UpSampling2D(interpolation="bilinear")(x))'
BEFORE_SIGMOID = 'layers.Activation("sigmoid")(layers.Conv2D(1, 1, activation="relu")(x))'
WITH_INPUT = 'layers.Conv2D(1, 1, activation="sigmoid")(layers.Concatenate()([x, inputs]))'

WITHOUT_SELF = """class Block(layers.Layer):
    def call(x):
        return layers.ReLU()(x)

def build_unet"""
RAISES = """def raised(x, count):
    layers.Conv2DTranspose(count, 2, 2, activation="relu")(x)

def build_unet"""
FITTED = """m = keras.Model(inputs, outputs)
    m.compile("adam", "mse")
    m.fit(keras.ops.zeros((1, 256, 256, 3)), keras.ops.zeros((1, 256, 256, 1)), verbose=0)
    return m"""

WRONG = {name: changes for name, *changes in reversed(unet_mistakes.MISTAKES)} | {  # those of the catalog, and these
    # the function
    "arguments_required": [(f"filters={FILTERS}", "*, filters")],
    "stub_left": [(RETURN, "raise NotImplementedError")],
    "name_missing": [(POOL, "MaxPooling2D(2)(x)")],
    "layer_not_called": [(POOL, "layers.MaxPooling2D(2)")],
    "first_brackets": [(POOL, "layers.MaxPooling2D(x)")],
    "called_twice": [(POOL, "layers.MaxPooling2D(2)(x)(x)")],
    "none_handed_on": [("return layers.Conv2D(count", "layers.Conv2D(count")],
    "none_used": [(KEEP, "        skips = skips.append(x)\n")],
    "self_missing": [("def build_unet", WITHOUT_SELF), (CONVOLUTION, "Block()(x)")],
    "model_arguments": [(RETURN, "return keras.Model([inputs, outputs])")],
    "trained_inside": [(RETURN, FITTED)],
    "list_needed": [(JOINED, "layers.Concatenate()(skip, x)")],
    "layer_reused": [(DOWN, "        same = layers.Conv2D(count, 3)\n        x = same(same(x))\n" + KEEP)],
    "tensorflow_function": [(JOINED, "tf.concat([skip, x], -1)")],
    "build_raises": [(POOL, "layers.MaxPooling2D(size=2)(x)")],
    "nothing_returned": [(RETURN, "model = keras.Model(inputs, outputs)")],
    "not_a_model": [(RETURN, "return inputs, outputs")],
    "not_feature_maps": [("x = inputs", "x = input_shape")],
    "several_given": [(ONE, "        x = convolution(x, count),\n")],
    "filters_not_whole": [("(count, 3", "(count / 2, 3")],
    "begins_twice": [(JOINED, "layers.Concatenate()([OF_AN_EXAMPLE, x])")],
    "activation_class": [('"same", activation="relu"', '"same", activation=layers.ReLU')],
    "second_call": [
        ("skips = []", "skips = KEPT"),
        (LEVELS, "zip(reversed(filters[:-1]), reversed(skips[:4]))"),
    ],
    "weights_kept": [("def build_unet", "import functools\n\n@functools.lru_cache\ndef build_unet")],
    # the model as a whole
    "several_inputs": [(RETURN, "return keras.Model([inputs, layers.Input(input_shape)], outputs)")],
    "gray_input": [("(256, 256, 3)", "(256, 256, 1)")],
    "input_shape": [("(256, 256, 3)", "(128, 128, 3)")],
    "begins_late": [(RETURN, "return keras.Model(skips[0], outputs)")],
    "fixed_batch": [("(input_shape)", "(input_shape, batch_size=4)")],
    "several_outputs": [(RETURN, "return keras.Model(inputs, [outputs, x])")],
    "disconnected": [(RETURN, "return keras.Model(layers.Input(input_shape), outputs)")],
    "whole_image": [(HEAD, "layers.Dense(1, activation='sigmoid')(layers.GlobalAveragePooling2D()(x))")],
    "output_shape": [(HEAD, f"layers.Reshape((256, 256))({HEAD})")],
    "no_layers": [(RETURN, "return keras.Model(inputs, inputs)")],
    "frozen_weights": [("count, 3, ", "count, 3, trainable=False, ")],
    "constant_weights": [('padding="same"', 'kernel_initializer="zeros", padding="same"')],
    # layers that do not belong here
    "batch_normalization": [(CONVOLUTION, f"layers.BatchNormalization()({CONVOLUTION})")],
    "normalization": [(BOTTLENECK, BOTTLENECK + "    x = layers.LayerNormalization()(x)\n")],
    "dropout": [(BOTTLENECK, BOTTLENECK + "    x = layers.SpatialDropout2D(0.2)(x)\n")],
    "random_layer": [("x = inputs", "x = layers.RandomFlip()(inputs)")],
    "channels_first": [('padding="same"', 'padding="same", data_format="channels_first"')],
    "axes_swapped": [(HEAD, f"layers.Permute((2, 1, 3))({HEAD})")],
    "input_changed": [("x = inputs", "x = layers.Rescaling(1 / 255)(inputs)")],
    "flattened": [(BOTTLENECK, "    x = layers.Reshape((16, 16, 1))(layers.Dense(256)(layers.Flatten()(x)))\n")],
    "order_differs": [(HEAD, WITH_INPUT)],
    # convolutions
    "padding_valid": [('3, padding="same"', "3")],
    "padded_twice": [("x = inputs", "x = layers.ZeroPadding2D(3)(inputs)")],
    "dilated_convolution": [("padding", "dilation_rate=2, padding")],
    "separable_convolution": [("layers.Conv2D(count", "layers.SeparableConv2D(count")],
    "grouped_convolution": [(BOTTLENECK, GROUPED + GROUPED)],
    "begins_again": [(DOWN, DOWN.replace("(x, count)", "(inputs, count)", 1))],
    "convolution_kernel": [("count, 3", "count, 5")],
    "number_of_convolutions": [(DOWN, ONE + KEEP)],
    "convolution_without_relu": [('padding="same", activation="relu"', 'padding="same"')],
    "convolution_activation": [('"same", activation="relu"', '"same", activation="gelu"')],
    "without_bias": [('"same"', '"same", use_bias=False')],
    "shared_layer": [(JOIN + TWO, JOIN + ONE + SHARED.replace("    ", "        ").replace("64", "count"))],
    # filters
    "filters_scaled": [(str(FILTERS), "(16, 32, 64, 128, 256)")],
    "filters_constant": [(str(FILTERS), "(8, 8, 8, 8, 8)")],
    "bottleneck_filters": [(str(FILTERS), "(8, 16, 32, 64, 64)")],
    "filters": [(str(FILTERS), "(8, 16, 23, 64, 128)")],
    # the encoder
    "shrunk_otherwise": [(BOTTLENECK, BOTTLENECK + "    x = layers.GlobalAveragePooling2D(keepdims=True)(x)\n")],
    "average_pooling": [("MaxPooling2D", "AveragePooling2D")],
    "strided_convolution": [(POOL, STRIDED)],
    "pooling_window": [("MaxPooling2D(2)", 'MaxPooling2D(3, strides=2, padding="same")')],
    "number_of_poolings": [(POOL, f"x if count == 32 else {POOL}")],
    "pooled_another_level": [(POOL, POOL.replace("(x)", "(skips[0] if count == 16 else x)"))],
    "no_way_down": [(LAST, LAST.replace("(x, count)", "(skip, count)", 1))],
    "number_of_levels": [(LEVELS, "zip((64, 32, 16), reversed(skips))")],
    # the decoder
    "upsampling": [(UP, "layers.UpSampling2D()(x)")],
    "resized": [(HEAD, f"layers.Resizing(256, 256)({HEAD})")],
    "level_skipped": [(LEVELS, "zip(filters[-3::-1], skips[-2::-1])")],
    "convolution_transposed": [(JOIN + TWO, JOIN + TWO.replace("convolution(x, count)", KEEPING))],
    "transposed_stride": [("strides=2, ", "")],
    "transposed_kernel": [("count, 2, strides=2", 'count, 3, strides=2, padding="same"')],
    "transposed_filters": [("Conv2DTranspose(count", "Conv2DTranspose(count // 2")],
    "convolution_without_relu: transposed": [('strides=2, activation="relu"', "strides=2")],
    "convolution_activation: transposed": [('strides=2, activation="relu"', 'strides=2, activation="sigmoid"')],
    # skips
    "skip_missing": [(JOIN, "        if count != 8:\n    " + JOIN)],
    "skips_added": [("layers.Concatenate", "layers.Add")],
    "merged_otherwise": [("layers.Concatenate", "layers.Multiply")],
    "residual": [(DOWN, ONE + "        x = x + convolution(x, count)\n" + KEEP)],
    "joined_axis": [("Concatenate()", "Concatenate(axis=1)")],
    "joined_several": [("[skip, x]", "[skip, skip, x]")],
    "skip_wrong_level": [(LEVELS, "zip(reversed(filters[:-1]), skips)")],
    "skip_after_pooling": [(KEEP + f"        x = {POOL}\n", f"        x = {POOL}\n" + KEEP)],
    "skip_after_first_convolution": [(DOWN, ONE + KEEP + ONE)],
    "skip_before_activation": [(DOWN, ONE + LINEAR + KEEP + "        x = layers.ReLU()(x)\n")],
    "skip_from_input": [("reversed(skips))", "[*skips[:0:-1], inputs])")],
    "skip_processed": [("[skip, x]", "[convolution(skip, count), x]")],
    "skip_changed": [("[skip, x]", "[keras.ops.tanh(skip), x]")],
    # the output
    "head_transposed": [(HEAD, "layers.Conv2DTranspose(1, 1, activation='sigmoid')(x)")],
    "head_channels": [("Conv2D(1, 1, activation", "Conv2D(2, 1, activation")],
    "head_kernel": [("Conv2D(1, 1", 'Conv2D(1, 3, padding="same"')],
    "no_sigmoid": [(', activation="sigmoid"', "")],
    "softmax_over_one": [('"sigmoid"', '"softmax"')],
    "sigmoid_twice": [(HEAD, f'layers.Activation("sigmoid")({HEAD})')],
    "changed_before_sigmoid": [(HEAD, BEFORE_SIGMOID)],
    "changed_after_sigmoid": [(HEAD, f"255 * {HEAD}")],
    "head_activation": [('"sigmoid"', '"relu"')],
}

SECOND = {  # another way to the same mistake
    **{f"{name}: {i}": changes for i, (name, *changes) in enumerate(unet_mistakes.MISTAKES) if WRONG[name] != changes},
    "axes_swapped: while pooling": [("MaxPooling2D(2)", 'MaxPooling2D(2, data_format="channels_first")')],
    "layer_reused: blocks of layers": [
        (POOL, f"{POOL}\n    block = keras.Sequential([layers.Conv2D(8, 3, padding='same')])\n    x = block(block(x))")
    ],
    "build_raises: before any convolution": [("x = inputs", "x = layers.Conv1D(8, 3)(inputs)")],
    "build_raises: one thing is refused": [(POOL, "layers.MaxPooling1D(2)(x)")],
    "name_missing: of a layer": [(POOL, "layers.MaxPool(2)(x)")],
    "not_a_model: a tensor": [(RETURN, "return outputs")],
    "not_feature_maps: among them": [("[skip, x]", "[count, x]")],
    "number_of_poolings: two in a level": [(POOL, f"layers.MaxPooling2D(2)({POOL})")],
    "number_of_convolutions: three": [(LAST, ONE + LAST)],
    "number_of_convolutions: and the head is two": [(HEAD, HEAD.replace("(x)", "(layers.Conv2D(1, 1)(x))"))],
    "number_of_levels: one too few": [(str(FILTERS), "(8, 16, 32, 64)")],
    "number_of_levels: no way up": [(POOL, f"{POOL}\n        return keras.Model(inputs, x)")],
    "transposed_filters: as taken": [("Conv2DTranspose(count", "Conv2DTranspose(2 * count")],
    "number_of_levels: the bottleneck is pooled": [("filters[:-1]:", "filters:"), (BOTTLENECK, "")],
    "skip_after_pooling: and enlarged": [("[skip, x]", "[layers.UpSampling2D()(layers.MaxPooling2D()(skip)), x]")],
    "not_doubled: by a convolution": [("Conv2DTranspose(count, 2, strides=2", 'Conv2D(count, 2, padding="same"')],
    "batch_normalization: then dropout": [
        (CONVOLUTION, f"layers.Dropout(0.2)(layers.BatchNormalization()({CONVOLUTION}))")
    ],
    "average_pooling: then a ReLU": [(POOL, "layers.ReLU()(layers.AveragePooling2D(2)(x))")],
    "upsampling: then a ReLU": [(UP, "layers.ReLU()(layers.UpSampling2D()(x))")],
    "skips_added: then a ReLU": [(JOINED, "layers.ReLU()(layers.Add()([skip, x]))")],
    "number_of_convolutions: not kept": [(DOWN, ONE.replace("x = ", "") + ONE + KEEP)],
    "convolution_without_relu: the second": [
        (TWO, ONE + LINEAR),
        (BOTTLENECK, BOTTLENECK[:36] + LINEAR[4:].replace("count", "128")),
    ],
    "residual: around a level": [
        (DOWN, f"        before = x\n{TWO}        x = x + convolution(before, count)\n{KEEP}")
    ],
    "layer_not_called: the last": [(HEAD, 'layers.Conv2D(1, 1, activation="sigmoid")')],
    "none_handed_on: to a concatenation": [("def build_unet", RAISES), (UP, "raised(x, count)")],
    "gray_input: weighted": [("x = inputs", "x = keras.ops.image.rgb_to_grayscale(inputs)")],
    "random_layer: a dropout": [(BOTTLENECK, BOTTLENECK + "    x = layers.AlphaDropout(0.2)(x)\n")],
    "padding_valid: no skips": [('3, padding="same"', "3"), (JOIN, "")],
    "convolution_activation: no gradient": [(BOTTLENECK, BOTTLENECK + "    x = keras.ops.stop_gradient(x)\n")],
    "number_of_levels: returned at once": [
        ("    return keras.Model", "        return keras.Model"),
        ("    out", "        out"),
    ],
    "upsampling: then a convolution": [(UP, RESIZED)],
    "joined_several: all": [("[skip, x]", "[*skips, x]")],
    "skip_wrong_level: two exchanged": [(LEVELS, "zip(filters[-2::-1], [skips[3], skips[2], skips[0], skips[1]])")],
    "skip_wrong_level: the bottleneck": [(BOTTLENECK, BOTTLENECK + KEEP[4:])],
    "skip_wrong_level: resized": [(JOINED, "layers.Concatenate()([layers.Resizing(*x.shape[1:3])(skips[0]), x])")],
    "list_needed: where the layer is made": [(JOINED, "layers.Concatenate([skip, x])")],
    "head_transposed: doubled": [(HEAD, "layers.Conv2DTranspose(1, 2, strides=2, activation='sigmoid')(x)")],
    "strided_convolution: the last": [(HEAD, 'layers.Conv2D(1, 1, 2, activation="sigmoid")(x)')],
    "changed_after_sigmoid: cut": [(HEAD, f"keras.ops.cast({HEAD} > 0.5, 'float32')")],
    "head_activation: turned around": [(HEAD, "1 / (1 + keras.ops.exp(layers.Conv2D(1, 1)(x)))")],
    "merged_otherwise: subtracted": [(JOINED, "skip - x")],
    "joined_axis: the batch": [("Concatenate()", "Concatenate(axis=0)")],
    "joined_axis: of a function": [(JOINED, "keras.ops.concatenate([skip, x])")],
    "pooling_window: without steps": [("MaxPooling2D(2)", 'MaxPooling2D(2, strides=1, padding="same")')],
    "skip_changed: an attention": [(JOINED, f"layers.Concatenate()([skip * {HEAD}, x])")],
    "skip_missing: two of them": [(JOIN, "        if count not in (8, 16):\n    " + JOIN)],
}


class Unused(UNet):
    """Makes a layer more than it needs."""

    def call(self, image):
        self.forgotten = getattr(self, "forgotten", None) or layers.Dense(4)
        self.forgotten(image)
        return super().call(image)


class Refusing(UNet):
    def call(self, image):
        raise ValueError(f"{self.name} takes no picture")


class Wrapped(UNet):
    def call(self, image):
        return {"road": super().call(image)}


class Silent(UNet):
    def call(self, image):
        super().call(image)


class Careless(keras.Model):
    def call(self, image):
        return layers.Conv2D(1, 1, activation="sigmoid")(image)


class Forgetful(keras.Model):
    """Does not call `super().__init__()`."""

    def __init__(self):
        self.head = layers.Conv2D(1, 1)


OTHERS = {
    "not_a_function": "build_unet",
    "simple_model": models.simple_model,
    "package_model": models.unet,
    "padding_valid": lambda: UNet(padding="valid"),
    "unused_weights": Unused,
    "call_raises": Refusing,
    "call_raises: at once": Forgetful,
    "output_wrapped": Wrapped,
    "output_missing": Silent,
    "list_needed: a function": lambda: keras.ops.concatenate(keras.Input((8, 8, 3)), keras.Input((8, 8, 3))),
    "layer_made_in_call": Careless,
}


@pytest.mark.parametrize("changes", RIGHT.values(), ids=RIGHT)
def test_right_versions_pass(changes):
    function = written(*changes)
    found = network.unet(function)
    assert found.passed and found.cause is None and found.function is function, found


class Block(layers.Layer):
    """Two convolutions as a layer of one's own."""

    def __init__(self, count):
        super().__init__()
        self.parts = [layers.Conv2D(count, 3, padding="same", activation=tf.nn.relu) for _ in range(2)]

    def call(self, x):
        for part in self.parts:
            x = part(x)
        return x


def recursive(filters=FILTERS):
    """Each level calls the next."""

    def level(x, first, *deeper):
        kept = Block(first)(x)
        if not deeper:
            return kept
        up = layers.Conv2DTranspose(first, (2, 2), (2, 2))(level(layers.MaxPool2D((2, 2))(kept), *deeper))
        return Block(first)(layers.concatenate([layers.ReLU()(up), layers.Identity()(kept)]))

    inputs = keras.Input((256, 256, 3))
    return keras.Model(inputs, layers.Conv2D(1, (1, 1), activation=tf.nn.sigmoid)(level(inputs, *filters)))


@pytest.mark.parametrize(
    "function", [CompiledUNet, in_two_models, of_blocks_built_by_shape, recursive], ids=lambda made: made.__name__
)
def test_other_right_styles_pass(function):
    assert network.unet(function).function is function


@pytest.mark.parametrize("make", [UNet, lambda: keras.Sequential([written()()])])
def test_a_model_passes_as_well_and_stays_as_it_was(make):
    model = make()
    weights = [weight.copy() for weight in model.get_weights()]
    found = network.unet(model)
    assert found.passed and found.function is models.unet, found
    assert all(np.array_equal(before, after) for before, after in zip(weights, model.get_weights()))
    assert not any("call" in vars(layer) for layer in model.layers)


def test_a_policy_of_mixed_precision_is_set_aside():
    keras.mixed_precision.set_global_policy("mixed_float16")
    try:
        assert network.unet(written()).passed
    finally:
        keras.mixed_precision.set_global_policy("float32")


def test_arguments_need_defaults():
    def two(input_shape, filters):
        return written()(input_shape, filters)

    assert network.unet(two).cause == network.unet(partial(two, filters=FILTERS)).cause == "arguments_required"
    assert network.unet(partial(two, (256, 256, 3), filters=FILTERS)).passed


@cache
def told(name: str):
    """What the check says to a wrong version."""
    return network.unet(written(*(WRONG | SECOND)[name]))


@pytest.mark.parametrize("name", [*WRONG, *(pytest.param(name, marks=pytest.mark.long) for name in SECOND)])
def test_wrong_versions_are_told_their_mistake(name):
    found = told(name)
    assert found.cause == name.split(":")[0], found
    assert not found.passed and found.function is models.unet
    assert found.look and len(found.hints) >= 2 and "{" not in found.message.replace("{'size': 2}", "")


@pytest.mark.parametrize("cause", OTHERS)
def test_other_wrong_styles_are_told_their_mistake(cause):
    assert network.unet(OTHERS[cause]).cause == cause.split(":")[0]


def test_every_id_has_words_and_is_tried():
    tried = {name.split(":")[0] for name in (*WRONG, *OTHERS, NOT_WRITTEN)}
    assert tried == set(ADVICE) - {"reasons", "differences"}
    assert {reason["cause"] for reason in ADVICE["reasons"]} <= tried


def test_no_network_of_the_catalog_is_right():
    assert all(architecture.differences(rows) for _, rows in unet_mistakes.catalog())


def says_what_to_do():
    """Build the U-Net."""
    raise NotImplementedError("build it here")


@pytest.mark.parametrize("stub", [None, lambda: ..., says_what_to_do])
def test_an_untouched_task_is_not_written(stub):
    found = network.unet(stub)
    assert found.cause == NOT_WRITTEN and found.verdict == "not written yet" and found.hints


class Unspeakable(Exception):
    def __str__(self):
        raise ZeroDivisionError


def unspeakable():
    raise Unspeakable


@pytest.mark.parametrize(
    "odd",
    [
        *(3, [], np.zeros(3), keras.Input((8,)), layers.Conv2D(3, 3), keras.Model),
        *(dict, unspeakable, sys.exit, lambda: keras.Model, lambda: keras.Sequential()),
    ],
)
def test_odd_things_get_a_result(odd):
    found = network.unet(odd)
    assert not found.passed and found.cause in ADVICE and found.message


def test_a_slip_costs_its_own_aspect_alone():
    lost = {
        "filters": "filters",
        "convolution_without_relu": "activations",
        "no_skips": "skips",
        "no_sigmoid": "head",
        "average_pooling": "levels",
    }
    for name, aspect in lost.items():
        found = told(name)
        assert {part.name for part in found.aspects if not part.right} == {aspect}
        points = round(14 * sum(part.share for part in found.aspects if part.right), 2)
        assert checks.points("build_unet", written(*WRONG[name]), 14, seed=7) == points
    assert sum(part.share for part in told("filters").aspects) == pytest.approx(1)


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("no_skips", "436,857 trainable parameters, too few"),
        ("head_channels", r"shape \(None, 256, 256, 2\), not \(None, 256, 256, 1\)"),
        ("skip_missing", "missing at 256 x 256 in the decoder"),
        ("skip_wrong_level", "at 32 x 32 in the decoder was 256 x 256"),
        ("number_of_convolutions", "everywhere in the encoder: one instead of two"),
        ("convolution_kernel", "5 x 5 everywhere; they should be 3 x 3"),
        ("convolution_activation", "gelu everywhere"),
        ("filters", "at 64 x 64 in the encoder and at 64 x 64 in the decoder, such as 23 instead of 32"),
        ("number_of_poolings", "halved three times"),
        ("number_of_convolutions: not kept", "four `Conv2D`"),
        ("convolution_without_relu: the second", "second convolution is missing at every level"),
    ],
)
def test_messages_say_what_and_where(name, words):
    assert re.search(words, told(name).message), told(name).message


def test_the_line_that_stopped_is_shown_where_the_mistake_is_not_further_up():
    def build_unet(stops=True):
        inputs = layers.Input((256, 256, 3))
        if stops:
            return keras.Model(inputs, layers.Conv2D(8, kernel=3)(inputs))
        features = layers.Conv2D(8, 3, activation="relu")(inputs)
        return keras.Model(inputs, layers.Concatenate()([inputs, features]))

    found = network.unet(build_unet)
    assert found.cause == "build_raises" and "layers.Conv2D(8, kernel=3)(inputs)" in found.look
    found = network.unet(lambda: build_unet(stops=False))
    assert found.cause == "padding_valid" and "Concatenate" not in found.look


def test_the_check_leaves_everything_as_it_was(capfd):
    flags = (keras.config.is_traceback_filtering_enabled, tf.debugging.is_traceback_filtering_enabled)
    random.seed(7)
    before = random.getstate(), [flag() for flag in flags], tf.config.functions_run_eagerly()
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        one, two = (network.unet(written(*WRONG["skip_wrong_level"])) for _ in range(2))
    assert (random.getstate(), [flag() for flag in flags], tf.config.functions_run_eagerly()) == before
    assert capfd.readouterr() == ("", "") and not caught and repr(one) == repr(two)
