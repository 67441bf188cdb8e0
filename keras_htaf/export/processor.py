"""Exports are written and compared on the processor, wherever the model was trained.

An accelerator multiplies matrices with fewer bits than artifacts are compared to, and what is
traced there names it: a `.pt2` file would hold weights that no other machine can load.
"""

from __future__ import annotations

import tempfile
from contextlib import nullcontext
from pathlib import Path

import keras

from keras_htaf.export.program import save_uncompiled
from keras_htaf.saving import load_model

CHILD = {
    "CUDA_VISIBLE_DEVICES": "",
    "JAX_PLATFORMS": "cpu",
    "KERAS_TORCH_DEVICE": "cpu",
    "TF_CPP_MIN_LOG_LEVEL": "3",
}
"""What a second process finds in its environment: no accelerator."""


def scope():
    """A context in which Keras computes on the processor."""
    # To torch, "cpu" and "cpu:0" are different devices; to JAX, only the second is one.
    return keras.device("cpu" if keras.config.backend() == "torch" else "cpu:0")


def while_writing():
    """A context for writers: on torch the same; elsewhere graphs would name the processor."""
    return scope() if keras.config.backend() == "torch" else nullcontext()


def moved(model: keras.Model) -> keras.Model:
    """The model, or where torch keeps its weights on an accelerator, a copy that has them here.

    Other backends bring weights to where they are computed with.
    """
    if not any(_is_away(variable.value) for variable in model.variables):
        return model
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "model.keras"
        save_uncompiled(model, file)
        with scope():
            return load_model(file)


def _is_away(tensor) -> bool:
    return keras.config.backend() == "torch" and tensor.device.type != "cpu"
