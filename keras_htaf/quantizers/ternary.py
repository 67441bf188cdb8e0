"""Kernels of three values."""

from __future__ import annotations

import math

import keras
from keras import ops

from keras_htaf import backend
from keras_htaf.ops.steps import signs
from keras_htaf.quantizers.sloped import Sloped

_register = keras.saving.register_keras_serializable(package="keras_htaf")


@_register
class Ternary(Sloped):
    """-1, 0 or +1: the sign of what is at least as large as a threshold t.

        forward     sign(x) where |x| >= t and x is not 0, else 0
        backward    the sign's slope: 1 where |x| <= 1, edges included, for the default surrogate

    Args:
        threshold: Number t >= 0. Default 0.05. Not used with `ternary_weight_networks`.
        ternary_weight_networks: Whether t is 0.7 mean |x|, as in ternary weight networks; the mean
            is over the whole kernel and is not differentiated. Default False.
        surrogate: A `keras_htaf.surrogates` object or name; its sharpness is a weight, which
            `callbacks.AnnealSharpness` moves as that of a step. Default `"rectangle"`.
        **kwargs: Of `keras.layers.Layer`.

    Raises:
        ValueError: If the threshold is negative or not finite, or the surrogate is unknown.

    Example:

    >>> keras.ops.convert_to_numpy(Ternary()(np.array([-0.06, -0.01, 0.05]))).tolist()
    [-1.0, 0.0, 1.0]

    Reference: Li et al. (2016), arXiv:1605.04711.
    """

    precision = 2

    def __init__(
        self,
        threshold: float = 0.05,
        ternary_weight_networks: bool = False,
        surrogate="rectangle",
        **kwargs,
    ):
        super().__init__(surrogate, **kwargs)
        if not (isinstance(threshold, (int, float)) and 0 <= threshold < math.inf):
            raise ValueError(f"Received threshold={threshold!r}. Expected a finite number >= 0.")
        self.threshold = float(threshold)
        self.ternary_weight_networks = ternary_weight_networks
        self.sharpness = self._add_number("sharpness", self.surrogate.sharpness)

    def build(self, input_shape):
        pass

    def call(self, inputs):
        s = self.surrogate
        sharpness = ops.convert_to_tensor(self.sharpness)
        return backend.step(inputs, sharpness, s, self._codes, s.sign_gain)

    def decompose(self, x):
        return ops.stop_gradient(self._codes(x)), 1.0

    def _codes(self, x, sharpness=None):
        size = ops.abs(x)
        if self.ternary_weight_networks:
            threshold = 0.7 * ops.mean(size)
        else:
            threshold = ops.cast(self.threshold, x.dtype)
        # Of a kernel of zeros the mean, and so the threshold, is 0.
        small = ops.logical_or(size < threshold, size == 0)
        return ops.where(small, ops.zeros_like(x), signs(x))

    def get_config(self):
        return {
            **super().get_config(),
            "threshold": self.threshold,
            "ternary_weight_networks": self.ternary_weight_networks,
        }
