"""Signs of kernels with a scale for each output channel."""

from __future__ import annotations

import keras
from keras import ops

from keras_htaf.ops.steps import signs
from keras_htaf.quantizers.base import in_single
from keras_htaf.quantizers.binary import Sign
from keras_htaf.quantizers.step import channel_axes

_register = keras.saving.register_keras_serializable(package="keras_htaf")


class ScaledSign(Sign):
    """Base of signs times the mean size of the kernel's weights that make one output channel.

    Args:
        surrogate: As in `Sign`. Default `"rectangle"`, the clipped straight-through estimator.
        axis: The kernel's axis, or axes, of output channels. Default -1, which is right for dense
            layers and convolutions; a binary layer that is given a quantizer's name sets it.
        **kwargs: As `Sign`.

    Example:

    >>> quantizer = keras_htaf.quantizers.MagnitudeAwareSign()  # a subclass
    >>> kernel = keras.ops.convert_to_tensor([[0.5, -1.0], [-1.5, -3.0]])
    >>> keras.ops.convert_to_numpy(quantizer(kernel)).tolist()
    [[1.0, -2.0], [-1.0, -2.0]]

    Reference: Rastegari et al. (2016), arXiv:1603.05279.
    """

    def __init__(self, surrogate="rectangle", axis: int | tuple[int, ...] = -1, **kwargs):
        super().__init__(surrogate=surrogate, axis=axis, **kwargs)

    def parts(self, x):
        return self._parts(in_single(x), *self.numbers(), training=False)

    def pure_call(self, x, sharpness, scale, training=False):
        sign, size = self._parts(in_single(x), sharpness, scale, training)
        return ops.cast(size * sign, x.dtype)

    def _parts(self, x, sharpness, scale, training):
        latent, size = self._sized(x)
        return super().pure_call(latent, sharpness, scale, training), size

    def _sized(self, x):
        """What the signs are taken of, and the scale they get."""
        raise NotImplementedError

    def _mean(self, size):
        kept = channel_axes(self.axis, len(size.shape))
        axes = [i for i in range(len(size.shape)) if i not in kept]
        return ops.mean(size, axis=axes, keepdims=True) if axes else size


@_register
class MagnitudeAwareSign(ScaledSign):
    """Bi-Real Net's kernel: its signs, as large as its weights are on average.

        forward     s sign(w)   with s = mean |w| over the weights of an output channel
        backward    s g(w)      with g the sign's slope: the scale is not differentiated

    Args: as `Sign`, with `surrogate="rectangle"` by default, and with `axis` the axis, or axes, of
    the output channels (default -1).

    Example:

    >>> w = np.array([[0.5, -2.0], [-1.5, 1.0]])
    >>> keras.ops.convert_to_numpy(MagnitudeAwareSign()(w)).tolist()
    [[1.0, -1.5], [-1.0, 1.5]]

    Reference: Liu et al. (2018), arXiv:1808.00278.
    """

    def _sized(self, x):
        return x, self._magnitude(x)

    def _magnitude(self, x):
        return ops.stop_gradient(self._mean(ops.abs(x)))

    def decompose(self, x):
        return signs(x), ops.cast(self._magnitude(in_single(x)), x.dtype)


@_register
class XNORSign(ScaledSign):
    """XNOR-Net's kernel: as `MagnitudeAwareSign`, but clipped first and scale differentiated.

        forward     c = clip(w, -1, 1),  s sign(c)   with s = mean |c| over an output channel
        backward    where |w| <= 1, edges included, with u the upstream gradient, sums and means
                    over the channel:   s g(c) u + sign(c) mean(u sign(c));   elsewhere 0

    Args: as `Sign`, with `surrogate="rectangle"` by default, and with `axis` the axis, or axes, of
    the output channels (default -1).

    Example:

    >>> w = np.array([[0.5], [-0.25], [1.5], [-1.0]])
    >>> keras.ops.convert_to_numpy(XNORSign()(w)).ravel().tolist()
    [0.6875, -0.6875, 0.6875, -0.6875]

    Reference: Rastegari et al. (2016), arXiv:1603.05279.
    """

    def reach_at(self, sharpness):
        return min(1.0, super().reach_at(sharpness))

    def _sized(self, x):
        # Not ops.clip and ops.abs: backends differ in their derivatives at the edges and at 0.
        sign = signs(x)
        clipped = ops.where(ops.abs(x) <= 1.0, x, sign)
        return clipped, self._mean(clipped * sign)

    def decompose(self, x):
        size = ops.minimum(ops.abs(in_single(x)), 1.0)
        return signs(x), ops.cast(ops.stop_gradient(self._mean(size)), x.dtype)
