"""The two steps, bits and signs."""

from __future__ import annotations

import keras

from keras_htaf.ops.steps import bits, signs
from keras_htaf.quantizers.step import Step

_register = keras.saving.register_keras_serializable(package="keras_htaf")


@_register
class Heaviside(Step):
    """A layer of bits: 1 where the input is positive, else 0.

    With G the surrogate's smooth step, g = G' its slope, c the scale (1 until it is calibrated) and
    u the upstream gradient:

        forward     "hard" (default):   1 where x > 0, else 0
                    "smooth":           G(x / c)
        backward    g(x / c) u / c      in both modes

    Args: as `Step`.

    Example:

    >>> model = keras.Sequential([keras.layers.Dense(16), Heaviside("atan"), keras.layers.Dense(1)])
    >>> model.predict(np.ones((2, 3)), verbose=0).shape
    (2, 1)

    Reference: Neftci, Mostafa and Zenke (2019), arXiv:1901.09948.
    """

    rise = 1

    def _risen(self, bit):
        return bit

    def _hard(self, x, sharpness, scale):
        return self._with_slope(x, sharpness, scale, bits, 1.0)

    def decompose(self, x):
        return bits(x), 1.0


@_register
class Sign(Step):
    """A layer of signs: +1 where the input is >= 0, else -1.

    With G the surrogate's smooth step, g = G' its slope, c the scale (1 until it is calibrated) and
    u the upstream gradient:

        forward     "hard" (default):   +1 where x >= 0, else -1
                    "smooth":           r (G(x / c) - 1/2), from -1 to +1 for a slope of full area
        backward    r g(x / c) u / c    in both modes

    r is `surrogate.sign_gain`: 2, as a sign rises by 2, but 1 for slopes that the literature states
    for the sign.

    Args: as `Step`.

    Example:

    >>> [float(s) for s in Sign()(np.array([[-0.3, 0.0, 2.0]]))[0]]
    [-1.0, 1.0, 1.0]

    Reference: Hubara et al. (2016), arXiv:1602.02830, with the straight-through slope.
    """

    rise = 2

    def _risen(self, bit):
        return self.surrogate.sign_gain * (bit - 0.5)

    def _hard(self, x, sharpness, scale):
        return self._with_slope(x, sharpness, scale, signs, self.surrogate.sign_gain)

    def decompose(self, x):
        return signs(x), 1.0
