"""TensorFlow's settings, precision, and training on several devices."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from roadseg import backend, models
from roadseg.backend import keras, tf

PROJECT = Path(__file__).parents[2]


def run_python(code: str, *arguments, onednn: str | None = None) -> str:
    """Standard output of code in a fresh process, with TF_ENABLE_ONEDNN_OPTS as given, or unset."""
    environment = {name: value for name, value in os.environ.items() if name != "TF_ENABLE_ONEDNN_OPTS"}
    environment |= {} if onednn is None else {"TF_ENABLE_ONEDNN_OPTS": onednn}
    command = [sys.executable, "-c", code, *map(str, arguments)]
    done = subprocess.run(command, env=environment, cwd=PROJECT, capture_output=True, text=True, timeout=500)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.slow
def test_keras_and_onednn_are_set_up_whatever_else_was_chosen(tmp_path, monkeypatch):
    settings = {"backend": "torch", "floatx": "float64", "image_data_format": "channels_first"}
    (tmp_path / "keras.json").write_text(json.dumps(settings))
    monkeypatch.setenv("KERAS_HOME", str(tmp_path))
    monkeypatch.setenv("KERAS_BACKEND", "jax")
    code = (
        "from roadseg import backend, models as m; u = m.unet(); print(u.dtype, u.output_shape, backend.onednn_is_on())"
    )
    said = run_python(code)
    assert "(None, 256, 256, 1)" in said and "float32" in said and said.endswith(" True\n")


def test_a_user_may_turn_onednn_off(monkeypatch):
    monkeypatch.setenv("TF_ENABLE_ONEDNN_OPTS", "0")
    assert not backend.onednn_is_on()


ONEDNN = """
import json, sys
from roadseg import backend, data, recipes, training
roads = data.load(sys.argv[1], size=(32, 32), cache=False)
recipe = recipes.get_recipe("fast", name="own", epochs=2)
run = training.train("unet", recipe, roads, out=sys.argv[2], log=lambda line: None)
print(json.dumps([*run.steps["loss"], *run.curves["val_loss"], run.prediction().mean() / 255]))
"""


@pytest.mark.long
def test_with_and_without_onednn_it_learns_the_same(road_folder, tmp_path):
    with_it, without = (
        json.loads(run_python(ONEDNN, road_folder, tmp_path / str(own), onednn=own)) for own in (None, "0")
    )
    np.testing.assert_allclose(with_it, without, atol=2e-3)


@pytest.mark.parametrize(
    ("gpus", "flags", "onednn", "expected"),
    [
        (["a GPU"], "avx512_bf16", "1", "float16"),
        ([], "avx2 avx512_bf16", "1", "bfloat16"),
        ([], "avx512f amx_bf16", "0", None),
        ([], None, "1", None),
    ],
)
def test_fast_precision_by_machine(monkeypatch, tmp_path, gpus, flags, onednn, expected):
    monkeypatch.setenv("TF_ENABLE_ONEDNN_OPTS", onednn)
    monkeypatch.setattr(tf.config, "list_physical_devices", lambda kind=None: gpus)
    monkeypatch.setattr(backend, "CPUINFO", tmp_path / "cpuinfo")
    if flags is not None:
        backend.CPUINFO.write_text(f"flags: {flags}")
    assert backend.fast_precision() == expected


def test_layers_compute_in_the_precision_and_the_output_in_float32():
    with pytest.raises(ZeroDivisionError), backend.precision("float16"):
        raise ZeroDivisionError
    assert keras.config.dtype_policy().name == "float32"
    with backend.precision("bfloat16"):
        *inner, output = models.build("unet", size=(32, 32)).layers[1:]
    assert output.compute_dtype == "float32" and {layer.compute_dtype for layer in inner} == {"bfloat16"}
    assert {weight.dtype for layer in (*inner, output) for weight in layer.weights} == {"float32"}


MIRRORED = """
import sys
import numpy as np
from roadseg.backend import tf
cpu = tf.config.list_physical_devices("CPU")[0]
tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)
from roadseg import data, recipes, training

class Stop(Exception):
    pass

def stop(progress):
    if progress.epoch == 2:
        raise Stop

folder, out = sys.argv[1:]
roads = data.load(folder, size=(32, 32), cache=False)
for model, base, dice in (("simple", "reported", 0.0), ("unet", "fast", 1.0)):
    # batches of 4, 4 and 1 image: the last has fewer images than there are devices
    recipe = recipes.get_recipe(base, name="own", epochs=6, dice=dice)
    one = training.train(model, recipe, roads, out=f"{out}/one")
    try:
        training.train(model, recipe, roads, out=f"{out}/two", strategy="mirrored", callback=stop)
    except Stop:
        pass
    two = training.train(model, recipe, roads, out=f"{out}/two", strategy="mirrored")
    assert (two.how, one.settings["devices"], two.settings["devices"]) == ("resumed", 1, 2)
    for name in ("loss", "accuracy"):
        np.testing.assert_allclose(two.steps[name], one.steps[name], atol=1e-4, err_msg=name)
    for name in ("loss", "accuracy", "val_loss", "val_accuracy", "learning_rate"):
        np.testing.assert_allclose(two.curves[name], one.curves[name], atol=1e-4, err_msg=name)
    for a, b in zip(two.model().get_weights(), one.model().get_weights()):
        np.testing.assert_allclose(a, b, atol=1e-3)
"""


@pytest.mark.long
def test_two_devices_learn_what_one_learns(road_folder, tmp_path):
    """On two logical CPUs, which have to be there before TensorFlow starts: in a process of its own."""
    run_python(MIRRORED, road_folder, tmp_path)
