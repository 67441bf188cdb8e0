"""Samples and their labels, checked before anything is measured on them."""

from __future__ import annotations

import keras
import numpy as np
from keras import ops

FEW = 32
"""Samples below which the statistics of a batch, such as batch normalisation's, say little."""


def numbers(name: str, value) -> np.ndarray:
    """`value` as one array of finite numbers whose first axis is the batch, or a ValueError."""
    if isinstance(value, keras.utils.PyDataset):
        raise ValueError(
            f"Received {name} of type {type(value).__name__}. Expected one array: of a data set "
            "its arrays, such as `split.arrays(512)`, or of batches the first, `batches[0]`."
        )
    try:
        value = np.asarray(value)
    except ValueError as error:  # lists of unequal lengths
        raise ValueError(
            f"Received {name} that is no array ({error}). Expected one array of numbers."
        ) from error
    if value.dtype.kind not in "fiub" or value.ndim == 0:
        raise ValueError(
            f"Received {name} of dtype {value.dtype} and shape {value.shape}. Expected one array "
            "of numbers whose first axis is the batch."
        )
    if value.dtype.kind != "f":
        return value
    if bad := int(np.sum(~np.isfinite(value))):
        raise ValueError(
            f"Received {name} with {bad} values that are NaN or infinite. Expected finite numbers."
        )
    return value.astype(keras.config.floatx())


def pairs(x, y) -> tuple[np.ndarray, np.ndarray]:
    """As many labels or targets as inputs, at least one, as arrays, or a ValueError."""
    x, y = numbers("x", x), numbers("y", y)
    if len(x) != len(y) or len(x) == 0:
        raise ValueError(
            f"Received {len(x)} inputs and {len(y)} labels. Expected as many labels as inputs, and "
            "at least one."
        )
    return x, y


def class_labels(y: np.ndarray, outputs: int) -> np.ndarray:
    """The labels, shape (n,), of a model with so many outputs, or a ValueError.

    Args:
        y: Whole numbers of shape (n,) or (n, 1), from 0; or one-hot, possibly smoothed, of shape
            (n, outputs).
        outputs: Number of classes; a single output tells 0 from 1.
    """
    if y.ndim == 2 and y.shape[1] > 1:
        if y.shape[1] == outputs and y.min() >= 0 and np.allclose(y.sum(axis=1), 1, atol=1e-3):
            return y.argmax(axis=1)
    elif y.ndim <= 2:
        labels = y.reshape(-1)
        if np.all(labels % 1 == 0) and labels.min() >= 0 and labels.max() < max(outputs, 2):
            return labels.astype("int64")
    raise ValueError(
        f"Received labels of shape {y.shape} from {y.min():g} to {y.max():g} for {outputs} "
        f"output{'s' if outputs > 1 else ''}. Expected whole numbers from 0 to "
        f"{max(outputs, 2) - 1} of shape (n,) or (n, 1)"
        + (f", or one-hot labels of shape (n, {outputs})." if outputs > 1 else ".")
    )


def fits_labels(loss) -> bool:
    """Whether a loss is Keras's word for the cross-entropy that fits the labels it meets."""
    return isinstance(loss, str) and loss.lower() in ("crossentropy", "ce")


def labels_over_time(name: str, y_true, y_pred):
    """The labels, shape (batch,), of outputs over time, or a ValueError.

    Args:
        name: Of what is to measure them.
        y_true: Tensor of integers, shape (batch,) or (batch, 1).
        y_pred: Tensor (batch, time, classes).
    """
    if len(y_pred.shape) != 3 or 0 in y_pred.shape[1:]:
        raise ValueError(
            f"{name} received outputs of shape {tuple(y_pred.shape)}. Expected (batch, time, "
            "classes) with at least one step: a model that gives sequences, such as one built with "
            "return_sequences=True."
        )
    given = ops.cast(ops.convert_to_tensor(y_true), "int32")
    single = len(given.shape) == 2 and given.shape[-1] == 1
    labels = ops.squeeze(given, -1) if single else given
    if len(labels.shape) != 1 or len({labels.shape[0], y_pred.shape[0]} - {None}) > 1:
        raise ValueError(
            f"{name} received labels of shape {tuple(given.shape)} for outputs of shape "
            f"{tuple(y_pred.shape)}. Expected integers of shape (batch,) or (batch, 1)."
        )
    return labels
