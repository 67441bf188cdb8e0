"""LiteRT (TensorFlow Lite) flatbuffers."""

from __future__ import annotations

import tempfile
from pathlib import Path

from keras_htaf.backend.turns import unrolled
from keras_htaf.export.program import Program
from keras_htaf.export.writers.saved_model import endpoint, specs_of


def write(program: Program, path: Path) -> None:
    """Write one signature, `serving_default`, with all outputs, of LiteRT's own operations."""
    import keras
    import tensorflow as tf

    with tempfile.TemporaryDirectory() as folder:
        archive = keras.export.ExportArchive()
        archive.track(program.model)
        with unrolled():
            archive.add_endpoint("serving_default", endpoint(program), specs_of(program))
            archive.write_out(folder, verbose=False)
        converter = tf.lite.TFLiteConverter.from_saved_model(
            folder, signature_keys=["serving_default"]
        )
        converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS]
        path.write_bytes(converter.convert())
