"""From a trained model to an artifact that runs without this package.

program.py        what is exported: a model with names for what goes in and comes out
scores.py         what a classifier's output is: logits or probabilities, of classes or labels
formats.py        which format is written by which backend, with what, and what runs it
publishing.py     where artifacts appear, whole or not at all
writers/          one file for each format
elsewhere.py      the second process, where another backend writes
processor.py      no accelerator takes part
runtimes.py       artifacts run where Keras is not
samples.py        inputs for that
verification.py   an artifact's outputs beside its model's
given.py          what the caller says for the card
card.py           the model card
snippets.py       how to load an artifact, and the card as a page
"""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import keras

from keras_htaf import hardening
from keras_htaf.export import card as cards
from keras_htaf.export import elsewhere, formats, given, processor, publishing, verification
from keras_htaf.export import samples as inputs
from keras_htaf.export.formats import FORMATS
from keras_htaf.export.program import prepare
from keras_htaf.export.verification import Difference, Verification

__all__ = ["FORMATS", "Difference", "Verification", "export"]


def export(
    model: keras.Model,
    path: str | os.PathLike,
    format: str = "tf_saved_model",
    *,
    smooth: bool = False,
    preprocessing: keras.layers.Layer | None = None,
    outputs: str = "auto",
    bits: bool = True,
    verify: bool = True,
    samples=None,
    card: dict | None = None,
) -> Verification | None:
    """Write a model for another runtime, with exact steps unless told otherwise.

        format            what runs it            what must be installed to write it
        tf_saved_model    TensorFlow (Serving)    tensorflow
        onnx              ONNX Runtime            tensorflow and tf2onnx, or torch and onnxscript
        openvino          OpenVINO                the same, and openvino
        litert            LiteRT                  tensorflow
        torch             PyTorch                 torch
        packed            keras_htaf_packed       numba, safetensors, threadpoolctl

    From any backend: where Keras's own cannot write a format, the model travels in a `.keras` file
    to a second process on one that can. Batches may have any size.

    Inputs keep the model's names. A classifier gives "logits" and "probabilities", another model
    "output" (or, if it has several, the names of the layers that make them); behind these come the
    bits of each step, named by its path with dots ("concepts", "layer1_spikes.spike"). A SavedModel
    has them in its signature `bits`, beside `serving_default` without and Keras's `serve`; a packed
    network gives the model's own output alone. A model that `keras_htaf.models.streaming` made
    gives the state that went in as "NAME" as "NAME_next".

    The artifact is then run in its runtime, where Keras is not unless that runtime is loaded
    already, and compared with the model. Only if it agrees does it appear at `path`, with a model
    card: see `keras_htaf.export.card.find`.

    Args:
        model: A built model, with or without step layers.
        path: What to write: a folder for a SavedModel; else a file with the format's suffix, .onnx,
            .xml (beside it .bin), .tflite, .pt2 or .khtaf. An earlier artifact there is replaced
            once the new one is complete.
        format: As above.
        smooth: Whether to keep smooth steps. Default False: steps are hardened.
        preprocessing: Layer to put before the model's first input, for example
            `dataset.preprocessing.layer()`: the artifact then takes raw float32 pixels.
        outputs: What a single output (batch, n) is: "logits", "probabilities", or "values" of
            something else than a classifier. Default "auto": probabilities behind a softmax or a
            sigmoid; else what the loss that the model is compiled with says (cross-entropies take
            probabilities unless `from_logits=True`); else logits if n > 1. Behind a sigmoid, with a
            binary cross-entropy or if n = 1 they are of labels, each decided by itself; else of
            classes, of which the largest is decided for.
        bits: Whether to give the bits too. Default True.
        verify: Whether to run and compare the artifact. Default True.
        samples: On what: an array, or a list or dict of them for several inputs. Default: 16
            random inputs (standard normal; raw ones that a `Rescaling` makes so).
        card: What the card shall say of "data", "metrics", "classes", "concepts" (the names of an
            ICBM's bits), "usage" (on which share of samples each of them is on) and
            "preprocessing": what JSON can hold, NumPy's numbers too.

    Returns:
        A `Verification`, which prints as a table; None if `verify` is False.

    Raises:
        ValueError: If an argument is none of these, the model is not built or cannot be hardened,
            outputs that should be probabilities are none, the format cannot hold it, or `path` is
            something else than an earlier artifact.
        ImportError: If a package is missing, with the command that installs it.
        RuntimeError: If writing fails, or the artifact decides otherwise than the model beyond what
            rounding before a step explains (`keras_htaf.export.verification`). Nothing is written.

    Example:

    >>> layers = [keras.Input((2,)), keras_htaf.layers.HTAF(), keras.layers.Dense(2)]
    >>> result = export(keras.Sequential(layers), tmp / "model.khtaf", "packed")
    >>> result.equal
    True
    """
    chosen, path = formats.checked(format), Path(path)
    if not isinstance(model, keras.Model) or not model.built:
        raise ValueError(f"Received {model!r}. Expected a built keras.Model.")
    publishing.check(path, format)
    told = given.checked(card)
    twin, steps = _with_steps(model, smooth)
    program = prepare(twin, model, preprocessing, outputs, bits and format != "packed")
    program = replace(program, model=processor.moved(program.model))
    writer = formats.writer_of(format)
    if verify:
        formats.check_runtime(format)
    fed = inputs.given_or_drawn(program, samples, preprocessing)
    reference = verification.Reference.of(program, fed)
    known = cards.known(reference, twin, told)
    with publishing.prepared(path, chosen) as temporary:
        elsewhere.write(format, reference.program, temporary, writer)
        result = verification.verify(reference, format, temporary) if verify else None
        about = cards.make(reference, twin, steps, format, temporary, path.name, result, known)
        cards.write(about, temporary)
    return result


def _with_steps(model: keras.Model, smooth: bool) -> tuple[keras.Model, str]:
    """The model with the steps that are asked for, and what they are."""
    if smooth and hardening.step_layers(model):
        return hardening.with_forward(model, "smooth"), "smooth"
    if not smooth and hardening.has_steps(model):
        return hardening.with_forward(model, "hard"), "exact"
    return model, "smooth" if hardening.has_steps(model) else "none"
