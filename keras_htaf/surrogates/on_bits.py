"""Slopes that the literature states for a 0/1 step."""

from __future__ import annotations

import math

from keras import ops

from keras_htaf import backend
from keras_htaf.surrogates.base import Surrogate, floating, positive, register


@register
class HTAF(Surrogate):
    """The heavy-tailed slope this package exists for: G(x) = sigmoid(alpha tanh(beta x)).

    g(x) = alpha beta sech(beta x)^2 sigmoid(alpha u) sigmoid(-alpha u) with u = tanh(beta x).
    Peak alpha beta / 4; area tanh(alpha / 2); the tail decays like exp(-2 beta |x|), slower than
    that of the sigmoid with the same peak whenever alpha > 2.

    Args:
        alpha: Positive float, the sharpness. Default 8.
        beta: Positive float, the tail's rate in 1 / units of `x`. Default 0.5.
        normalized: `"peak"`, `"area"` or `None`.

    Example:

    >>> HTAF(alpha=4.0, beta=1.0).peak
    1.0

    Reference: Park et al. (2026), arXiv:2605.11558.
    """

    sharpness_name = "alpha"

    def __init__(self, alpha: float = 8.0, beta: float = 0.5, normalized: str | None = None):
        super().__init__(alpha, normalized)
        self.beta = positive("beta", beta)

    def __call__(self, x, sharpness=None, training=True):
        if self.normalized is not None:
            return super().__call__(x, sharpness, training)
        # The native function shares work between value and slope, and derives alpha as well.
        function = backend.htaf if training else backend.htaf_inference
        x = floating(x)
        return function(x, self._or_own(sharpness, x), self.beta)

    def _odd(self, x, s):
        return backend.htaf_inference(x, s, self.beta) - 0.5

    def _derivative(self, x, s):
        return backend.htaf_slope(x, s, self.beta)

    def _peak(self, s):
        return s * self.beta / 4.0

    def _area(self, s):
        return math.tanh(s / 2.0) if isinstance(s, (int, float)) else ops.tanh(s / 2.0)

    def get_config(self):
        return {**super().get_config(), "beta": self.beta}


@register
class Sigmoid(Surrogate):
    """The logistic step: G(x) = s(a x), g(x) = a s(a x) s(-a x) with s the sigmoid.

    Peak a / 4; area 1.

    Args:
        a: Positive float, the sharpness. Default 4 (peak 1).
        normalized: `"peak"`, `"area"` or `None`.

    Example:

    >>> Sigmoid().peak, Sigmoid(a=8.0).peak
    (1.0, 2.0)

    Reference: Wu et al. (2018), arXiv:1706.02609.
    """

    sharpness_name = "a"

    def __init__(self, a: float = 4.0, normalized: str | None = None):
        super().__init__(a, normalized)

    def _odd(self, x, s):
        return ops.sigmoid(s * x) - 0.5

    def _derivative(self, x, s):
        return s * ops.sigmoid(s * x) * ops.sigmoid(-s * x)

    def _peak(self, s):
        return s / 4.0

    def _area(self, s):
        return 1.0


@register
class ATan(Surrogate):
    """The arctangent step: G(x) = 1/2 + atan(pi a x / 2) / pi, g(x) = (a/2) / (1 + (pi a x / 2)^2).

    Peak a / 2; area 1; the tail decays like 1 / x^2.

    Args:
        a: Positive float, the sharpness. Default 2 (peak 1).
        normalized: `"peak"`, `"area"` or `None`.

    Example:

    >>> ATan().peak, round(float(ATan().derivative(1.0)), 3)
    (1.0, 0.092)

    Reference: Fang et al. (2021), arXiv:2007.05785.
    """

    sharpness_name = "a"

    def __init__(self, a: float = 2.0, normalized: str | None = None):
        super().__init__(a, normalized)

    def _odd(self, x, s):
        return ops.arctan((math.pi / 2.0) * s * x) / math.pi

    def _derivative(self, x, s):
        return (s / 2.0) / (1.0 + ops.square((math.pi / 2.0) * s * x))

    def _peak(self, s):
        return s / 2.0

    def _area(self, s):
        return 1.0


def softsign(x, s):
    """x / (1 + s |x|), which is inf / inf at infinite x unless x is clipped."""
    x = ops.clip(x, -1e30, 1e30)
    return x / (1.0 + s * ops.abs(x))


@register
class FastSigmoid(Surrogate):
    """G(x) = 1/2 + x / (1 + k |x|), g(x) = 1 / (1 + k |x|)^2. Peak 1; area 2 / k.

    Args:
        k: Positive float, the sharpness. Default 25.
        normalized: `"peak"`, `"area"` or `None`.

    Example:

    >>> FastSigmoid(k=1.0).area, float(FastSigmoid(k=1.0).derivative(1.0))
    (2.0, 0.25)

    Reference: Zenke and Ganguli (2018), arXiv:1705.11146.
    """

    sharpness_name = "k"

    def __init__(self, k: float = 25.0, normalized: str | None = None):
        super().__init__(k, normalized)

    def _odd(self, x, s):
        return softsign(x, s)

    def _derivative(self, x, s):
        return 1.0 / ops.square(1.0 + s * ops.abs(x))

    def _peak(self, s):
        return 1.0

    def _area(self, s):
        return 2.0 / s


@register
class SuperSpike(FastSigmoid):
    """`FastSigmoid` under its first name and with its first default: g(x) = 1 / (1 + b |x|)^2.

    Args:
        b: Positive float, the sharpness. Default 100.
        normalized: `"peak"`, `"area"` or `None`.

    Example:

    >>> SuperSpike().area
    0.02

    Reference: Zenke and Ganguli (2018), arXiv:1705.11146.
    """

    sharpness_name = "b"

    def __init__(self, b: float = 100.0, normalized: str | None = None):
        super().__init__(b, normalized)


@register
class SoftSign(Surrogate):
    """G(x) = 1/2 + (a x / 2) / (1 + a |x|), g(x) = 1 / (2 a (1/a + |x|)^2). Peak a / 2; area 1.

    Args:
        a: Positive float, the sharpness. Default 2 (peak 1).
        normalized: `"peak"`, `"area"` or `None`.

    Example:

    >>> SoftSign(a=2.0).peak, SoftSign(a=2.0).area
    (1.0, 1.0)

    Reference: Zenke and Ganguli (2018), arXiv:1705.11146, but for the factor.
    """

    sharpness_name = "a"

    def __init__(self, a: float = 2.0, normalized: str | None = None):
        super().__init__(a, normalized)

    def _odd(self, x, s):
        return (s / 2.0) * softsign(x, s)

    def _derivative(self, x, s):
        return (s / 2.0) / ops.square(1.0 + s * ops.abs(x))

    def _peak(self, s):
        return s / 2.0

    def _area(self, s):
        return 1.0


@register
class Erf(Surrogate):
    """The Gaussian slope: G(x) = (1 + erf(a x)) / 2, g(x) = (a / sqrt(pi)) exp(-a^2 x^2).

    Peak a / sqrt(pi); area 1.

    Args:
        a: Positive float, the sharpness. Default 2.
        normalized: `"peak"`, `"area"` or `None`.

    Example:

    >>> round(Erf().peak, 3)
    1.128

    Reference: Wu et al. (2018), arXiv:1706.02609.
    """

    sharpness_name = "a"

    def __init__(self, a: float = 2.0, normalized: str | None = None):
        super().__init__(a, normalized)

    def _odd(self, x, s):
        return 0.5 * ops.erf(s * x)

    def _derivative(self, x, s):
        return (s / math.sqrt(math.pi)) * ops.exp(-ops.square(s * x))

    def _peak(self, s):
        return s / math.sqrt(math.pi)

    def _area(self, s):
        return 1.0


@register
class Triangle(Surrogate):
    """g(x) = s max(0, 1 - s |x|), zero beyond |x| = 1 / s. Peak s; area 1.

    Args:
        s: Positive float, the sharpness, 1 / half-width. Default 1.
        normalized: `"peak"`, `"area"` or `None`.

    Example:

    >>> [float(g) for g in Triangle().derivative([-2.0, -0.5, 0.0])]
    [0.0, 0.5, 1.0]

    Reference: Bellec et al. (2018), arXiv:1803.09574.
    """

    sharpness_name = "s"

    def __init__(self, s: float = 1.0, normalized: str | None = None):
        super().__init__(s, normalized)

    def _odd(self, x, s):
        z = ops.clip(s * x, -1.0, 1.0)
        return z * (1.0 - 0.5 * ops.abs(z))

    def _derivative(self, x, s):
        return s * ops.relu(1.0 - s * ops.abs(x))

    def _peak(self, s):
        return s

    def _area(self, s):
        return 1.0

    def _support(self, s):
        return 1.0 / s
