"""Learned shifts and scales around signs, one for each channel."""

from __future__ import annotations

import keras
from keras import ops

from keras_htaf.ops.steps import signs
from keras_htaf.quantizers import Sign
from keras_htaf.quantizers.base import in_single
from keras_htaf.quantizers.step import per_channel_shape

_register = keras.saving.register_keras_serializable(package="keras_htaf")


@_register
class RSign(Sign):
    """ReActNet's sign with a learned threshold: sign(x - a), with a for each channel.

    Backwards, with g the sign's slope and u the upstream gradient: g(x - a) u for x, and
    -sum g(x - a) u over all but the channels for a. It is a `Sign` in all else, and can be a binary
    layer's `input_quantizer`.

    Args: as `Sign`, with `surrogate="approx_sign"` by default; `axis` is the channel axis, or the
    axes along which thresholds differ, such as (1, 2, 3) for one at each pixel of each channel.
    Default -1.

    Example:

    >>> layer = RSign()
    >>> layer.build((None, 2))
    >>> _ = layer.threshold.assign([0.5, -0.5])
    >>> keras.ops.convert_to_numpy(layer(np.zeros((1, 2)))).tolist()
    [[-1.0, 1.0]]

    Reference: Liu et al. (2020), arXiv:2003.03488.
    """

    def __init__(self, surrogate="approx_sign", **kwargs):
        super().__init__(surrogate=surrogate, **kwargs)

    def build(self, input_shape):
        super().build(input_shape)
        self.threshold = self.add_weight(
            name="threshold",
            shape=per_channel_shape(input_shape, self.axis),
            initializer="zeros",
            dtype="float32",
            autocast=False,
        )

    def call(self, inputs, training=None):
        if not keras.backend.is_float_dtype(inputs.dtype):
            inputs = ops.cast(inputs, self.compute_dtype)
        return ops.cast(super().call(self._shifted(inputs), training), inputs.dtype)

    def decompose(self, x):
        return ops.cast(signs(self._shifted(x)), x.dtype), 1.0

    def _shifted(self, x):
        x = in_single(x)
        return x - ops.cast(self.threshold, x.dtype)


class _PerChannel(keras.layers.Layer):
    """Base of layers whose weights are numbers for each channel."""

    def __init__(self, axis: int | tuple[int, ...] = -1, **kwargs):
        super().__init__(**kwargs)
        self.axis = axis if isinstance(axis, int) else tuple(axis)
        self.supports_masking = True

    def _add(self, name, input_shape, initial):
        return self.add_weight(
            name=name,
            shape=per_channel_shape(input_shape, self.axis),
            initializer=keras.initializers.Constant(initial),
        )

    def compute_output_shape(self, input_shape):
        return input_shape

    def get_config(self):
        return {**super().get_config(), "axis": self.axis}


@_register
class RPReLU(_PerChannel):
    """ReActNet's PReLU with learned shifts: PReLU(x - c) + d, all three for each channel.

        forward     z = x - c;  z + d  where z > 0, else  b z + d
        backward    for x:  1 where z > 0, else b;   for c the negative of it;   for d:  1
                    for b:  0 where z > 0, else z

    c and d are 0 at first, the slope b is 0.25.

    Args:
        axis: The channel axis, or axes. Default -1.
        **kwargs: Of `keras.layers.Layer`.

    Raises:
        ValueError: If the size of the channel axis is unknown.

    Example:

    >>> keras.ops.convert_to_numpy(RPReLU()(np.array([[-2.0, 2.0]]))).tolist()
    [[-0.5, 2.0]]

    Reference: Liu et al. (2020), arXiv:2003.03488.
    """

    def build(self, input_shape):
        self.input_shift = self._add("input_shift", input_shape, 0.0)
        self.slope = self._add("slope", input_shape, 0.25)
        self.output_shift = self._add("output_shift", input_shape, 0.0)

    def call(self, inputs):
        z = inputs - self.input_shift
        return ops.where(z > 0, z, self.slope * z) + self.output_shift


@_register
class LearnedScale(_PerChannel):
    """Multiplies each channel by a learned number, 1 at first: y = s x.

    Behind a binary layer it restores the sizes that signs lose, at one product for each output, and
    it can be merged into a batch normalisation that follows.

    Args:
        axis: The channel axis, or axes. Default -1.
        **kwargs: Of `keras.layers.Layer`.

    Raises:
        ValueError: If the size of the channel axis is unknown.

    Example:

    >>> keras.ops.convert_to_numpy(LearnedScale()(np.array([[-2.0, 2.0]]))).tolist()
    [[-2.0, 2.0]]

    Reference: Bulat and Tzimiropoulos (2019), arXiv:1909.13863.
    """

    def build(self, input_shape):
        # Not `self.scale`: that is a step's width elsewhere in this package.
        self.factor = self._add("factor", input_shape, 1.0)

    def call(self, inputs):
        return inputs * self.factor
