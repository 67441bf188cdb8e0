"""HTAF and the exact steps, on arrays, tensors and symbolic Keras tensors."""

from __future__ import annotations

import keras
import numpy as np
from keras import ops

from keras_htaf import backend, surrogates
from keras_htaf.surrogates.base import floating, in_precision_of, positive

_register = keras.saving.register_keras_serializable(package="keras_htaf")


def bits(x, sharpness=None):
    """1 where x > 0, else 0, whatever the sharpness; NaN stays NaN. No gradient."""
    return ops.where(ops.isnan(x), x, ops.cast(x > 0, x.dtype))


def signs(x, sharpness=None):
    """+1 where x >= 0, else -1, whatever the sharpness; NaN stays NaN. No gradient."""
    return ops.where(ops.isnan(x), x, 2.0 * ops.cast(x >= 0, x.dtype) - 1.0)


def _checked(name, value, x):
    """A positive number as a float; an array or variable in the dtype that `x` is computed in."""
    if isinstance(value, np.ndarray) and value.ndim:
        if not np.all((value > 0) & np.isfinite(value)):
            raise ValueError(f"Received {name}={value!r}. Expected positive finite numbers.")
    elif isinstance(value, (np.ndarray, np.generic)) or not hasattr(value, "shape"):
        return positive(name, value)
    return in_precision_of(x, value)


class StepNode(keras.Operation):
    """A shape-preserving node of a functional model, smooth or hard for good."""

    forward_mode = "hard"

    def compute_output_spec(self, x, *args, **kwargs):
        floats = keras.backend.is_float_dtype(x.dtype)
        return keras.KerasTensor(x.shape, dtype=x.dtype if floats else keras.config.floatx())


@_register
class _HTAF(StepNode):
    forward_mode = "smooth"

    def compute_output_spec(self, x, alpha, beta):
        spec = super().compute_output_spec(x)
        shape = spec.shape
        for parameter in (alpha, beta):
            other = keras.KerasTensor(tuple(getattr(parameter, "shape", ())))
            shape = (keras.KerasTensor(shape) + other).shape
        return keras.KerasTensor(shape, dtype=spec.dtype)

    def call(self, x, alpha, beta):
        return htaf(x, alpha, beta)


@_register
class _Heaviside(StepNode):
    def call(self, x, surrogate):
        return heaviside(x, surrogate)


@_register
class _Sign(StepNode):
    def call(self, x, surrogate):
        return sign(x, surrogate)


@_register
def htaf(x, alpha=8.0, beta=0.5):
    """The heavy-tailed activation: a smooth 0/1 step, sigmoid(alpha * tanh(beta * x)).

    Its gradient is computed in closed form,

        d/dx     = alpha beta sech(beta x)^2 s(alpha u) s(-alpha u)
        d/dalpha = u s(alpha u) s(-alpha u)
        d/dbeta  = alpha x sech(beta x)^2 s(alpha u) s(-alpha u)

    with u = tanh(beta x) and s the sigmoid, and keeps its relative accuracy in the tail, where
    automatic differentiation of the composition gives exactly 0 (in float32 from |beta x| of 8 to
    9.5, depending on the backend, in bfloat16 from 3.5). Half-precision inputs are computed in
    float32 and rounded once.

    Args:
        x: Float tensor of any shape (or what converts to one).
        alpha: Positive sharpness; a number, or a tensor that broadcasts against `x`, such as one
            of shape (channels,). Default 8.
        beta: Positive rate of the tail, in 1 / units of `x`; as `alpha`. Default 0.5.

    Returns:
        Tensor of the dtype of `x` and the shape of `x` broadcast against the parameters, in
        [s(-alpha), s(alpha)]; NaN where `x` is NaN.

    Raises:
        ValueError: If `alpha` or `beta` is a number that is not positive and finite.

    Example:

    >>> float(htaf(0.0))
    0.5

    Reference: Park et al. (2026), arXiv:2605.11558; the parametrisation is this package's.
    """
    symbolic = isinstance(x, keras.KerasTensor)
    x = x if symbolic else floating(x)
    alpha, beta = _checked("alpha", alpha, x), _checked("beta", beta, x)
    return _HTAF().symbolic_call(x, alpha, beta) if symbolic else backend.htaf(x, alpha, beta)


@_register
def heaviside(x, surrogate="htaf"):
    """The exact step: 1 where x > 0, else 0 (a tie at 0 gives 0), trained through a surrogate.

    Backwards, and in every higher derivative, it is `surrogate.derivative(x)`.

    Args:
        x: Float tensor of any shape, pre-activation minus threshold.
        surrogate: A `keras_htaf.surrogates` object or name. Default `"htaf"`.

    Returns:
        Tensor of the shape and dtype of `x` that holds exact zeros and ones; NaN where `x` is NaN.

    Example:

    >>> [float(v) for v in heaviside([-1.0, 0.0, 2.0])]
    [0.0, 0.0, 1.0]

    Reference: Neftci, Mostafa and Zenke (2019), arXiv:1901.09948.
    """
    surrogate = surrogates.get(surrogate)
    if isinstance(x, keras.KerasTensor):
        return _Heaviside().symbolic_call(x, surrogate)
    return backend.step(floating(x), surrogate.sharpness, surrogate, bits, 1.0)


@_register
def sign(x, surrogate="htaf"):
    """The exact sign: +1 where x >= 0, else -1 (both zeros give +1), trained through a surrogate.

    Backwards it is `surrogate.sign_gain * surrogate.derivative(x)`: a sign rises by 2 where a bit
    rises by 1, so its slope is twice the bit's, except for surrogates that the literature states
    for the sign itself (`Rectangle`, `ApproxSign`, `SwishSign`, `EDE`).

    Args:
        x: Float tensor of any shape, pre-activation minus threshold.
        surrogate: A `keras_htaf.surrogates` object or name. Default `"htaf"`.

    Returns:
        Tensor of the shape and dtype of `x` that holds exact -1 and +1; NaN where `x` is NaN.

    Example:

    >>> [float(v) for v in sign([-1.0, 0.0, 2.0])]
    [-1.0, 1.0, 1.0]

    Reference: Hubara et al. (2016), arXiv:1602.02830, with the straight-through slope.
    """
    surrogate = surrogates.get(surrogate)
    if isinstance(x, keras.KerasTensor):
        return _Sign().symbolic_call(x, surrogate)
    gain = surrogate.sign_gain
    return backend.step(floating(x), surrogate.sharpness, surrogate, signs, gain)


FUNCTIONS = {htaf: "smooth", heaviside: "hard", sign: "hard"}
"""The forward mode of each function, for those who find one as a layer's activation."""
