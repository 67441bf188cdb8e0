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
        return repeated(ops.cast(inputs, self.compute_dtype), self.num_steps)

    def compute_output_shape(self, input_shape):
        return (input_shape[0], self.num_steps, *input_shape[1:])

    def get_config(self):
        return {**super().get_config(), "num_steps": self.num_steps}


@_register
class ReduceTime(keras.layers.Layer):
    """What the steps come to: their sum, mean, maximum or last, for (batch, time, ...).

    Of spikes the sum is the count and the mean the rate. Steps that a mask takes out do not count;
    a sequence without any gives 0. Sums and states are float32 under every dtype policy (float64 if
    it is that), since counts in half precision stop growing.

    Args:
        reduction: `"sum"`, `"mean"` (default), `"max"` or `"last"`.
        return_state: Whether to give what a later call needs to go on, too. Default False.
        **kwargs: Of `keras.layers.Layer`.

    Call arguments:
        inputs: Shape (batch, time, ...).
        initial_state: List of the tensors that an earlier call returned, for the steps before.
        mask: Shape (batch, time), true for the steps that count.

    Returns:
        Shape (batch, ...); with `return_state` a tuple of it and the state: the value so far, and
        for `"mean"` and `"last"` the number of steps, shape (batch,).

    Raises:
        ValueError: If the reduction is unknown, the inputs have no time axis, or a mask or a state
            has another shape.

    Example:

    >>> [float(c) for c in ReduceTime("sum")(np.array([[[1.0, 0.0], [1.0, 1.0]]]))[0]]
    [2.0, 1.0]
    """

    def __init__(self, reduction: str = "mean", return_state: bool = False, **kwargs):
        super().__init__(**kwargs)
        if reduction not in _REDUCTIONS:
            raise ValueError(f"Received reduction={reduction!r}. Expected one of {_REDUCTIONS}.")
        self.reduction = reduction
        self.return_state = return_state
        self.autocast = False  # of initial states
        self.supports_masking = True

    @property
    def state_dtype(self) -> str:
        """Float32 at least: a count in bfloat16 would stop at 256."""
        return keras.backend.result_type(self.compute_dtype, "float32")

    @property
    def state_names(self) -> tuple[str, ...]:
        """What the tensors of the state are, in their order."""
        return ("value", "steps") if self.reduction in ("mean", "last") else ("value",)

    def first_state(self, like) -> tuple:
        """The state before the first step, for values of the shape of `like`."""
        start = -float("inf") if self.reduction == "max" else 0.0
        value = ops.full_like(like, start, dtype=self.state_dtype)
        return (value, ops.zeros(ops.shape(like)[:1], self.state_dtype))[: len(self.state_names)]

    def build(self, input_shape):
        check_time(self, input_shape)

    def call(self, inputs, initial_state=None, mask=None):
        check_time(self, inputs.shape)
        value, steps = self._reduced(ops.cast(inputs, self.state_dtype), mask)
        if initial_state is not None:
            value, steps = self._joined(initial_state, value, steps)
        state = (value, steps)[: len(self.state_names)]
        if self.reduction == "mean":
            value = value / ops.maximum(_beside(steps, value), 1)
        elif self.reduction == "max":
            value = ops.where(value == -float("inf"), ops.zeros_like(value), value)
        value = ops.cast(value, self.compute_dtype)
        return (value, *state) if self.return_state else value

    def _reduced(self, x, mask):
        """What the steps of `x` alone come to, a mean before its division, and how many count."""
        mask = ops.ones(ops.shape(x)[:2], "bool") if mask is None else checked_mask(self, mask, x)
        steps = ops.sum(ops.cast(mask, x.dtype), axis=1)
        if self.reduction == "last":  # the only valid step that has none after it
            so_far = ops.cumsum(ops.cast(mask, "int32"), axis=1)
            mask = ops.logical_and(mask, so_far == ops.max(so_far, axis=1, keepdims=True))
        mask = ops.reshape(mask, (*ops.shape(mask), *(1,) * (len(x.shape) - 2)))
        if self.reduction == "max":
            return ops.max(ops.where(mask, x, ops.full_like(x, -float("inf"))), axis=1), steps
        return ops.sum(ops.where(mask, x, ops.zeros_like(x)), axis=1), steps

    def _joined(self, before, value, steps):
        shapes = [tuple(v.shape) for v in (value, steps)[: len(self.state_names)]]
        before = [ops.cast(v, self.state_dtype) for v in checked_state(self, before, shapes)]
        total = before[1] + steps if len(self.state_names) == 2 else steps
        if self.reduction == "max":
            return ops.maximum(before[0], value), total
        if self.reduction == "last":
            return ops.where(_beside(steps, value) > 0, value, before[0]), total
        return before[0] + value, total

    def compute_mask(self, inputs, mask=None):
        return None

    def compute_output_shape(self, input_shape):
        value = (input_shape[0], *input_shape[2:])
        if not self.return_state:
            return value
        return (value, *(value, (input_shape[0],))[: len(self.state_names)])

    def compute_output_spec(self, inputs, initial_state=None, mask=None):
        shapes = self.compute_output_shape(inputs.shape)
        if not self.return_state:
            return keras.KerasTensor(shapes, dtype=self.compute_dtype)
        value = keras.KerasTensor(shapes[0], dtype=self.compute_dtype)
        return (value, *(keras.KerasTensor(s, dtype=self.state_dtype) for s in shapes[1:]))

    def get_config(self):
        config = {"reduction": self.reduction, "return_state": self.return_state}
        return {**super().get_config(), **config}


def _beside(steps, value):
    """A number for each sample, in a shape that broadcasts to `value`."""
    return ops.reshape(steps, (-1, *(1,) * (len(value.shape) - 1)))


def repeated(x, num_steps: int):
    """`x` of shape (batch, ...) at each of the steps, (batch, num_steps, ...)."""
    return ops.repeat(ops.expand_dims(x, 1), num_steps, axis=1)


def held(x, mask):
    """`x` with its masked steps as the last before them that is not.

    Args:
        x: Shape (batch, 1 + time, ...), beginning with what comes before the first step.
        mask: Shape (batch, time).
    """
    on = ops.pad(ops.cast(mask, "int32"), ((0, 0), (1, 0)))
    step, count = ops.cumsum(ops.ones_like(on), axis=1) - 1, ops.cumsum(on, axis=1)
    # Sorted: zeros, then the steps that are not masked. Not `associative_scan`, which TensorFlow
    # takes most of a minute to trace where the number of steps is not known.
    place = ops.sort(on * step, axis=1)
    place = ops.take_along_axis(place, count - count[:, -1:] - 1, axis=1)
    place = ops.reshape(place, (*ops.shape(place), *(1,) * (len(x.shape) - 2)))
    return ops.take_along_axis(x, place, axis=1)


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


def checked_mask(layer, mask, x):
    """A mask of the inputs `x` as booleans; a ValueError unless it has their batch and time."""
    mask = ops.convert_to_tensor(mask)
    if not agree(mask.shape, x.shape[:2]):
        raise ValueError(
            f"Layer {layer.name!r} received a mask of shape {tuple(mask.shape)} with inputs of "
            f"shape {tuple(x.shape)}. Expected (batch, time), {tuple(x.shape[:2])}."
        )
    return ops.cast(mask, "bool")


def checked_state(layer, given, shapes) -> tuple:
    """The tensors of an initial state; a ValueError unless they are of the shapes."""
    given = given if isinstance(given, (list, tuple)) else (given,)
    symbolic = lambda state: isinstance(state, keras.KerasTensor)  # noqa: E731
    given = tuple(s if symbolic(s) else ops.convert_to_tensor(s) for s in given)
    found = [tuple(state.shape) for state in given]
    if len(found) != len(shapes) or not all(map(agree, found, shapes)):
        raise ValueError(
            f"Layer {layer.name!r} received an initial_state of shapes {found}. Expected "
            f"{len(shapes)} ({', '.join(layer.state_names)}), of shapes {list(shapes)}."
        )
    return given


def agree(shape, expected) -> bool:
    """Whether two shapes may be the same."""
    return len(shape) == len(expected) and all(
        None in (a, b) or a == b for a, b in zip(shape, expected, strict=True)
    )
