"""The step of a spiking neuron."""

from __future__ import annotations

import keras
from keras import ops

from keras_htaf.quantizers import Heaviside


@keras.saving.register_keras_serializable(package="keras_htaf")
class Spike(Heaviside):
    """A `Heaviside` of a potential's distance from the threshold, which may fire at 0 too.

    Args:
        surrogate: As for `Step`.
        forward: As for `Step`.
        fires_at_zero: Whether a distance of 0 gives a spike. Default False.
        **kwargs: Of `Step`.

    Example:

    >>> [float(s) for s in Spike(fires_at_zero=True)(np.array([-0.1, 0.0, 0.1]))]
    [0.0, 1.0, 1.0]

    Reference: Neftci, Mostafa and Zenke (2019), arXiv:1901.09948.
    """

    def __init__(self, surrogate="htaf", forward="hard", fires_at_zero: bool = False, **kwargs):
        super().__init__(surrogate, forward, **kwargs)
        self.fires_at_zero = fires_at_zero

    def _hard(self, x, sharpness, scale):
        if not self.fires_at_zero:
            return super()._hard(x, sharpness, scale)
        return self._with_slope(x, sharpness, scale, bits_from_zero, 1.0)

    def decompose(self, x):
        return bits_from_zero(x) if self.fires_at_zero else super().decompose(x)[0], 1.0

    def get_config(self):
        return {**super().get_config(), "fires_at_zero": self.fires_at_zero}


def bits_from_zero(x, sharpness=None):
    """1 where x >= 0, else 0; NaN stays NaN. No gradient."""
    return ops.where(ops.isnan(x), x, ops.cast(x >= 0, x.dtype))
