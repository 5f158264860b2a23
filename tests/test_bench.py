"""The benchmark runs and writes what it promises; how fast anything is, is not looked at here."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from roadseg import backend, data, models
from roadseg.backend import keras, tf

BENCH = Path(__file__).parent / "bench.py"


@pytest.mark.long
def test_the_benchmark_runs_and_writes_its_report(road_folder, tmp_path):
    command = [sys.executable, str(BENCH), "--quick", "--data", str(road_folder), "--out", str(tmp_path / "out")]
    environment = {**os.environ, "PYTHONPATH": str(BENCH.parent.parent)}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=900)
    assert done.returncode == 0, done.stderr
    content = json.loads((tmp_path / "out" / "bench.json").read_text())
    assert set(content) == {"quick", "images", "effort", "machine", "versions", "rows"}
    assert content["quick"] is True and content["images"] == 24
    assert {"system", "processor", "cores"} == set(content["machine"])
    assert {"tensorflow", "keras", "numpy", "python", "torch"} <= set(content["versions"])
    assert_rows(content["rows"], done.stdout, with_torch=content["versions"]["torch"] is not None)


def assert_rows(rows: list[dict], printed: str, *, with_torch: bool) -> None:
    targets = {row["what"]: row["target"] for row in rows}
    ways = ["roadseg", *(f"roadseg {short}" for short in [backend.fast_precision()] if short)]
    for name, speedup in (("unet", 3), ("simple", 2)):
        asked = [targets[f"{name}: plain script / {way}"] for way in ways]
        assert asked == [None] * (len(ways) - 1) + [f"at least {speedup}"], "the fastest way is held to it"
        rivals = [{f"{name}: PyTorch{kind} / {way}" for kind in ("", " compiled")} for way in ways]
        assert [len(names & targets.keys()) for names in rivals] == [int(with_torch)] * len(ways)
        assert {f"{name}: plain script / convolutions", f"{name}: fraction of the matrix rate"} <= targets.keys()
    expected = {"loading: one by one / two at once": "at least 1.6", "loading from the cache": "below 0.5"}
    expected |= {"rendering all scenes": "below 60", "a move of the threshold": "below 0.1"}
    assert (expected | {"import roadseg": "below 0.2"}).items() <= targets.items()
    assert ("PyTorch is not installed" in printed) != with_torch
    for row in rows:
        assert set(row) == {"what", "median", "low", "high", "unit", "target", "met"}
        assert row["low"] <= row["median"] <= row["high"] and row["unit"] in ("s", "x", "GiB")
        assert (row["met"] is None) == (row["target"] is None)
        assert row["what"] in printed
    if sys.platform != "win32":
        assert 0.1 < next(row["median"] for row in rows if "memory" in row["what"]) < 8


@pytest.fixture
def bench(monkeypatch):
    monkeypatch.syspath_prepend(BENCH.parent)
    import bench

    return bench


def test_rows_hold_targets_against_medians(bench):
    line = bench.row("what", [1.0, 5.0, 2.0], "x", at_least=2)
    assert list(line.values()) == ["what", 2.0, 1.0, 5.0, "x", "at least 2", True]
    assert bench.row("what", [1.0, 1.9, 9.0], "x", at_least=2)["met"] is False
    assert bench.row("what", [3.0], "s")["met"] is None
    assert "MISSED" in bench.line_of(**bench.row("what", [0.2], "s", below=0.2))
    assert bench.ratios([6.0, 9.0], [2.0, 3.0]) == [3.0, 3.0]


@pytest.mark.parametrize(
    "build, by_hand",
    [
        (models.simple_model, 128**2 * 25 * 3 * 32 + 64**2 * (25 * 32 * 64 + 64)),
        # 9 kernel pixels on 256**2 pixels, 8 filters; each level down has a quarter of the pixels, twice the filters
        (models.unet, 256**2 * (9 * 8 * (3 + 8) + 4 * 9 * 8 * (4 + 8) + 4 * (8 * 8 * 2 + 9 * 8 * (16 + 8)) + 8)),
    ],
)
def test_multiplications_by_hand(bench, build, by_hand):
    assert bench.multiplications(build()) == by_hand


@pytest.mark.slow
def test_convolutions_alone_are_the_networks(bench, road_folder):
    """What each gives, forward and backward, is what Keras gives for the layer of the network."""
    way, model = bench.Convolutions("unet", road_folder, (32, 32)), models.build("unet", size=(32, 32))
    layers = [layer for layer in model.layers if bench.is_convolution(layer)]
    outputs, by_input, by_kernel = way.backward(way.images, way.changes)
    assert len(layers) == len(outputs) == len(by_kernel) == len(by_input) + 1
    assert all(np.allclose(one, other) for one, other in zip(outputs, way.forward(way.images)))
    for i, layer in enumerate(layers):
        layer.activation = keras.activations.linear
        layer.kernel.assign(way.layers[i].kernel)
        with tf.GradientTape() as tape:
            tape.watch(way.images[i])
            out = layer(way.images[i])
        image, kernel = tape.gradient(out, [way.images[i], layer.kernel], way.changes[i])
        np.testing.assert_allclose(outputs[i], out, rtol=1e-4, atol=1e-4)
        np.testing.assert_allclose(by_kernel[i], kernel, rtol=1e-3, atol=1e-2)
        if i:
            np.testing.assert_allclose(by_input[i - 1], image, rtol=1e-4, atol=1e-4)


def test_matrix_products_do_as_many_multiplications(bench, road_folder):
    done = []
    way = bench.MatrixProducts("unet", road_folder, (32, 32))
    way.multiply = done.append
    way.train(5)
    way.validate()
    a_image = bench.multiplications(models.unet((32, 32, 3)))
    assert done == [12 * a_image] * 5 + [8 * a_image, 7 * a_image]
    assert -(-12 * a_image // way.SIDE**2) <= len(way.long)


@pytest.mark.long
def test_images_as_large_as_published(bench, road_folder, tmp_path):
    root = bench.published_size(road_folder, tmp_path / "published")
    for file in root.glob("training/*/*.png"):
        with Image.open(file) as image:
            assert image.size == (1242, 375)
    one, other = data.load(road_folder, cache=False), data.load(root, cache=False)
    assert one.names == other.names and np.mean(one.masks == other.masks) > 0.98
    assert np.abs(one.images.astype(int) - other.images).mean() < 12
