"""The architectures as a specification: shapes, exact counts, layers, connections, options, saving and loading."""

import numpy as np
import pytest

from roadseg import models
from roadseg.backend import keras
from roadseg.errors import OptionError

PARAMETERS = {"simple": 53_761, "unet": 485_817, "unet-no-skip": 529_457}
NAMES = pytest.mark.parametrize("name", PARAMETERS)
FILTERS = (2, 3, 4)  # of a U-Net with three levels that runs at once


def tiny(name: str, *, size=(32, 48), **options) -> keras.Model:
    return models.build(name, size=size, filters=(2, 3) if name == "simple" else FILTERS, **options)


@pytest.fixture
def images() -> np.ndarray:
    return np.random.default_rng(0).random((2, 32, 48, 3), np.float32)


# --- specification ---------------------------------------------------------------------------------------------------


@NAMES
def test_parameters_and_shapes(name, images):
    model = models.build(name)
    probability, shared = (tiny(name, classes=classes)(images).numpy() for classes in (1, 4))
    assert probability.shape == (2, 32, 48, 1) and 0 < probability.min() < probability.max() < 1
    np.testing.assert_allclose(shared.sum(-1), 1, rtol=1e-5)
    assert model.count_params() == PARAMETERS[name]
    assert sum(int(np.prod(weight.shape)) for weight in model.trainable_weights) == PARAMETERS[name]
    assert model.input_shape == (None, 256, 256, 3) and model.output_shape == (None, 256, 256, 1)


@pytest.mark.parametrize("skip", [True, False])
def test_layers_of_the_unet(skip):
    model = models.unet(skip_connections=skip)
    encoder = [f"encoder{n}_{part}" for n in range(1, 5) for part in ("conv1", "conv2", "pool")]
    parts = ("up", "skip", "conv1", "conv2") if skip else ("up", "conv1", "conv2")
    decoder = [f"decoder{n}_{part}" for n in range(4, 0, -1) for part in parts]
    names = ["image", *encoder, "bottleneck_conv1", "bottleneck_conv2", *decoder, "probability"]
    assert [layer.name for layer in model.layers] == names
    kinds = {"_up": ((2, 2), (2, 2), "valid"), "conv1": ((3, 3), (1, 1), "same"), "conv2": ((3, 3), (1, 1), "same")}
    for layer in model.layers:
        for ending, kind in kinds.items():
            if layer.name.endswith(ending):
                assert (layer.kernel_size, layer.strides, layer.padding) == kind
                assert layer.activation.__name__ == "relu"
    last = [f"encoder{level}_conv2" for level in range(1, 5)]
    assert [model.get_layer(name).filters for name in (*last, "bottleneck_conv2")] == [8, 16, 32, 64, 128]
    inputs = [model.get_layer(f"decoder{level}_conv1").kernel.shape[2] for level in range(1, 5)]
    assert inputs == [16, 32, 64, 128]  # as many without skip connections as with them


def test_skip_connections_concatenate_each_level_with_itself(images):
    model = tiny("unet", standardize=True)
    for level in (1, 2):
        names = (f"decoder{level}_skip", f"encoder{level}_conv2", f"decoder{level}_up")
        outputs = keras.Model(model.input, [model.get_layer(name).output for name in names])
        concatenated, *parts = (maps.numpy() for maps in outputs(images))
        np.testing.assert_array_equal(concatenated, np.concatenate(parts, axis=-1))


def test_the_simple_model_scores_blocks_of_four_by_four():
    model = models.simple_model((32, 48, 3))
    assert [layer.name for layer in model.layers] == [
        *("image", "down1_conv", "down2_conv", "score", "upsample", "probability")
    ]
    for name, filters in (("down1_conv", 32), ("down2_conv", 64)):
        layer = model.get_layer(name)
        assert (layer.filters, layer.kernel_size, layer.strides) == (filters, (5, 5), (2, 2))
        assert (layer.padding, layer.activation.__name__) == ("same", "relu")
    assert model.get_layer("score").output.shape == (None, 8, 12, 1)
    upsample = model.get_layer("upsample")
    assert (upsample.size, upsample.interpolation) == ((4, 4), "bilinear")


# --- options ---------------------------------------------------------------------------------------------------------


def test_standardize_shifts_and_scales_without_parameters(images):
    plain, standardized = tiny("unet"), tiny("unet", standardize=True)
    standardized.set_weights(plain.get_weights())
    shifted = (images - np.float32(models.IMAGE_MEAN)) / np.float32(models.IMAGE_DEVIATION)
    np.testing.assert_allclose(standardized(images), plain(shifted), atol=1e-5)


def test_the_initializer_is_that_of_every_kernel():
    layers = [layer for layer in tiny("unet", initializer="he_normal").layers if hasattr(layer, "kernel_initializer")]
    assert layers and {type(layer.kernel_initializer).__name__ for layer in layers} == {"HeNormal"}


def test_test_time_augmentation_averages_mirror_images_and_sizes(images):
    model = tiny("unet", classes=3)

    def at(size, mirrored):
        step = -1 if mirrored else 1
        small = keras.layers.Resizing(*size, antialias=True)(images[:, :, ::step])
        values = models.with_input_size(model, size)(small)
        return keras.layers.Resizing(32, 48)(values)[:, :, ::step]

    sizes = {1.0: (32, 48), 2 / 3: (16, 32)}  # multiples of 16
    expected = np.mean([at(size, mirrored) for size in sizes.values() for mirrored in (False, True)], axis=0)
    found = models.with_test_time_augmentation(model, tuple(sizes))(images)
    np.testing.assert_allclose(found, expected, atol=1e-5)


def test_with_input_size_shares_the_weights():
    large = models.build("unet", size=(64, 96), standardize=True)
    small = models.with_input_size(large, (32, 48))
    assert small.output_shape == (None, 32, 48, 1) and large.output_shape == (None, 64, 96, 1)
    assert all(one is other for one, other in zip(small.weights, large.weights, strict=True))


@pytest.mark.parametrize(
    ("build", "found"),
    [
        (lambda: models.unet((375, 1242, 3)), "375 x 1242.* 16: 368 x 1248"),
        (lambda: models.unet((0, 16, 3)), "0 x 16.* 16: 16 x 16"),
        (lambda: models.unet((None, 32, 3)), "None x 32.* 16: 16 x 32"),
        (lambda: models.simple_model((29, 32, 3)), "29 x 32.* 4: 28 x 32"),
        (lambda: models.unet(classes=0), "0 classes"),
        (lambda: models.simple_model(filters=(8, 0)), r"\(8, 0\)"),
        (lambda: models.unet(filters=()), r"\(\)"),
        (lambda: models.build("resnet"), "'resnet'.* simple, unet, unet-no-skip"),
    ],
)
def test_options_out_of_range(build, found):
    with pytest.raises(OptionError, match=found):
        build()


# --- saving ----------------------------------------------------------------------------------------------------------


def test_weights_and_whole_models_come_back_from_files(images, tmp_path):
    """Keras alone reads a saved model, without this package."""
    model, other = (tiny("unet", standardize=True) for _ in range(2))
    model.save_weights(tmp_path / "model.weights.h5")
    other.load_weights(tmp_path / "model.weights.h5")
    model.save(tmp_path / "model.keras")
    for found in (other, keras.models.load_model(tmp_path / "model.keras")):
        np.testing.assert_array_equal(found(images), model(images))
