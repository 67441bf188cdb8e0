"""A Keras model as an ONNX file, in float32 or quantized to 8 bits."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from keras_htaf.export import export

CALIBRATION = 4, 16
"""Batches, and random samples in each, from which the ranges of 8-bit numbers are taken."""


def write_onnx(model, folder: Path, integers: bool) -> Path:
    """Write a model that gives what it gives, and nothing beside; the weights' signs are constants.

    Args:
        model: A Keras model that takes one array.
        folder: Where to write.
        integers: Whether to quantize it to int8 weights and uint8 activations.

    Raises:
        ImportError: If an exporter, or ONNX Runtime, is not installed.
    """
    plain = folder / "model.onnx"
    if not plain.exists():
        export(model, plain, "onnx", outputs="values", bits=False, verify=False)
    if not integers:
        return plain
    from onnxruntime.quantization import QuantFormat, QuantType, quantize_static
    from onnxruntime.quantization.shape_inference import quant_pre_process

    ready, path = folder / "ready.onnx", folder / "int8.onnx"
    quant_pre_process(str(plain), str(ready), skip_symbolic_shape=True)
    quantize_static(
        str(ready),
        str(path),
        _samples(model.input_shape[1:], ready),
        quant_format=QuantFormat.QDQ,
        activation_type=QuantType.QUInt8,
        weight_type=QuantType.QInt8,
        per_channel=True,
    )
    return path


def _samples(shape, file: Path):
    """Standard normal inputs, batch by batch, as the quantizer asks for them."""
    import onnx
    from onnxruntime.quantization import CalibrationDataReader

    (name,) = [each.name for each in onnx.load(str(file)).graph.input]
    batches, samples = CALIBRATION
    random = np.random.default_rng(0)

    class Samples(CalibrationDataReader):
        left = batches

        def get_next(self):
            self.left -= 1
            if self.left < 0:
                return None
            return {name: random.normal(size=(samples, *shape)).astype(np.float32)}

    return Samples()
