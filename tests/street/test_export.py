"""Keras's own export, where its packages are installed: the same probabilities in other programs."""

import numpy as np
import pytest

from roadseg import models


@pytest.mark.long
@pytest.mark.filterwarnings("ignore:In the future `np.object`:FutureWarning")  # Keras 3.15 looks for it in NumPy 2
def test_other_programs_give_the_same(tmp_path):
    pytest.importorskip("tf2onnx")
    onnxruntime, litert = (pytest.importorskip(name) for name in ("onnxruntime", "ai_edge_litert.interpreter"))
    model, images = models.unet((64, 96, 3)), np.random.default_rng(0).random((1, 64, 96, 3), np.float32)
    for name, kind in (("road.onnx", "onnx"), ("road.tflite", "litert")):
        model.export(tmp_path / name, format=kind, verbose=False)
    session = onnxruntime.InferenceSession(tmp_path / "road.onnx", providers=["CPUExecutionProvider"])
    (onnx,) = session.run(None, {session.get_inputs()[0].name: images})
    interpreter = litert.Interpreter(str(tmp_path / "road.tflite"))
    interpreter.allocate_tensors()
    interpreter.set_tensor(interpreter.get_input_details()[0]["index"], images)
    interpreter.invoke()
    tflite = interpreter.get_tensor(interpreter.get_output_details()[0]["index"])
    for found in (onnx, tflite):
        np.testing.assert_allclose(found, model(images, training=False), atol=1e-4)
