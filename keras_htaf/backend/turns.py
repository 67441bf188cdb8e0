"""What loops over time share: masks turn by turn, writing into an array, sums for constants."""

from __future__ import annotations

from contextlib import contextmanager
from contextvars import ContextVar

from keras import ops

_UNROLLED = ContextVar("unrolled", default=False)


@contextmanager
def unrolled():
    """Within the context, a program that is traced holds turn after turn, where it can, no loop.

    Converters to other formats know loops badly or not at all.
    """
    token = _UNROLLED.set(True)
    try:
        yield
    finally:
        _UNROLLED.reset(token)


def wants_unrolled() -> bool:
    """Whether a program is being traced that shall hold no loop."""
    return _UNROLLED.get()


def beside(mask, x):
    """A mask (batch, time) in a shape that broadcasts to x, or None."""
    if mask is None:
        return None
    return ops.reshape(mask, (*ops.shape(mask), *[1] * (len(x.shape) - 2)))


def at(on, t):
    return None if on is None else on[:, t]


def only(x, on):
    """x where a mask is true, else 0."""
    return x if on is None else ops.where(on, x, 0.0)


def leaking(decay, on):
    """What a turn multiplies the state by."""
    return decay if on is None else ops.where(on, decay, 1.0)


def put(x, t, value):
    """x with x[:, t] = value; in place where x is what a loop carries."""
    return ops.slice_update(x, [0, t, *[0] * (len(x.shape) - 2)], ops.expand_dims(value, 1))


def sum_to(gradient, parameter):
    """The sum over the axes along which a number, or one for each neuron, was repeated."""
    return ops.sum(gradient, axis=tuple(range(len(gradient.shape) - len(parameter.shape))))
