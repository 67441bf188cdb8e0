"""The primitives in plain `keras.ops`: the definition that the native versions are tested against.

Everything is written in two numbers in (0, 1/2], which stay accurate where `1 - tanh(z)**2` and
`y * (1 - y)` round to zero:

    q = sigmoid(-2 |beta x|)          so  |tanh(beta x)| = 1 - 2 q,  sech(beta x)^2 = 4 q (1 - q)
    p = sigmoid(-alpha |tanh(beta x)|)     = sigmoid(alpha (2 q - 1))

    htaf   = 1 - p  for x > 0,  p  otherwise
    d/dx   = 4 alpha beta q (1 - q) p (1 - p)
"""

from __future__ import annotations

import contextlib

import keras
from keras import ops

from keras_htaf.backend.turns import beside, only

eager_scope = contextlib.nullcontext


def _parts(x, alpha, beta):
    # Not ops.abs: its derivative at 0 is 0, which makes third derivatives at the threshold wrong.
    q = ops.sigmoid(-2.0 * beta * ops.where(x < 0, -x, x))
    p = ops.sigmoid(alpha * (2.0 * q - 1.0))
    return q, p


def htaf(x, alpha, beta):
    """sigmoid(alpha * tanh(beta * x)), in the dtype of `x`; first derivatives by autodiff."""
    wide = x if ops.dtype(x) == "float64" else ops.cast(x, "float32")
    _, p = _parts(wide, alpha, beta)
    return ops.cast(ops.where(wide > 0, 1.0 - p, p), ops.dtype(x))


htaf_inference = htaf


def htaf_slope(x, alpha, beta):
    """d htaf / dx, accurate in the tail, in the dtype of `x`."""
    wide = x if ops.dtype(x) == "float64" else ops.cast(x, "float32")
    q, p = _parts(wide, alpha, beta)
    return ops.cast((4.0 * alpha * beta) * q * (1.0 - q) * p * (1.0 - p), ops.dtype(x))


def step(x, sharpness, surrogate, forward, gain, scale=1.0):
    """`forward(x, sharpness)`; its gradient, of first order only, is gain * slope."""
    slope = gain * surrogate.derivative(x / scale, sharpness) / scale
    finite = ops.where(ops.isfinite(x), x, ops.zeros_like(x))
    passed = (finite - ops.stop_gradient(finite)) * ops.stop_gradient(slope)
    return ops.stop_gradient(forward(x, sharpness)) + passed


def scan(step, inputs, state, parameters, training=True):
    """A loop over the second axis of `inputs`, turn by turn.

    Args:
        step: Function of (inputs of a turn, state, parameters) that gives (outputs, state). It
            depends on no other tensor that wants a gradient.
        inputs: Dict of tensors (batch, time, ...).
        state: Tuple of tensors; `step` keeps their shapes and dtypes.
        parameters: Any nest of tensors.
        training: Whether it is part of a training step, and gradients will be asked for. It
            selects how the numbers are computed, and not what they are.

    Returns:
        `(outputs, state)`: the tuple of outputs, each (batch, time, ...), and the last state.
    """
    turns = zip(*(ops.unstack(x, axis=1) for x in inputs.values()), strict=True)
    outputs = []
    for turn in turns:
        y, state = step(dict(zip(inputs, turn, strict=True)), state, parameters)
        outputs.append(y)
    return tuple(ops.stack(ys, axis=1) for ys in zip(*outputs, strict=True)), state


def linear_recurrence(x, decay, first, mask=None, trained=True, training=True):
    """v_t = decay v_{t-1} + x_t over time: leaky integrators.

    Args:
        x: Tensor (batch, time, ...).
        decay: Tensor that broadcasts to `first`.
        first: Tensor (batch, ...) of the dtype of `x`: v before the first turn.
        mask: None, or a boolean tensor (batch, time): where it is false, v stays as it is.
        trained: Whether a gradient is wanted for the decay.
        training: As for `scan`.

    Returns:
        v of all turns, of the shape of `x`.
    """
    v, found = first, []
    ons = [None] * x.shape[1] if mask is None else ops.unstack(beside(mask, x), axis=1)
    for now, on in zip(ops.unstack(x, axis=1), ons, strict=True):
        now = decay * v + only(now, on)
        v = now if on is None else ops.where(on, now, v)
        found.append(v)
    return ops.stack(found, axis=1)


def integrate_and_fire(
    neuron, x, state, decay, threshold, sharpness, scale, mask=None, training=True
):
    """Integrate-and-fire neurons over time.

    Args:
        neuron: A `Firing`.
        x: Tensor (batch, time, ...).
        state: Tensor (batch, ...), in whose dtype all is computed; the potential after the reset,
            before it if that comes late.
        decay, threshold: Tensors that broadcast to `state`.
        sharpness, scale: Of the step, as in `step`; without a gradient.
        mask: None, or a boolean tensor (batch, time): where it is false, neurons are silent and
            keep their state.
        training: As for `scan`.

    Returns:
        `(spikes, state)`, the spikes of the shape and dtype of `x`.
    """

    def fire(distance):
        forward = lambda z, _: neuron.fire(z)  # noqa: E731
        return step(distance, sharpness, neuron.surrogate, forward, 1.0, scale)

    held = ops.stop_gradient if neuron.detach else lambda s: s
    ons = [None] * x.shape[1] if mask is None else ops.unstack(beside(mask, x), axis=1)
    spikes = []
    for now, on in zip(ops.unstack(x, axis=1), ons, strict=True):
        now = ops.cast(now, state.dtype)
        s, state = neuron.turn(now, state, decay, threshold, fire, held, on)
        spikes.append(ops.cast(s, x.dtype))
    return ops.stack(spikes, axis=1), state


def gradients(loss, tensors):
    """`keras.ops` cannot differentiate, so this has no portable form."""
    raise NotImplementedError(
        f"Gradients are not available on the Keras backend {keras.config.backend()!r}. Set "
        "KERAS_BACKEND to tensorflow, jax or torch."
    )


def random_state() -> list:
    """None: layers draw from variables, and what else a backend draws from cannot be read."""
    return []


def set_random_state(states: list) -> None:
    """Nothing to set."""
