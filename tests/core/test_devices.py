"""Several devices learn what one learns; mixed precision where it helps, and one line where it does not."""

import subprocess
import sys
import textwrap
from pathlib import Path

import numpy as np
import pytest

from roadseg import data, devices, losses, recipes, training
from roadseg.backend import keras, tf
from roadseg.errors import OptionError


def quiet(text):
    """Swallow what a training says."""


MIRRORED = """
    import json, sys
    import numpy as np
    from roadseg.backend import keras, tf
    cpu = tf.config.list_physical_devices("CPU")[0]
    tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)
    from roadseg import data, recipes, training

    class Stop(Exception):
        pass

    def stop(progress):
        if progress.epoch == 3:
            raise Stop

    folder, out = sys.argv[1:]
    roads = data.load(folder, size=(32, 32), cache=False)
    for model, base, dice in (("simple", "reported", 0.0), ("unet", "fast", 1.0)):
        # of 4, 4 and 1 pictures: the last fewer than devices
        recipe = recipes.changed(base, name="own", epochs=17, dice=dice)
        one = training.train(model, recipe, roads, out=f"{out}/one")
        try:
            training.train(model, recipe, roads, out=f"{out}/two", strategy="mirrored", watch=stop)
        except Stop:
            pass
        two = training.train(model, recipe, roads, out=f"{out}/two", strategy="mirrored")
        assert (two.how, one.settings["devices"], two.settings["devices"]) == ("resumed", 1, 2)
        assert len(two.steps["loss"]) == 51
        for name in ("loss", "accuracy"):
            np.testing.assert_allclose(two.steps[name], one.steps[name], atol=1e-4, err_msg=name)
        for name in ("loss", "accuracy", "val_loss", "val_accuracy", "learning_rate"):
            np.testing.assert_allclose(two.curves[name], one.curves[name], atol=1e-4, err_msg=name)
        assert np.abs(two.prediction().astype(int) - one.prediction()).max() <= 1
        for a, b in zip(two.model().get_weights(), one.model().get_weights()):
            np.testing.assert_allclose(a, b, atol=1e-3)
    print("equal")
"""


@pytest.mark.slow
def test_two_devices_learn_what_one_learns(road_folder, tmp_path):
    """On two logical CPUs, which have to be there before TensorFlow starts: in a process of its own."""
    arguments = [sys.executable, "-c", textwrap.dedent(MIRRORED), str(road_folder), str(tmp_path)]
    project = Path(__file__).parents[2]
    done = subprocess.run(arguments, capture_output=True, text=True, timeout=300, cwd=project)
    assert done.stdout.endswith("equal\n"), done.stderr


@pytest.mark.parametrize("dice", [0.0, 0.7])
@pytest.mark.parametrize("weighted", [False, True])
def test_parts_add_up_to_the_whole_loss_and_gradient(roads, weighted, dice):
    image, road, weight = (tf.constant(part) for part in data.arrays(roads, np.arange(3)))
    whole_loss = losses.RoadLoss(dice)
    scale = tf.Variable(1.0)

    def measured(loss_fn, part):
        with tf.GradientTape() as tape:
            probability = tf.sigmoid(scale * image[part, ..., :1])
            loss = loss_fn(road[part], probability, sample_weight=weight[part] if weighted else None)
        return float(loss), float(tape.gradient(loss, scale))

    loss, gradient = measured(whole_loss, slice(None))
    parts = (measured(devices.PartLoss(weight, 2, dice), part) for part in (slice(1), slice(1, None)))
    in_parts, gradients = zip(*parts)
    assert (np.mean(in_parts), sum(gradients)) == (pytest.approx(loss, rel=1e-5), pytest.approx(gradient, rel=1e-5))


@pytest.mark.slow
def test_without_a_second_device_mirrored_is_one(roads, tmp_path):
    recipe = recipes.changed("reported", name="own", epochs=2)
    one, mirrored = (
        training.train("simple", recipe, roads, out=tmp_path / name, strategy=name, say=quiet)
        for name in devices.STRATEGIES
    )
    assert mirrored.settings["devices"] == 1
    np.testing.assert_array_equal(mirrored.steps["loss"], one.steps["loss"])


def test_a_strategy_that_is_none(roads, tmp_path):
    with pytest.raises(OptionError, match="no strategy is called 'two': choose one of one, mirrored"):
        training.train("simple", data=roads, out=tmp_path, strategy="two")


@pytest.mark.parametrize(
    ("gpus", "cpuinfo", "onednn", "expected"),
    [
        (["a GPU"], "flags: avx512_bf16", None, "float16"),
        ([], "flags: avx2 avx512_bf16", None, "bfloat16"),
        ([], "flags: avx512f amx_bf16", "1", "bfloat16"),
        ([], "flags: avx512f amx_bf16", "0", None),
        ([], "flags: avx512f", None, None),
        ([], None, None, None),
    ],
)
def test_the_short_numbers_of_a_machine(monkeypatch, tmp_path, gpus, cpuinfo, onednn, expected):
    monkeypatch.delenv("TF_ENABLE_ONEDNN_OPTS", raising=False)
    if onednn:
        monkeypatch.setenv("TF_ENABLE_ONEDNN_OPTS", onednn)
    monkeypatch.setattr(tf.config, "list_physical_devices", lambda kind=None: gpus)
    monkeypatch.setattr(devices, "CPUINFO", tmp_path / "cpuinfo")
    if cpuinfo is not None:
        devices.CPUINFO.write_text(cpuinfo)
    assert devices.short_float() == expected


def test_mixed_precision_needs_a_machine_for_it(roads, tmp_path, monkeypatch):
    monkeypatch.setattr(devices, "short_float", lambda: None)
    with pytest.raises(OptionError, match=r"needs a GPU, or .* bfloat16: leave it out here"):
        training.train("simple", data=roads, out=tmp_path, mixed_precision=True)
    assert not list(tmp_path.iterdir())


def test_mixed_precision_is_for_one_device(monkeypatch):
    class Two:
        num_replicas_in_sync = 2

    monkeypatch.setattr(devices, "short_float", lambda: "float16")
    with pytest.raises(OptionError, match="mixed precision is for one device only"):
        devices.mixed_precision(Two())


SHORT_FLOATS = {"float16": 5e-3, "bfloat16": 2e-2}  # with the largest difference of a step's loss from float32's


@pytest.mark.slow
@pytest.mark.parametrize("dtype", SHORT_FLOATS)
@pytest.mark.parametrize("name", ["simple", "unet"])
def test_mixed_precision_learns_what_float32_learns(monkeypatch, roads, tmp_path, name, dtype):
    monkeypatch.setattr(devices, "short_float", lambda: dtype)
    recipe = recipes.changed("fast", name="own", epochs=2)
    plain, mixed = (
        training.train(name, recipe, roads, out=tmp_path, mixed_precision=mixed, say=quiet) for mixed in (False, True)
    )
    assert mixed.title == f"{name}, own-{dtype}, seed 0" and mixed.path != plain.path
    differences = np.abs(mixed.steps["loss"] - plain.steps["loss"])
    assert 0 < differences.max() < SHORT_FLOATS[dtype]
    assert keras.config.dtype_policy().name == "float32"
    assert {weight.dtype for weight in mixed.model().get_weights()} == {np.dtype("float32")}
    again = training.train(name, recipe, roads, out=tmp_path, mixed_precision=True, say=quiet)
    assert (again.how, again.path) == ("reused", mixed.path)


@pytest.mark.parametrize("dtype", SHORT_FLOATS)
@pytest.mark.parametrize("name", ["simple", "unet"])
def test_the_output_is_float32_and_all_else_short(name, dtype):
    from roadseg import models

    with devices.precision(dtype):
        model = models.build(name, size=(32, 32))
    *inner, last = (layer for layer in model.layers[1:])
    assert last.compute_dtype == "float32" and {layer.compute_dtype for layer in inner} == {dtype}


def test_a_scaled_gradient_leaves_the_value():
    variable = tf.Variable(3.0)
    with tf.GradientTape() as tape:
        value = devices.scaled_gradient(variable**2, 100.0)
    assert (float(value), float(tape.gradient(value, variable))) == (9.0, 600.0)
