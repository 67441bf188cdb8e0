"""Slopes that the literature states for a -1/+1 step (its rise is 2)."""

from __future__ import annotations

import math

from keras import ops

from keras_htaf.surrogates.base import Surrogate, positive, register, sech2


@register
class Rectangle(Surrogate):
    """The straight-through estimator: g(x) = 1 where |x| <= clip (edges included), else 0.

    Its smooth -1/+1 step is the clipped identity. Peak 1; area 2 clip. The sharpness that a
    callback anneals is 1 / clip.

    Args:
        clip: Positive float; `None` passes every gradient through (infinite area). Default 1.
        normalized: `"peak"`, `"area"` or `None`.

    Example:

    >>> [float(g) for g in Rectangle().derivative([-2.0, -1.0, 0.5])]
    [0.0, 1.0, 1.0]

    Reference: Courbariaux et al. (2016), arXiv:1602.02830.
    """

    on_sign = True

    def __init__(self, clip: float | None = 1.0, normalized: str | None = None):
        if clip is None and normalized == "area":
            raise ValueError(
                "Received clip=None with normalized='area', but an unclipped slope has infinite "
                "area. Give a clip, or use normalized=None."
            )
        self.clip = None if clip is None else positive("clip", clip)
        super().__init__(1.0 if self.clip is None else 1.0 / self.clip, normalized)

    def _edge(self, s):
        return math.inf if self.clip is None else 1.0 / s

    def _odd(self, x, s):
        return ops.clip(x, -self._edge(s), self._edge(s))

    def _derivative(self, x, s):
        inside = ops.cast(ops.abs(x) <= self._edge(s), x.dtype)
        return ops.where(ops.isnan(x), x, inside)

    def _peak(self, s):
        return 1.0

    def _area(self, s):
        return 2.0 * self._edge(s)

    def _support(self, s):
        return self._edge(s)

    def get_config(self):
        return {"clip": self.clip, "normalized": self.normalized}


@register
class ApproxSign(Surrogate):
    """Bi-Real Net's slope for the sign: g(x) = s (2 - 2 s |x|) where s |x| <= 1, else 0.

    Peak 2 s; area 2 (stated for a -1/+1 step).

    Args:
        s: Positive float, the sharpness, 1 / half-width. Default 1.
        normalized: `"peak"`, `"area"` or `None`.

    Example:

    >>> [float(g) for g in ApproxSign().derivative([-2.0, -0.5, 0.0])]
    [0.0, 1.0, 2.0]

    Reference: Liu et al. (2018), arXiv:1808.00278.
    """

    sharpness_name = "s"
    on_sign = True

    def __init__(self, s: float = 1.0, normalized: str | None = None):
        super().__init__(s, normalized)

    def _odd(self, x, s):
        z = ops.clip(s * x, -1.0, 1.0)
        return z * (2.0 - ops.abs(z))

    def _derivative(self, x, s):
        return 2.0 * s * ops.relu(1.0 - s * ops.abs(x))

    def _peak(self, s):
        return 2.0 * s

    def _area(self, s):
        return 2.0

    def _support(self, s):
        return 1.0 / s


@register
class SwishSign(Surrogate):
    """BNN+'s slope for the sign: g(x) = b (2 - b x tanh(b x / 2)) / (1 + cosh(b x)).

    Smooth -1/+1 step 2 s(b x) (1 + b x s(-b x)) - 1 with s the sigmoid. Peak b; area 2 (stated for
    a -1/+1 step); g is negative beyond |b x| of about 2.4.

    Args:
        b: Positive float, the sharpness. Default 5.
        normalized: `"peak"`, `"area"` or `None`.

    Example:

    >>> SwishSign().peak, float(SwishSign().derivative(1.0)) < 0
    (5.0, True)

    Reference: Darabi et al. (2018), arXiv:1812.11800.
    """

    sharpness_name = "b"
    on_sign = True

    def __init__(self, b: float = 5.0, normalized: str | None = None):
        super().__init__(b, normalized)

    def _odd(self, x, s):
        z = ops.clip(s * x, -200.0, 200.0)  # 0 in float32 beyond; inf * 0 would be NaN
        return ops.tanh(0.5 * z) + 0.5 * z * sech2(0.5 * z)

    def _derivative(self, x, s):
        z = ops.clip(s * x, -200.0, 200.0)
        return 0.5 * s * sech2(0.5 * z) * (2.0 - z * ops.tanh(0.5 * z))

    def _peak(self, s):
        return s

    def _area(self, s):
        return 2.0


@register
class EDE(Surrogate):
    """IR-Net's error decay estimator: g(x) = k t (1 - tanh(t x)^2), to be annealed in t.

    Smooth -1/+1 step k tanh(t x). Peak k t; area 2 k. `k` is max(1 / t, 1): the identity while
    t is small, a sharp step when it is large.

    Args:
        t: Positive float, the sharpness; IR-Net anneals it from 0.1 to 10. Default 1.
        normalized: `"peak"`, `"area"` or `None`.

    Example:

    >>> [EDE(t).peak for t in (0.1, 1.0, 10.0)]
    [1.0, 1.0, 10.0]

    Reference: Qin et al. (2020), arXiv:1909.10788.
    """

    sharpness_name = "t"
    on_sign = True

    def __init__(self, t: float = 1.0, normalized: str | None = None):
        super().__init__(t, normalized)

    def _k(self, s):
        return max(1.0 / s, 1.0) if isinstance(s, (int, float)) else 1.0 + ops.relu(1.0 / s - 1.0)

    def _odd(self, x, s):
        return self._k(s) * ops.tanh(s * x)

    def _derivative(self, x, s):
        return self._k(s) * s * sech2(s * x)

    def _peak(self, s):
        return self._k(s) * s

    def _area(self, s):
        return 2.0 * self._k(s)
