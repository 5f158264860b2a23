"""The architectures as a specification: shapes, exact counts, wiring, names, ranges, saving and loading."""

from itertools import pairwise

import numpy as np
import pytest

from roadseg import models
from roadseg.backend import keras, tf
from roadseg.errors import OptionError

SIMPLE, UNET = (32, 64), (8, 16, 32, 64, 128)
TINY = (2, 3, 4, 5, 6)  # filters of a network of five levels that runs at once
NAMES = ("simple", "unet", "unet-no-skip")


def tiny(name: str, *, size=(32, 48), **options) -> keras.Model:
    filters = (2, 3) if name == "simple" else TINY
    return models.build(name, size=size, filters=filters, **options)


def pictures(count=2, size=(32, 48)) -> np.ndarray:
    return np.random.default_rng(0).random((count, *size, 3), np.float32)


# --- counts ----------------------------------------------------------------------------------------------------------


def convolution(side: int, inputs: int, outputs: int) -> int:
    """Weights and biases of a convolution, transposed or not."""
    return side * side * inputs * outputs + outputs


def simple_count(filters, *, channels=3, classes=1) -> int:
    widths = [channels, *filters]
    return sum(convolution(5, a, b) for a, b in pairwise(widths)) + convolution(1, filters[-1], classes)


def unet_count(filters, *, skip_connections=True, channels=3, classes=1) -> int:
    """Two 3 x 3 convolutions a level, down and up; a 2 x 2 transposed convolution a step up; a 1 x 1 convolution."""
    widths = [channels, *filters]
    down = sum(convolution(3, a, b) + convolution(3, b, b) for a, b in pairwise(widths))
    up = 0
    for below, here in zip(filters[:0:-1], filters[-2::-1]):
        raised = here if skip_connections else below
        seen = raised + (here if skip_connections else 0)
        up += convolution(2, below, raised) + convolution(3, seen, here) + convolution(3, here, here)
    return down + up + convolution(1, filters[0], classes)


@pytest.mark.parametrize(
    ("build", "by_formula", "count"),
    [
        (models.simple_model, simple_count(SIMPLE), 53_761),
        (models.unet, unet_count(UNET), 485_817),
        (lambda: models.unet(skip_connections=False), unet_count(UNET, skip_connections=False), 529_457),
    ],
    ids=NAMES,
)
def test_parameters_of_the_assignment(build, by_formula, count):
    model = build()
    assert model.count_params() == by_formula == count
    assert sum(int(np.prod(weight.shape)) for weight in model.trainable_weights) == count  # all of them learn
    assert model.input_shape == (None, 256, 256, 3) and model.output_shape == (None, 256, 256, 1)


@pytest.mark.parametrize("filters", [(2,), (3, 5), (4, 2, 7)])
@pytest.mark.parametrize(("channels", "classes"), [(3, 1), (1, 4)])
def test_parameters_of_other_filters(filters, channels, classes):
    options = {"filters": filters, "classes": classes}
    counts = {"channels": channels, "classes": classes}
    shape = (16, 24, channels)
    assert models.simple_model(shape, **options).count_params() == simple_count(filters, **counts)
    for skip in (True, False) if len(filters) > 1 else (True,):
        model = models.unet(shape, skip_connections=skip, **options)
        assert model.count_params() == unet_count(filters, skip_connections=skip, **counts)


@pytest.mark.parametrize("name", NAMES)
def test_build_means_the_builders(name):
    model = models.build(name, size=(64, 32))
    assert model.count_params() == dict(zip(NAMES, (53_761, 485_817, 529_457)))[name]  # of any size
    assert model.input_shape == (None, 64, 32, 3)
    assert model.name == {"simple": "simple_model", "unet": "unet", "unet-no-skip": "unet_no_skip"}[name]


# --- outputs ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", NAMES)
def test_probabilities_of_the_size_of_the_pictures(name):
    model = tiny(name)
    for count in (1, 3):
        probability = model(pictures(count)).numpy()
        assert probability.shape == (count, 32, 48, 1) and probability.dtype == np.float32
        assert 0 < probability.min() < probability.max() < 1
    assert model.layers[-1].activation is keras.activations.sigmoid


@pytest.mark.parametrize("name", NAMES)
def test_four_classes_share_one(name):
    model = tiny(name, classes=4)
    probability = model(pictures()).numpy()
    assert probability.shape == (2, 32, 48, 4) and probability.min() > 0
    np.testing.assert_allclose(probability.sum(-1), 1, rtol=1e-5)
    assert model.layers[-1].activation is keras.activations.softmax


@pytest.mark.parametrize("name", NAMES)
def test_training_and_test_mode_give_the_same(name):
    """Question 9: right as long as there is neither dropout nor batch normalisation."""
    model = tiny(name)
    np.testing.assert_array_equal(model(pictures(), training=True), model(pictures(), training=False))
    kinds = {type(layer).__name__ for layer in model.layers}
    assert not any("Dropout" in kind or "Normalization" in kind for kind in kinds) and "Conv2D" in kinds


@pytest.mark.parametrize("name", NAMES)
def test_every_weight_reaches_the_output(name):
    keras.utils.set_random_seed(0)
    model = tiny(name)
    with tf.GradientTape() as tape:
        loss = tf.reduce_mean(model(pictures(4)) ** 2)
    gradients = tape.gradient(loss, model.trainable_variables)
    assert all(gradient is not None for gradient in gradients)
    assert all(np.isfinite(gradient).all() for gradient in gradients)


# --- wiring ----------------------------------------------------------------------------------------------------------


def incoming(model: keras.Model, name: str) -> list[str]:
    """Names of the layers whose outputs a layer takes."""
    (node,) = model.get_layer(name)._inbound_nodes
    return [tensor._keras_history.operation.name for tensor in node.input_tensors]


@pytest.mark.parametrize("standardize", [False, True])
def test_skips_join_each_level_with_itself(standardize):
    model = tiny("unet", standardize=standardize)
    for level, filters in enumerate(TINY[:-1], start=1):
        assert incoming(model, f"decoder{level}_skip") == [f"encoder{level}_conv2", f"decoder{level}_up"]
        assert incoming(model, f"decoder{level}_conv1") == [f"decoder{level}_skip"]
        size = (32 >> level - 1, 48 >> level - 1)
        assert model.get_layer(f"decoder{level}_skip").output.shape == (None, *size, 2 * filters)
    assert not [layer.name for layer in tiny("unet-no-skip").layers if isinstance(layer, keras.layers.Concatenate)]


def test_without_skips_the_convolutions_behind_see_as_many_inputs():
    plain, skipping = tiny("unet-no-skip", size=(16, 16)), tiny("unet", size=(16, 16))
    filters = dict(enumerate(TINY, start=1))
    for level in range(1, 5):
        assert plain.get_layer(f"decoder{level}_up").filters == filters[level + 1]
        assert skipping.get_layer(f"decoder{level}_up").filters == filters[level]
        assert incoming(plain, f"decoder{level}_conv1") == [f"decoder{level}_up"]


@pytest.mark.parametrize(("name", "reaches"), [("unet", True), ("unet-no-skip", False)])
def test_details_reach_the_output_over_skips_alone(name, reaches):
    """With the bottom silenced, a network with skips still sees its input and one without sees nothing."""
    model = tiny(name)
    for part in ("kernel", "bias"):
        weight = getattr(model.get_layer("decoder4_up"), part)
        weight.assign(tf.zeros_like(weight))
    probability = model(pictures()).numpy()
    assert (np.ptp(probability[:, 8:-8, 8:-8]) > 1e-6) == reaches


@pytest.mark.parametrize("skip", [True, False])
def test_layers_of_the_unet_are_named_by_level(skip):
    model = tiny("unet" if skip else "unet-no-skip")
    encoder = [f"encoder{n}_{part}" for n in range(1, 5) for part in ("conv1", "conv2", "pool")]
    parts = ("up", "skip", "conv1", "conv2") if skip else ("up", "conv1", "conv2")
    decoder = [f"decoder{n}_{part}" for n in range(4, 0, -1) for part in parts]
    names = ["image", *encoder, "bottom_conv1", "bottom_conv2", *decoder, "probability"]
    assert [layer.name for layer in model.layers] == names


def test_the_unet_is_made_as_the_assignment_says():
    model = models.unet()
    for layer in model.layers:
        if isinstance(layer, keras.layers.Conv2DTranspose):
            assert (layer.kernel_size, layer.strides, layer.activation.__name__) == ((2, 2), (2, 2), "relu")
        elif isinstance(layer, keras.layers.Conv2D) and layer.name != "probability":
            assert (layer.kernel_size, layer.strides, layer.padding) == ((3, 3), (1, 1), "same")
            assert layer.activation.__name__ == "relu"
        elif isinstance(layer, keras.layers.MaxPooling2D):
            assert (layer.pool_size, layer.strides) == ((2, 2), (2, 2))
    assert model.get_layer("probability").kernel_size == (1, 1)
    filters = [model.get_layer(f"encoder{level}_conv2").filters for level in range(1, 5)]
    assert (*filters, model.get_layer("bottom_conv2").filters) == UNET


def test_the_simple_model_decides_for_blocks_of_four_by_four():
    model = tiny("simple")
    assert [layer.name for layer in model.layers] == [
        *("image", "down1_conv", "down2_conv", "score", "enlarge", "probability")
    ]
    score = model.get_layer("score")
    assert score.output.shape == (None, 8, 12, 1)
    blocks = keras.Model(model.input, score.output)(pictures()).numpy()
    enlarged = np.stack([enlarged_by_hand(block[..., 0], 4) for block in blocks])
    np.testing.assert_allclose(model(pictures())[..., 0], 1 / (1 + np.exp(-enlarged)), atol=1e-6)


@pytest.mark.parametrize("name", NAMES)
def test_a_network_for_another_size_has_the_same_weights(name):
    large = models.build(name, size=(64, 96), initializer="he_normal", standardize=True)
    small = models.resized(large, (32, 48))
    assert small.output_shape == (None, 32, 48, 1) and large.output_shape == (None, 64, 96, 1)
    assert all(one is other for one, other in zip(small.weights, large.weights, strict=True))
    plain = models.build(name, size=(32, 48), initializer="he_normal", standardize=True)
    plain.set_weights(large.get_weights())
    image = np.random.default_rng(0).random((2, 32, 48, 3), np.float32)
    np.testing.assert_array_equal(small(image), plain(image))


def enlarged_by_hand(grid: np.ndarray, times: int) -> np.ndarray:
    """Linear interpolation between the centres of the blocks, along rows and then columns; constant beyond."""
    for _ in range(2):
        centres = (np.arange(len(grid)) + 0.5) * times - 0.5
        grid = np.stack([np.interp(np.arange(len(grid) * times), centres, line) for line in grid.T])
    return grid


@pytest.mark.parametrize("name", NAMES)
def test_models_are_made_of_keras_layers_alone(name):
    for layer in models.build(name, size=(32, 32), standardize=True).layers:
        assert type(layer).__module__.startswith("keras."), layer.name


# --- options ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", NAMES)
def test_standardizing_has_no_parameters_and_shifts_and_scales(name):
    plain, standardized = tiny(name), tiny(name, standardize=True)
    assert standardized.count_params() == plain.count_params()
    images = pictures()
    expected = (images - np.float32(models.PICTURE_MEAN)) / np.float32(models.PICTURE_SPREAD)
    np.testing.assert_allclose(standardized.get_layer("standardize")(images), expected, rtol=1e-4, atol=1e-6)
    standardized.set_weights(plain.get_weights())
    np.testing.assert_allclose(standardized(images), plain(expected), atol=1e-6)


def test_real_pictures_are_standardized(kitti_folder):
    from roadseg import data

    images = data.load(kitti_folder / "half", size=(32, 32), cache=False).images / 255
    shifted = tiny("simple", size=(32, 32), standardize=True).get_layer("standardize")(images.astype(np.float32))
    assert np.abs(np.mean(shifted, (0, 1, 2))).max() < 0.15
    assert np.abs(np.std(shifted, (0, 1, 2)) - 1).max() < 0.15


@pytest.mark.parametrize("name", NAMES)
def test_the_initializer_is_that_of_every_kernel(name):
    for initializer in ("he_normal", "glorot_uniform"):
        model = tiny(name, initializer=initializer)
        found = {
            keras.initializers.serialize(layer.kernel_initializer)["class_name"]
            for layer in model.layers
            if hasattr(layer, "kernel_initializer")
        }
        assert found == {{"he_normal": "HeNormal", "glorot_uniform": "GlorotUniform"}[initializer]}


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (
            lambda: models.unet((250, 256, 3)),
            "the input is 250 x 256, but halving it 4 times .* divisible by 16: 256 x 256 would do",
        ),
        (lambda: models.unet((375, 1242, 3)), "the input is 375 x 1242, .* divisible by 16: 368 x 1248 would do"),
        (lambda: models.unet((5, 16, 3)), "the input is 5 x 16, .* 16 x 16 would do"),
        (lambda: models.unet((0, 16, 3)), "the input is 0 x 16, .* 16 x 16 would do"),
        (lambda: models.unet((12, 20, 3), filters=(2, 2, 2, 2)), "halving it 3 times .* 8: (8|16) x (16|24) would do"),
        (lambda: models.simple_model((30, 32, 3)), "halving it 2 times .* divisible by 4: (28|32) x 32 would do"),
        (lambda: models.build("unet-no-skip", size=(32, 40)), "the input is 32 x 40, .* 32 x (32|48) would do"),
        (lambda: models.unet(classes=0), "classes and filters must be at least 1; found 0 classes"),
        (lambda: models.simple_model(filters=(8, 0)), r"classes and filters must be .* filters \(8, 0\)"),
        (lambda: models.simple_model(filters=()), r"classes and filters must be .* filters \(\)"),
        (lambda: models.unet(filters=()), r"classes and filters must be .* filters \(\)"),
        (lambda: models.build("resnet"), "no model is called 'resnet': choose one of simple, unet, unet-no-skip"),
    ],
)
def test_options_out_of_range(build, message):
    with pytest.raises(OptionError, match=message) as error:
        build()
    assert "\n" not in str(error.value)


# --- saving ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", NAMES)
def test_weights_come_back_from_a_file(name, tmp_path):
    one, two = tiny(name), tiny(name)
    assert not np.array_equal(one(pictures()), two(pictures()))
    one.save_weights(tmp_path / "model.weights.h5")
    two.load_weights(tmp_path / "model.weights.h5")
    np.testing.assert_array_equal(one(pictures()), two(pictures()))


@pytest.mark.parametrize("name", NAMES)
def test_whole_models_come_back_without_the_package(name, tmp_path):
    """Task 7 hands in a saved model: Keras alone reads it back."""
    model = tiny(name, standardize=True)
    model.save(tmp_path / "model.keras")
    np.testing.assert_array_equal(keras.models.load_model(tmp_path / "model.keras")(pictures()), model(pictures()))
