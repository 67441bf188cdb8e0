"""Activations and kernels of a few bits."""

from __future__ import annotations

import keras
from keras import ops

from keras_htaf import backend
from keras_htaf.quantizers.base import Quantizer, in_single

_MODES = ("activations", "weights")
_register = keras.saving.register_keras_serializable(package="keras_htaf")


@_register
class DoReFa(Quantizer):
    """2^k equally spaced values, of [0, 1] for activations or of [-1, 1] for weights.

    With n = 2^k - 1 and round to the nearest integer, ties to the even one:

        activations    forward    round(n clip(x, 0, 1)) / n
                       backward   1 where 0 <= x <= 1, edges included, else 0
        weights        forward    2 round(n c) / n - 1   with c = tanh(x) / (2 max |tanh x|) + 1/2
                       backward   (1 - tanh(x)^2) / max |tanh x|; the maximum, which is over the
                                  whole kernel, is not differentiated

    Args:
        k_bit: Number of bits k, 1 to 8; for weights 2 to 8, since DoReFa-Net's kernel of one bit is
            a scaled sign (`MagnitudeAwareSign` with `surrogates.Rectangle(clip=None)`, but with one
            scale for all channels). Default 2.
        mode: `"activations"` (default) or `"weights"`.
        **kwargs: Of `keras.layers.Layer`.

    Raises:
        ValueError: If `k_bit` is out of range or the mode is unknown.

    Example:

    >>> y = DoReFa()(np.array([0.1, 0.25, 0.7, 1.2]))
    >>> (3 * keras.ops.convert_to_numpy(y)).tolist()
    [0.0, 1.0, 2.0, 3.0]

    Reference: Zhou et al. (2016), arXiv:1606.06160.
    """

    def __init__(self, k_bit: int = 2, mode: str = "activations", **kwargs):
        super().__init__(**kwargs)
        if mode not in _MODES:
            raise ValueError(f"Received mode={mode!r}. Expected one of {_MODES}.")
        least = 1 + _MODES.index(mode)
        if isinstance(k_bit, bool) or not isinstance(k_bit, int) or not least <= k_bit <= 8:
            raise ValueError(
                f"Received k_bit={k_bit!r} with mode={mode!r}. Expected an integer from {least} to "
                "8" + ("; for weights of one bit use MagnitudeAwareSign." if least == 2 else ".")
            )
        self.k_bit = self.precision = k_bit
        self.mode = mode
        # What a binary layer multiplies its sums by: sums of rounded thirds are not 0.
        self.unit = 1.0 / self.levels

    @property
    def levels(self) -> int:
        """n = 2^k - 1, the number of steps between the least value and the greatest."""
        return 2**self.k_bit - 1

    def build(self, input_shape):
        pass

    def call(self, inputs):
        shares = backend.step(self._shares(inputs), self.levels, _UNIT, _values, 1.0)
        outputs = shares if self.mode == "activations" else 2.0 * shares - 1.0
        return ops.cast(outputs, inputs.dtype)

    def decompose(self, x):
        codes = ops.stop_gradient(_codes(self._shares(x), self.levels))
        if self.mode == "weights":
            codes = 2.0 * codes - self.levels
        return ops.cast(codes, x.dtype), self.unit

    def _shares(self, x):
        """What is rounded, of which only [0, 1] counts."""
        x = in_single(x)
        if self.mode == "activations":
            return x
        limited = ops.tanh(x)
        greatest = ops.stop_gradient(ops.max(ops.abs(limited)))
        # A kernel of zeros has no greatest weight to divide by.
        return limited / ops.where(greatest > 0, 2.0 * greatest, 1.0) + 0.5

    def get_config(self):
        return {**super().get_config(), "k_bit": self.k_bit, "mode": self.mode}


class _Unit:
    """The slope of the identity on [0, 1]."""

    def derivative(self, x, sharpness):
        return ops.cast(ops.logical_and(x >= 0.0, x <= 1.0), x.dtype)


_UNIT = _Unit()


def _codes(x, levels):
    return ops.round(ops.clip(x, 0.0, 1.0) * ops.cast(levels, x.dtype))


def _values(x, levels):
    return _codes(x, levels) / ops.cast(levels, x.dtype)
