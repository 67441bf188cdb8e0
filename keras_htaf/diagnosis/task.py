"""What the labels and the loss ask of a model, and how well its twins do."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import keras
import numpy as np
from keras import losses

from keras_htaf.callbacks.gap import measure_gap
from keras_htaf.hardening import with_forward
from keras_htaf.quantizers.step import FORWARDS
from keras_htaf.samples import class_labels, fits_labels


@dataclass(frozen=True)
class Task:
    """A loss, its targets and, if the model classifies, the labels that decisions are held to."""

    loss: Callable
    name: str
    targets: np.ndarray
    labels: np.ndarray | None
    threshold: float
    """What a single output exceeds for the positive class."""


def understand(model: keras.Model, y: np.ndarray, loss, outputs: tuple[int, ...]) -> Task:
    """The task of a model whose outputs for `len(y)` samples have the shape `outputs`."""
    if y.ndim == len(outputs) - 1 and outputs[-1] == 1:
        y = y[..., None]  # or y - outputs would be a square
    loss = _given(model, loss)
    labels = _labels(y, loss, outputs)
    logits = getattr(loss, "from_logits", None)
    logits = not gives_probabilities(model) if logits is None else logits
    if loss is None:
        loss = _default(y, labels, outputs, logits)
    name = getattr(loss, "name", None) or getattr(loss, "__name__", type(loss).__name__)
    return Task(loss, str(name), y, labels, 0.0 if logits else 0.5)


def scores(model: keras.Model, task: Task, x, batch_size: int) -> dict[str, float]:
    """How well the model does with smooth and with exact steps; see `Diagnosis.scores`."""
    twins = [with_forward(model, mode) for mode in FORWARDS]
    if task.labels is not None:
        smooth, hard = twins
        found = measure_gap(smooth, hard, x, task.labels, batch_size, task.threshold)
        del found["softness"]  # the rows have it for each step
        return found
    found = {}
    for mode, twin in zip(FORWARDS, twins, strict=True):
        squares = 0.0
        for begin in range(0, len(x), batch_size):
            targets = task.targets[begin : begin + batch_size]
            given = np.asarray(twin.predict_on_batch(x[begin : begin + batch_size]), "float64")
            if given.shape != targets.shape:  # then the loss knows what to do with them, not we
                return {}
            squares += float(np.sum(np.square(given - targets)))
        found[f"{mode}_mean_squared_error"] = squares / task.targets.size
    return found


def _given(model, loss):
    """The loss that was given, or that the model is compiled with, or None."""
    if loss is None and model.compiled:
        loss = model.loss
    if isinstance(loss, (list, tuple, dict)) and len(loss) == 1:
        (loss,) = loss.values() if isinstance(loss, dict) else loss
    if isinstance(loss, (list, tuple, dict)):
        raise ValueError(
            f"Received {len(loss)} losses. Expected one: diagnose a model with a single output, "
            "or pass loss=."
        )
    return None if fits_labels(loss) else losses.get(loss)  # what fits the labels is the default


def _kind(loss) -> str | None:
    name = getattr(loss, "__name__", type(loss).__name__).replace("_", "").lower()
    if "crossentropy" in name:
        return "classification"
    return "regression" if name.startswith("mean") or name in ("huber", "logcosh") else None


def _labels(y, loss, outputs):
    """Class labels from 0, or None if `y` holds targets of a regression, or other probabilities."""
    kind = _kind(loss)
    if kind == "regression" or y.ndim > 2 or len(outputs) != 2:
        return None
    one_hot = y.ndim == 2 and y.shape[1] > 1
    if kind is None and not (np.isin(y, (0, 1)).all() if one_hot else y.dtype.kind in "iub"):
        return None
    try:
        return class_labels(y, outputs[-1])
    except ValueError:
        probabilities = y.shape == outputs and y.min() >= 0 and y.max() <= 1
        ignores = getattr(loss, "ignore_class", None) is not None
        if kind is None or probabilities or ignores:
            return None
        raise


def _default(y, labels, outputs, logits):
    if labels is None:
        if y.shape != outputs:
            raise ValueError(
                f"Received y of shape {y.shape}, from {y.min():g} to {y.max():g}, for outputs of "
                f"shape {outputs}. Expected targets of the outputs' shape, or class labels from 0 "
                f"to {max(outputs[-1], 2) - 1}, as integers or one-hot."
            )
        return losses.MeanSquaredError()
    if outputs[-1] == 1:
        return losses.BinaryCrossentropy(from_logits=logits)
    if y.ndim == 2 and y.shape[1] > 1:
        return losses.CategoricalCrossentropy(from_logits=logits)
    return losses.SparseCategoricalCrossentropy(from_logits=logits)


def gives_probabilities(model) -> bool:
    """Whether the last layer is, or has as its activation, a softmax or sigmoid."""
    return last_activation(model) in ("softmax", "sigmoid")


def last_activation(model) -> str:
    """The last layer's activation in small letters; where it has none, what the layer is."""
    last = model
    while isinstance(last, keras.Model) and last.layers:
        # Of a functional model, operations too: `keras.ops.softmax` is not a layer.
        last = getattr(last, "operations", last.layers)[-1]
    activation = getattr(last, "activation", last)
    return getattr(activation, "__name__", type(activation).__name__).lower()
