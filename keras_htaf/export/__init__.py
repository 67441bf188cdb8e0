"""From a trained model to an artifact that runs without this package."""

from __future__ import annotations

import os

import keras

from keras_htaf import hardening
from keras_htaf.export import saved_model

_WRITERS = {"tf_saved_model": saved_model.write}


def export(
    model: keras.Model,
    path: str | os.PathLike,
    format: str = "tf_saved_model",
    *,
    smooth: bool = False,
    preprocessing: keras.layers.Layer | None = None,
) -> None:
    """Write a model for serving, with exact steps unless told otherwise.

    A SavedModel is written from any backend (it needs the tensorflow package; a torch model is
    handed to a second process that runs Keras on TensorFlow) and takes batches of any size. Its
    `serve` function and `serving_default` signature run in plain TensorFlow, without keras.

    Args:
        model: A built model, with or without step layers. One of several inputs, such as
            `keras_htaf.models.streaming` makes, takes and gives lists.
        path: Folder to write. An earlier artifact there is replaced once the new one is complete.
        format: `"tf_saved_model"`.
        smooth: Whether to keep smooth steps. Default False: steps are hardened.
        preprocessing: Layer to put before the model's first input, for example
            `dataset.preprocessing.layer()`: the artifact then takes raw float32 pixels.

    Raises:
        ValueError: If the format is unknown, the model is not built or cannot be hardened, or
            `path` holds something else than an earlier artifact.
        ImportError: If tensorflow is not installed.
        RuntimeError: If the second process fails (its message is included).

    Example:

    >>> model = keras.Sequential([keras.Input((2,)), keras_htaf.layers.HTAF()])
    >>> export(model, tmp / "saved_model")
    """
    if format not in _WRITERS:
        raise ValueError(f"Received format={format!r}. Expected one of {sorted(_WRITERS)}.")
    if not isinstance(model, keras.Model) or not model.built:
        raise ValueError(f"Received {model!r}. Expected a built keras.Model.")
    if smooth and hardening.step_layers(model):
        model = hardening.with_forward(model, "smooth")
    elif not smooth and hardening.has_steps(model):
        model = hardening.with_forward(model, "hard")
    if preprocessing is not None:
        raw = keras.Input(batch_shape=model.inputs[0].shape, name="raw")
        others = [
            keras.Input(batch_shape=x.shape, dtype=x.dtype, name=x.name) for x in model.inputs[1:]
        ]
        given = [preprocessing(raw), *others] if others else preprocessing(raw)
        model = keras.Model(
            [raw, *others] if others else raw, model(given), name=f"{model.name}_on_raw"
        )
    _WRITERS[format](model, path)
