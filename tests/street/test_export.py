"""Keras's own export, where its packages are installed: the same probabilities in other programs."""

import numpy as np
import pytest

from roadseg import models


@pytest.fixture(scope="module")
def exported() -> tuple:
    """A U-Net, images, and its probabilities for them."""
    model, images = models.unet((64, 96, 3)), np.random.default_rng(0).random((1, 64, 96, 3), np.float32)
    return model, images, model(images, training=False).numpy()


@pytest.mark.long
@pytest.mark.filterwarnings("ignore:In the future `np.object`:FutureWarning")  # Keras 3.15 looks for it in NumPy 2
def test_onnx_gives_the_same(exported, tmp_path):
    pytest.importorskip("tf2onnx")
    onnxruntime = pytest.importorskip("onnxruntime")
    model, images, expected = exported
    model.export(tmp_path / "road.onnx", format="onnx", verbose=False)
    session = onnxruntime.InferenceSession(tmp_path / "road.onnx", providers=["CPUExecutionProvider"])
    (found,) = session.run(None, {session.get_inputs()[0].name: images})
    np.testing.assert_allclose(found, expected, atol=1e-4)


@pytest.mark.long
def test_litert_gives_the_same(exported, tmp_path):
    litert = pytest.importorskip("ai_edge_litert.interpreter")
    model, images, expected = exported
    model.export(tmp_path / "road.tflite", format="litert", verbose=False)
    interpreter = litert.Interpreter(str(tmp_path / "road.tflite"))
    interpreter.allocate_tensors()
    interpreter.set_tensor(interpreter.get_input_details()[0]["index"], images)
    interpreter.invoke()
    np.testing.assert_allclose(
        interpreter.get_tensor(interpreter.get_output_details()[0]["index"]), expected, atol=1e-4
    )
