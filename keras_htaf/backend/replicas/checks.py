"""What the shares of a batch cannot tell of it, refused by the first batch."""

from __future__ import annotations

import keras
import numpy as np
from keras import ops, tree

from keras_htaf.samples import FEW, fits_labels

_MEANS = ("sum_over_batch_size", "mean")


def check(model, batch) -> None:
    """Raises for losses and metrics whose values for shares do not add up to that of the batch.

    Replicas that compute their own share's loss each take the mean of the gradients, so the loss
    must be a plain mean over samples. What `compute_loss` of a model's own does is not known.
    """
    model._symbolic_build(data_batch=tuple(batch))  # makes the states of metrics
    few = tree.map_structure(lambda part: None if part is None else _tensor(part[:FEW]), batch)
    x, y, weights = keras.utils.unpack_x_y_sample_weight(few)
    with keras.StatelessScope():  # which leaves the model's variables as they are
        predicted = model(x, training=False)
    _check_loss(model, y, tree.flatten(predicted))
    _check_metrics(model, x, y, predicted, weights)


def _tensor(part):
    part = ops.convert_to_tensor(part)
    floats = keras.backend.is_float_dtype(part.dtype)
    return ops.cast(part, keras.config.floatx()) if floats else part


def _check_loss(model, y, predicted):
    given = [loss for loss in tree.flatten(model.loss) if loss is not None]
    losses = [keras.losses.get(loss) for loss in given if not fits_labels(loss)]
    for loss in losses:
        reduction = getattr(loss, "reduction", "sum_over_batch_size")
        if isinstance(loss, keras.losses.Loss) and reduction not in _MEANS:
            raise ValueError(
                f"Received a loss {loss.name!r} with reduction={reduction!r}, whose gradients on "
                "shares of a batch are not those of the batch. Expected 'sum_over_batch_size' or "
                "'mean'."
            )
    if any(getattr(output, "_keras_mask", None) is not None for output in predicted):
        raise ValueError(
            f"The output of model {model.name!r} carries a mask, by which each share of a batch "
            "would take the mean over another number of steps. Expected none: mask by "
            "sample_weight, or reduce the masked axis within the model."
        )
    labels = tree.flatten(y)
    if len(losses) == len(labels) == len(predicted) == 1 and labels != [None]:
        (loss,), (label,), (output,) = losses, labels, predicted
        each = loss.call if isinstance(loss, keras.losses.Loss) else loss
        output = ops.convert_to_tensor(output, keras.config.floatx())
        if not len(each(ops.convert_to_tensor(label, output.dtype), output).shape):
            name = getattr(loss, "__name__", type(loss).__name__)
            raise ValueError(
                f"Loss {name!r} returns one number for a batch. Expected one for each sample, of "
                "which the mean is taken over all shares."
            )


def _check_metrics(model, x, y, predicted, weights):
    """Two halves of some samples must count what these count together."""
    half = tree.flatten(x)[0].shape[0] // 2
    if half == 0:
        return

    def counted(rows):
        part = tree.map_structure(
            lambda a: None if a is None else a[rows], (x, y, predicted, weights)
        )
        with keras.StatelessScope() as scope:
            model.reset_metrics()
            model.compute_metrics(*part)
        found = ((scope.get_current_value(v), v) for v in model.metrics_variables)
        values = (old if new is None else new for new, old in found)
        return [np.asarray(ops.convert_to_numpy(value), "float64") for value in values]

    parts = (slice(0, 2 * half), slice(0, half), slice(half, 2 * half))
    for variable, whole, first, second in zip(
        model.metrics_variables, *map(counted, parts), strict=True
    ):
        near = 1e-3 * max(np.max(np.abs(v), initial=0.0) for v in (whole, first, second))
        if not np.allclose(first + second, whole, rtol=0, atol=near, equal_nan=True):
            name = next(
                m.name for m in _flat(model.metrics) if any(variable is v for v in m.variables)
            )
            raise ValueError(
                f"The state {variable.name!r} of metric {name!r} is no sum over the samples: that "
                "of a batch is not what its shares have, added up. Expected one that begins with 0 "
                "and to which each sample adds its own (such as total and count of a mean over "
                "samples). Measure this metric after the training, by model.evaluate on one device."
            )


def _flat(metrics):
    """The metrics, those that hold others opened."""
    for metric in metrics:
        inner = getattr(metric, "metrics", None)
        yield from _flat(inner) if inner else (metric,)
