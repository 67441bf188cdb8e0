"""OpenVINO's intermediate representation, from ONNX."""

from __future__ import annotations

import tempfile
from pathlib import Path

from keras_htaf.export.program import Program
from keras_htaf.export.writers import onnx


def write(program: Program, path: Path) -> None:
    """Write the `.xml` file and the `.bin` file beside it, weights in float32."""
    import openvino

    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "model.onnx"
        onnx.write(program, file)
        model = openvino.convert_model(file)
        openvino.save_model(model, path, compress_to_fp16=False)
