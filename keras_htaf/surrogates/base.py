"""What all slopes share: normalisation, precision, configuration."""

from __future__ import annotations

import math

import keras
import numpy as np
from keras import ops

from keras_htaf import backend

_NORMALIZATIONS = (None, "peak", "area")
SHARPNESSES = (1e-6, 1e6)
"""From the smallest to the largest that a slope can be annealed to and remain one in float32."""


class Surrogate:
    """Base of all slopes; subclasses give the four formulas, this class the rest.

    Args:
        sharpness: Positive float, the parameter a callback may anneal.
        normalized: `"peak"`, `"area"` or `None` (the formula as it stands in the literature).

    Raises:
        ValueError: If the sharpness is not a positive finite number, or `normalized` is unknown.

    Example:

    >>> @keras.saving.register_keras_serializable("mine")
    ... class Parabola(Surrogate):
    ...     def __init__(self, sharpness=1.0, normalized=None):
    ...         super().__init__(sharpness, normalized)
    ...     def _odd(self, x, s):
    ...         z = keras.ops.clip(s * x, -1.0, 1.0)
    ...         return 0.75 * z - 0.25 * z**3
    ...     def _derivative(self, x, s):
    ...         return 0.75 * s * keras.ops.relu(1.0 - (s * x) ** 2)
    ...     def _peak(self, s):
    ...         return 0.75 * s
    ...     def _area(self, s):
    ...         return 1.0
    >>> keras_htaf.layers.Heaviside(Parabola(2.0)).surrogate.peak
    1.5

    Reference: Neftci, Mostafa and Zenke (2019), arXiv:1901.09948.
    """

    sharpness_name = "sharpness"
    on_sign = False
    """Whether the formula is stated for a -1/+1 step, whose rise is 2, rather than for a bit."""

    def __init__(self, sharpness: float, normalized: str | None = None):
        if normalized not in _NORMALIZATIONS:
            raise ValueError(
                f"Received normalized={normalized!r}. Expected one of {_NORMALIZATIONS}."
            )
        self.sharpness = positive(self.sharpness_name, sharpness)
        self.normalized = normalized

    # The formulas, as functions of the sharpness s: odd part of G, its derivative, peak, area and
    # the half-width of the support, which few slopes have.
    def _odd(self, x, s):
        raise NotImplementedError

    def _derivative(self, x, s):
        raise NotImplementedError

    def _peak(self, s):
        raise NotImplementedError

    def _area(self, s):
        raise NotImplementedError

    def _support(self, s):
        return math.inf

    def _scale(self, s):
        if self.normalized == "peak":
            return 1.0 / self._peak(s)
        if self.normalized == "area":
            return 1.0 / self._area(s)
        return 1.0

    def smooth(self, x, sharpness=None):
        """G(x), the smooth step whose derivative is `derivative`; G(0) = 1/2.

        Args:
            x: Float tensor, pre-activation minus threshold.
            sharpness: Number or tensor that broadcasts to `x`; default: the surrogate's own.

        Returns:
            Tensor of `x`'s shape and dtype.
        """
        x = floating(x)
        return _wide(
            lambda z, s: 0.5 + self._scale(s) * self._odd(z, s), x, self._or_own(sharpness, x)
        )

    def derivative(self, x, sharpness=None):
        """g(x), what a hard step passes backwards. Arguments and result as for `smooth`."""
        x = floating(x)
        return _wide(
            lambda z, s: self._scale(s) * self._derivative(z, s), x, self._or_own(sharpness, x)
        )

    def __call__(self, x, sharpness=None, training=True):
        """G(x), differentiated with exactly g on every backend (edges and tails included).

        `training=False` gives the same numbers, to rounding, in operations that every exporter
        knows.
        """
        x = floating(x)
        return backend.step(x, self._or_own(sharpness, x), self, self.smooth, 1.0)

    @property
    def peak(self) -> float:
        """g(0) at the surrogate's own sharpness, after normalisation."""
        return float(self._peak(self.sharpness) * self._scale(self.sharpness))

    @property
    def area(self) -> float:
        """The integral of g at the surrogate's own sharpness, after normalisation."""
        return float(self._area(self.sharpness) * self._scale(self.sharpness))

    def sharpness_for(self, peak: float) -> float:
        """The sharpness at which g(0) is `peak`: slopes of other shapes are compared at one peak.

        A sharpness is in units of its own formula (HTAF's alpha 16 and Sigmoid's a = 8 have the
        peak 2, Triangle's s = 16 has 16), a peak is in those of the step.

        Args:
            peak: Positive float, after normalisation.

        Returns:
            A float; where several sharpnesses have the peak, the largest.

        Raises:
            ValueError: If no sharpness from 1e-6 to 1e6 has the peak. That of `FastSigmoid`,
                `SuperSpike` and `Rectangle`, and of all with `normalized="peak"`, is 1 at any; with
                `normalized="area"` it follows the sharpness.

        Example:

        >>> slopes = [keras_htaf.surrogates.get(name) for name in ("htaf", "sigmoid", "triangle")]
        >>> [round(slope.sharpness_for(2.0), 6) for slope in slopes]
        [16.0, 8.0, 2.0]
        """
        peak, (low, high) = positive("peak", peak), SHARPNESSES

        def peak_at(sharpness):
            return self._peak(sharpness) * self._scale(sharpness)

        least, most = peak_at(low), peak_at(high)
        if math.isclose(least, most):
            raise ValueError(
                f"Received peak={peak!r}, but the peak of {self!r} is {most:g} at every sharpness. "
                "Expected a slope whose peak follows its sharpness: give it normalized='area'."
            )
        if not least * (1 - 1e-6) <= peak <= most * (1 + 1e-6):
            raise ValueError(
                f"Received peak={peak!r}. Expected {least:.3g} to {most:.3g}, what {self!r} has at "
                f"sharpnesses from {low:g} to {high:g}."
            )
        for _ in range(64):  # all peaks rise with the sharpness, or stay
            middle = math.sqrt(low * high)
            low, high = (middle, high) if peak_at(middle) <= peak else (low, middle)
        return low

    @property
    def support(self) -> float:
        """Half-width of the interval outside which g is exactly 0, at the own sharpness."""
        return self._support(self.sharpness)

    @property
    def reach(self) -> float:
        """Largest size of a latent weight that g still moves, to which it is to be clipped.

        The `support`, but 19/20 of it where g falls to 0 at its very end, as a triangle does: there
        a twentieth of its peak is left.
        """
        return self.reach_at(self.sharpness)

    def reach_at(self, sharpness: float) -> float:
        """The `reach` at another sharpness, such as the last of an annealing."""
        support = self._support(positive("sharpness", sharpness))
        if math.isinf(support):
            return math.inf
        at_end = float(ops.convert_to_numpy(self.derivative(np.float32(support), sharpness)))
        peak = self._peak(sharpness) * self._scale(sharpness)
        return support if at_end > 1e-3 * peak else 0.95 * support

    def width(self, share: float = 0.5, sharpness: float | None = None) -> float:
        """Half-width d of the interval [-d, d] that holds `share` of the slope's area.

        Args:
            share: Above 0 and below 1. Default 0.5.
            sharpness: Number; default: the surrogate's own.

        Returns:
            A float in units of the input; infinite for a slope of infinite area.

        Raises:
            ValueError: If `share` is out of range.

        Example:

        >>> round(keras_htaf.surrogates.Triangle().width(0.75), 4)
        0.5
        """
        if not 0 < share < 1:
            raise ValueError(f"Received share={share!r}. Expected a number above 0 and below 1.")
        s = self.sharpness if sharpness is None else positive("sharpness", sharpness)
        held = share * self._area(s) / 2.0
        if not math.isfinite(held):
            return math.inf
        # Widths differ by orders of magnitude between slopes and sharpnesses: a fine grid of ratios
        # for the first crossing (SwishSign is not monotonic), then interpolation within its cell.
        d = np.append(0.0, np.geomspace(1e-6, 1e6, 8001)) * (self._area(s) / self._peak(s))
        area = ops.convert_to_numpy(self._odd(ops.convert_to_tensor(d, "float32"), s))
        held = min(held, area.max())  # of which the last digits may be lost
        i = int(np.argmax(area >= held))
        return float(np.interp(held, area[i - 1 : i + 1], d[i - 1 : i + 1]))

    @property
    def sign_gain(self) -> float:
        """What a -1/+1 step multiplies G - 1/2 and g by.

        A sign is 2 * bit - 1, so its slope is twice the bit's; formulas that the literature states
        for the sign itself contain the 2 already, unless they have been normalised.
        """
        return 1.0 if self.on_sign and self.normalized is None else 2.0

    def _or_own(self, sharpness, x):
        return self.sharpness if sharpness is None else in_precision_of(x, sharpness)

    def get_config(self) -> dict:
        """What `from_config` makes the same surrogate of."""
        return {self.sharpness_name: self.sharpness, "normalized": self.normalized}

    @classmethod
    def from_config(cls, config: dict) -> Surrogate:
        return cls(**config)

    def __eq__(self, other):
        return type(self) is type(other) and self.get_config() == other.get_config()

    def __hash__(self):
        return hash((type(self), tuple(sorted(self.get_config().items(), key=str))))

    def __repr__(self):
        config = self.get_config()
        if self.normalized is None:
            del config["normalized"]
        return f"{type(self).__name__}({', '.join(f'{k}={v!r}' for k, v in config.items())})"


def positive(name: str, value) -> float:
    """`value` as a float, or a ValueError that names the parameter."""
    try:
        number = math.nan if isinstance(value, (str, bool)) else float(value)
    except (TypeError, ValueError):
        number = math.nan
    if not (number > 0 and math.isfinite(number)):
        raise ValueError(
            f"Received {name}={value!r}. Expected a positive finite number.{class_as_layer(value)}"
        )
    return number


def class_as_layer(value) -> str:
    """A hint where a tensor came for an argument: `activation=HTAF` calls the class with it."""
    if not getattr(value, "shape", ()):
        return ""
    return (
        " It is a tensor: a step that is another layer's activation is an object, "
        "activation=keras_htaf.layers.HTAF() with parentheses, not the class."
    )


def floating(x):
    """`x` as a tensor; what is not of a float dtype in Keras's default one."""
    x = ops.convert_to_tensor(x)
    return x if keras.backend.is_float_dtype(x.dtype) else ops.cast(x, keras.config.floatx())


def in_precision_of(x, parameter):
    """A number as it is; a tensor or variable in the dtype in which `x` is computed."""
    if not hasattr(parameter, "shape"):
        return parameter
    double = keras.backend.standardize_dtype(x.dtype) == "float64"
    return ops.cast(ops.convert_to_tensor(parameter), "float64" if double else "float32")


def _wide(formula, x, sharpness):
    """Evaluate in at least float32: slopes span more than the range of half precision."""
    dtype = keras.backend.standardize_dtype(x.dtype)
    if dtype in ("float32", "float64"):
        return formula(x, sharpness)
    return ops.cast(formula(ops.cast(x, "float32"), sharpness), dtype)


def sech2(z):
    """sech(z)^2 without the cancellation of 1 - tanh(z)^2."""
    q = ops.sigmoid(-2.0 * ops.abs(z))
    return 4.0 * q * (1.0 - q)


def register(cls):
    """Make a slope loadable from a config; its name must not collide with the layer `HTAF`."""
    name = f"slope_{cls.__name__}"
    return keras.saving.register_keras_serializable(package="keras_htaf", name=name)(cls)
