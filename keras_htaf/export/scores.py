"""What a classifier's output is, and the logits and probabilities made of it."""

from __future__ import annotations

import inspect

import keras
import numpy as np
from keras import ops

from keras_htaf.diagnosis.task import last_activation
from keras_htaf.samples import fits_labels

LABELWISE = ("label_logits", "sigmoid")
"""What says yes or no for each label by itself; of one output, this is a decision, too."""
SCORES = ("logits", "softmax", *LABELWISE)
MEANINGS = ("auto", "logits", "probabilities", "values")
_TINY = 1e-37
"""Stands for a probability of 0, whose logarithm has no number."""


def classified(y, scores: str) -> dict:
    """Logits and probabilities.

        logits          l, softmax(l)           softmax     log p, p
        label_logits    l, 1 / (1 + exp(-l))    sigmoid     log p - log(1 - p), p

    Args:
        y: Tensor (batch, n).
        scores: What it is, one of `SCORES`.
    """
    if scores in ("logits", "label_logits"):
        return {"logits": y, "probabilities": (_SQUASHED[scores])(y)}
    logits = ops.log(ops.maximum(y, _TINY))
    if scores == "sigmoid":
        logits = logits - ops.log(ops.maximum(1.0 - y, _TINY))
    return {"logits": logits, "probabilities": y}


_SQUASHED = {"logits": ops.softmax, "label_logits": ops.sigmoid}


def scores_of(model: keras.Model, like: keras.Model, made: list, outputs: str) -> str | None:
    """What the single output of a classifier is, one of `SCORES`; None of another model.

    Args:
        model: A functional model.
        like: What it is a copy of, which may be compiled.
        made: The outputs that are no states.
        outputs: One of `MEANINGS`.

    Raises:
        ValueError: If the outputs cannot be what they are said to be.
    """
    if outputs not in MEANINGS:
        raise ValueError(f"Received outputs={outputs!r}. Expected one of {MEANINGS}.")
    of_classes = len(made) == 1 and len(made[0].shape) == 2
    if outputs in ("logits", "probabilities") and not of_classes:
        raise ValueError(
            f"Received outputs={outputs!r} for a model with outputs of shapes "
            f"{[tuple(y.shape) for y in made]}. Expected one output (batch, classes)."
        )
    if outputs == "values" or not of_classes:
        return None
    activation, loss, size = last_activation(model), _loss_of(like), made[0].shape[-1]
    labels = size == 1 or activation == "sigmoid"
    labels = labels or (activation != "softmax" and "binary" in _name(loss))
    if outputs == "auto":
        outputs = _meaning(activation, loss, size)
    if outputs == "values":
        return None
    if outputs == "logits":
        return "label_logits" if labels else "logits"
    return "sigmoid" if labels else "softmax"


def check(made: dict, scores: str | None) -> None:
    """A ValueError if probabilities are none."""
    if scores not in ("softmax", "sigmoid"):
        return
    p = made["probabilities"]
    fits = (p >= 0).all() and (p <= 1.001).all()
    if scores == "softmax":
        fits = fits and np.abs(p.sum(-1) - 1.0).max(initial=0.0) < 0.05
    if not fits:
        raise ValueError(
            f"The model's activation or loss says that its outputs are probabilities, but on the "
            f"samples they are from {p.min():.3g} to {p.max():.3g}, with sums from "
            f"{p.sum(-1).min():.3g} to {p.sum(-1).max():.3g}. Give outputs='logits' if they are "
            "logits, 'values' if they are neither."
        )


def _meaning(activation: str, loss, size: int) -> str:
    """By the last activation; else by the loss; else logits if there are several."""
    if activation in ("softmax", "sigmoid"):
        return "probabilities"
    name = _name(loss)
    if any(word in name for word in ("mean", "huber", "logcosh")):
        return "values"
    logits = _takes_logits(loss)
    if logits is not None and ("crossentropy" in name or logits):
        return "logits" if logits else "probabilities"
    return "logits" if size > 1 or "crossentropy" in name else "values"


def _loss_of(model):
    """The loss that a model is compiled with, if it is a single one."""
    loss = getattr(model, "loss", None) if model.compiled else None
    if isinstance(loss, (list, tuple, dict)):
        losses = list(loss.values() if isinstance(loss, dict) else loss)
        loss = losses[0] if len(losses) == 1 else None
    if fits_labels(loss):
        return keras.losses.categorical_crossentropy
    return keras.losses.get(loss)


def _name(loss) -> str:
    if loss is None:
        return ""
    name = getattr(loss, "name", None) or getattr(loss, "__name__", None) or ""
    return f"{name}{type(loss).__name__}".replace("_", "").lower()


def _takes_logits(loss) -> bool | None:
    """Whether a loss wants logits rather than probabilities; None if it does not say."""
    given = getattr(loss, "from_logits", None)
    if given is None and callable(loss):
        parameter = inspect.signature(loss).parameters.get("from_logits")
        given = None if parameter is None else parameter.default
    return given if isinstance(given, bool) else None
