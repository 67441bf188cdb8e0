"""Making a time axis and taking it away."""

from __future__ import annotations

from numbers import Integral

import keras
from keras import ops

_register = keras.saving.register_keras_serializable(package="keras_htaf")
_REDUCTIONS = ("sum", "mean", "max", "last")


@_register
class RepeatTime(keras.layers.Layer):
    """Direct coding: the same input at each of T steps, x_t = x.

    The first neurons, behind a trained map, turn it into spikes. What precedes the neurons and has
    no memory may as well be computed before the repetition, once.

    Args:
        num_steps: Positive integer T.
        **kwargs: Of `keras.layers.Layer`.

    Call arguments:
        inputs: Shape (batch, ...).

    Returns:
        Shape (batch, T, ...).

    Raises:
        ValueError: If `num_steps` is no positive integer.

    Example:

    >>> RepeatTime(3)(np.ones((2, 5))).shape == (2, 3, 5)
    True
    """

    def __init__(self, num_steps: int, **kwargs):
        super().__init__(**kwargs)
        self.num_steps = check_steps(num_steps)

    def build(self, input_shape):
        pass

    def call(self, inputs):
        return repeated(inputs, self.num_steps)

    def compute_output_shape(self, input_shape):
        return (input_shape[0], self.num_steps, *input_shape[1:])

    def get_config(self):
        return {**super().get_config(), "num_steps": self.num_steps}


@_register
class ReduceTime(keras.layers.Layer):
    """What the steps come to: their sum, mean, maximum or last, for (batch, time, ...).

    Of spikes the sum is the count and the mean the rate. Steps that a mask takes out do not count;
    a sequence without any gives 0.

    Args:
        reduction: `"sum"`, `"mean"` (default), `"max"` or `"last"`.
        **kwargs: Of `keras.layers.Layer`.

    Call arguments:
        inputs: Shape (batch, time, ...).
        mask: Shape (batch, time), true for the steps that count.

    Returns:
        Shape (batch, ...).

    Raises:
        ValueError: If the reduction is unknown, or the inputs have no time axis.

    Example:

    >>> [float(c) for c in ReduceTime("sum")(np.array([[[1.0, 0.0], [1.0, 1.0]]]))[0]]
    [2.0, 1.0]
    """

    def __init__(self, reduction: str = "mean", **kwargs):
        super().__init__(**kwargs)
        if reduction not in _REDUCTIONS:
            raise ValueError(f"Received reduction={reduction!r}. Expected one of {_REDUCTIONS}.")
        self.reduction = reduction
        self.supports_masking = True

    def build(self, input_shape):
        check_time(self, input_shape)

    def call(self, inputs, mask=None):
        if mask is None:
            return _PLAIN[self.reduction](inputs)
        mask = ops.cast(mask, "bool")
        broad = ops.reshape(mask, (*ops.shape(mask), *(1,) * (len(inputs.shape) - 2)))
        any_step = ops.any(broad, axis=1)
        if self.reduction == "max":
            least = ops.cast(-float("inf"), inputs.dtype)
            largest = ops.max(ops.where(broad, inputs, least), axis=1)
            return ops.where(any_step, largest, ops.zeros_like(largest))
        if self.reduction == "last":  # the only valid step that has none after it
            later = ops.cumsum(ops.cast(broad, "int32"), axis=1)
            broad = ops.logical_and(broad, later == ops.max(later, axis=1, keepdims=True))
        total = ops.sum(ops.where(broad, inputs, ops.zeros_like(inputs)), axis=1)
        if self.reduction != "mean":
            return total
        return total / ops.maximum(ops.sum(ops.cast(broad, total.dtype), axis=1), 1)

    def compute_mask(self, inputs, mask=None):
        return None

    def compute_output_shape(self, input_shape):
        return (input_shape[0], *input_shape[2:])

    def get_config(self):
        return {**super().get_config(), "reduction": self.reduction}


_PLAIN = {
    "sum": lambda x: ops.sum(x, axis=1),
    "mean": lambda x: ops.mean(x, axis=1),
    "max": lambda x: ops.max(x, axis=1),
    "last": lambda x: x[:, -1],
}


def repeated(x, num_steps: int):
    """`x` of shape (batch, ...) at each of the steps, (batch, num_steps, ...)."""
    return ops.repeat(ops.expand_dims(x, 1), num_steps, axis=1)


def check_steps(num_steps) -> int:
    """A positive integer, or a ValueError."""
    if isinstance(num_steps, bool) or not isinstance(num_steps, Integral) or num_steps < 1:
        raise ValueError(
            f"Received num_steps={num_steps!r}. Expected a positive integer, the number of steps."
        )
    return int(num_steps)


def check_time(layer, input_shape) -> None:
    """Raise a ValueError unless the shape is (batch, time, ...) with at least one step."""
    if len(input_shape) < 2 or input_shape[1] == 0:
        raise ValueError(
            f"Layer {layer.name!r} received an input of shape {tuple(input_shape)}. Expected "
            "(batch, time, ...) with at least one step."
        )
