"""The two networks of the assignment, made of Keras layers alone.

Both take images float32 (batch, H, W, 3) in [0, 1] and give probabilities float32 (batch, H, W, classes) in [0, 1]:
one sigmoid channel for road against background, a softmax over `classes` channels otherwise (question 10). The
output layer computes in float32, whatever the others do.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from functools import partial
from itertools import product
from pathlib import Path

from roadseg.backend import keras
from roadseg.errors import DataError, OptionError
from roadseg.storage import read_arrays

layers = keras.layers

# Mean and standard deviation of KITTI road images in [0, 1], by channel (measured on 240 of them).
IMAGE_MEAN = (0.35, 0.38, 0.37)
IMAGE_DEVIATION = (0.27, 0.30, 0.31)

WEIGHTS = Path(__file__).with_name("weights")  # NAME.npz, and NAME.json: how they were made and what they reach


def simple_model(
    input_shape: tuple[int, int, int] = (256, 256, 3),
    *,
    filters: Sequence[int] = (32, 64),
    classes: int = 1,
    initializer: str = "glorot_uniform",
    standardize: bool = False,
) -> keras.Model:
    """The simple model: two strided convolutions, a score for each 4 x 4 block, bilinear upsampling (tasks 1 to 3).

    53,761 trainable parameters.

    Parameters
    ----------
    input_shape : (height, width, channels) of one image; height and width divisible by 4.
    filters : filters of the strided 5 x 5 convolutions.
    classes : 1 gives one sigmoid channel, more give a softmax.
    initializer : Keras's name of the initialization of all kernels.
    standardize : shift and scale the input to about zero mean and unit variance first (no parameters).

    Raises
    ------
    OptionError : sizes that the strides do not divide, or a count below 1.
    """
    inputs = _inputs(input_shape, 2 ** len(filters), filters, classes)
    x = _standardized(inputs) if standardize else inputs
    for level, count in enumerate(filters, start=1):
        x = layers.Conv2D(
            count, 5, 2, padding="same", activation="relu", kernel_initializer=initializer, name=f"down{level}_conv"
        )(x)
    x = layers.Conv2D(classes, 1, kernel_initializer=initializer, name="score")(x)
    x = layers.UpSampling2D(2 ** len(filters), interpolation="bilinear", name="upsample")(x)
    activation = "sigmoid" if classes == 1 else "softmax"
    outputs = layers.Activation(activation, dtype="float32", name="probability")(x)
    return keras.Model(inputs, outputs, name="simple_model")


def unet(
    input_shape: tuple[int, int, int] = (256, 256, 3),
    *,
    filters: Sequence[int] = (8, 16, 32, 64, 128),
    classes: int = 1,
    skip_connections: bool = True,
    initializer: str = "glorot_uniform",
    standardize: bool = False,
    weights: str | None = None,
) -> keras.Model:
    """The U-Net with an eighth of the published filters (tasks 4 and 5).

    485,817 trainable parameters; 529,457 without skip connections.

    Source: Ronneberger, Fischer, Brox, "U-Net: Convolutional Networks for Biomedical Image Segmentation", 2015,
    arXiv 1505.04597; here with padded convolutions, so that the output has the input's size.

    Parameters
    ----------
    input_shape : (height, width, channels) of one image; height and width divisible by 16 (with five levels).
    filters : filters at each level, from full resolution down; the last is the bottleneck.
    classes : 1 gives one sigmoid channel, more give a softmax.
    skip_connections : concatenate each decoder level with the encoder's features of that level. Without them the
        transposed convolutions keep their channel count, so that the next convolution has as many inputs as with them.
    initializer : Keras's name of the initialization of all kernels.
    standardize : shift and scale the input to about zero mean and unit variance first (no parameters).
    weights : None draws them; "scenes" loads those that ship, trained on rendered scenes alone for a standardized
        input (which it implies).

    Raises
    ------
    OptionError : sizes that the pooling does not divide, a count below 1, or weights that are unknown or do not fit.
    DataError : the file of the weights is missing or damaged.
    """
    inputs = _inputs(input_shape, 2 ** (len(filters) - 1), filters, classes)
    x = _standardized(inputs) if standardize or weights else inputs
    skips = []
    for level, count in enumerate(filters[:-1], start=1):
        x = double_convolution(x, count, initializer=initializer, name=f"encoder{level}")
        skips.append(x)
        x = layers.MaxPooling2D(2, name=f"encoder{level}_pool")(x)
    x = double_convolution(x, filters[-1], initializer=initializer, name="bottleneck")
    for level, count in reversed(list(enumerate(filters[:-1], start=1))):
        x = layers.Conv2DTranspose(
            count if skip_connections else x.shape[-1],
            2,
            2,
            activation="relu",
            kernel_initializer=initializer,
            name=f"decoder{level}_up",
        )(x)
        if skip_connections:
            x = layers.Concatenate(name=f"decoder{level}_skip")([skips[level - 1], x])
        x = double_convolution(x, count, initializer=initializer, name=f"decoder{level}")
    activation = "sigmoid" if classes == 1 else "softmax"
    outputs = layers.Conv2D(
        classes, 1, activation=activation, kernel_initializer=initializer, dtype="float32", name="probability"
    )(x)
    model = keras.Model(inputs, outputs, name="unet" if skip_connections else "unet_no_skip")
    if weights is not None:
        start_from(model, weights)
    return model


def read_card(name: str) -> dict:
    """How the weights that ship under this name were made, what they reach, and their digest.

    Raises OptionError for an unknown name."""
    names = sorted(path.stem for path in WEIGHTS.glob("*.json"))
    if name not in names:
        raise OptionError(f"no weights are called {name!r}: choose {' or '.join(map(repr, names))}.")
    return json.loads((WEIGHTS / f"{name}.json").read_text("utf-8"))


def start_from(model: keras.Model, name: str) -> None:
    """Give a network the weights that ship under this name; errors as in `unet`."""
    card, path = read_card(name), WEIGHTS / f"{name}.npz"
    try:
        if hashlib.sha256(path.read_bytes()).hexdigest() != card["sha256"]:
            raise ValueError("it has another digest")
        kept = read_arrays(path)
    except (OSError, ValueError) as error:
        raise DataError(f"{path} is missing or damaged: install the package again.") from error
    if {name: array.shape for name, array in kept.items()} != {each.path: tuple(each.shape) for each in model.weights}:
        raise OptionError(f"the weights {name!r} are those of unet() as it is, with {card['parameters']:,} parameters.")
    if "standardize" not in [layer.name for layer in model.layers]:
        raise OptionError(f"the weights {name!r} need standardize=True.")
    model.set_weights([kept[each.path] for each in model.weights])


def double_convolution(x, filters: int, *, initializer: str, name: str):
    """Two padded 3 x 3 convolutions with ReLU: (batch, H, W, any) to (batch, H, W, filters)."""
    for number in (1, 2):
        x = layers.Conv2D(
            filters, 3, padding="same", activation="relu", kernel_initializer=initializer, name=f"{name}_conv{number}"
        )(x)
    return x


def build(name: str, *, size: tuple[int, int] = (256, 256), **options) -> keras.Model:
    """The model that a name means, simple, unet or unet-no-skip, for images of `size` (height, width).

    Raises OptionError for another name, and where the size does not fit."""
    builders = {"simple": simple_model, "unet": unet, "unet-no-skip": partial(unet, skip_connections=False)}
    if name not in builders:
        raise OptionError(f"no model is called {name!r}: choose one of {', '.join(builders)}.")
    return builders[name]((*size, 3), **options)


def with_input_size(model: keras.Model, size: tuple[int, int]) -> keras.Model:
    """The same layers and weights for images of another `size` (height, width): what one learns, both know.

    The size has to be one that `build` takes for this network."""
    image = layers.Input((*size, model.input_shape[-1]), name="image")
    return keras.models.clone_model(model, input_tensors=image, clone_function=lambda layer: layer)


def with_test_time_augmentation(model: keras.Model, sizes: Sequence[float] = (1.0, 0.75, 0.5)) -> keras.Model:
    """A network that averages what `model` predicts for an image and its mirror image, at several sizes.

    sizes : fractions of the height and width, both rounded to multiples of 16 pixels. Time grows with the pixels: these
    six predictions take four to five times as long as one.
    """
    height, width, _ = model.input_shape[1:]
    image, any_size = layers.Input(model.input_shape[1:], name="image"), with_input_size(model, (None, None))
    found = []
    for fraction, mirrored in product(sizes, (False, True)):
        size = [max(16, 16 * round(fraction * side / 16)) for side in (height, width)]
        seen = layers.Resizing(*size, antialias=True)(image)
        probability = layers.Resizing(height, width)(any_size(seen[:, :, ::-1] if mirrored else seen))
        found.append(probability[:, :, ::-1] if mirrored else probability)
    return keras.Model(image, layers.Average()(found))


def _inputs(input_shape, divisor: int, filters: Sequence[int], classes: int) -> keras.KerasTensor:
    height, width, _ = input_shape
    if any(not side or side < 1 or side % divisor for side in (height, width)):
        fits = " x ".join(str(max(1, round((side or 0) / divisor)) * divisor) for side in (height, width))
        raise OptionError(
            f"the input is {height} x {width}, but halving it {divisor.bit_length() - 1} times needs a height "
            f"and a width divisible by {divisor}: {fits} would do."
        )
    if classes < 1 or not filters or min(filters) < 1:
        raise OptionError(f"classes and filters must be at least 1; found {classes} classes, filters {tuple(filters)}.")
    return layers.Input(input_shape, name="image")


def _standardized(inputs):
    scale = [1 / deviation for deviation in IMAGE_DEVIATION]
    offset = [-mean / deviation for mean, deviation in zip(IMAGE_MEAN, IMAGE_DEVIATION)]
    return layers.Rescaling(scale, offset, name="standardize")(inputs)
