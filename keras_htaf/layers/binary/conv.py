"""Binary convolutions."""

from __future__ import annotations

import keras
from keras import ops

from keras_htaf.layers.binary.base import BinaryLayer, Kernel
from keras_htaf.layers.binary.padding import PaddedBinaryLayer

_register = keras.saving.register_keras_serializable(package="keras_htaf")


class _BinaryConv(PaddedBinaryLayer):
    def __init__(
        self,
        filters: int,
        kernel_size: int | tuple[int, ...],
        strides: int | tuple[int, ...] = 1,
        padding: str = "valid",
        *,
        input_quantizer=None,
        kernel_quantizer=None,
        pad_values: int | None = None,
        use_bias: bool = False,
        **kwargs,
    ):
        super().__init__(
            filters,
            kernel_size,
            strides,
            padding,
            input_quantizer=input_quantizer,
            kernel_quantizer=kernel_quantizer,
            pad_values=pad_values,
            use_bias=use_bias,
            **kwargs,
        )

    def _map(self, inputs, kernel):
        inputs, padding = self._padded(inputs)
        return ops.conv(
            inputs,
            kernel,
            strides=list(self.strides),
            padding=padding,
            data_format=self.data_format,
            dilation_rate=self.dilation_rate,
        )


@_register
class BinaryConv1D(_BinaryConv, keras.layers.Conv1D):
    """A convolution over time with quantized inputs and a quantized kernel.

    Args: as `BinaryConv2D`; `padding` may be `"causal"` too, which pads with `pad_values` as well.

    Example:

    >>> layer = BinaryConv1D(4, 3, padding="causal", input_quantizer="sign")
    >>> tuple(layer(np.ones((1, 8, 2))).shape)
    (1, 8, 4)

    Reference: Hubara et al. (2016), arXiv:1602.02830.
    """


@_register
class BinaryConv2D(_BinaryConv, keras.layers.Conv2D):
    """A convolution with quantized inputs and a quantized kernel: y = Q_x(x) * Q_w(w).

    Backwards, each quantizer's slope takes the place of its derivative.

    Args:
        filters: Positive integer, the number of output channels.
        kernel_size: One integer or two.
        strides: One integer or two. Default 1.
        padding: `"valid"` (default) or `"same"`.
        input_quantizer: A `keras_htaf.quantizers` object or name, or `None` (default), which leaves
            the inputs as they are.
        kernel_quantizer: Of the kernel, likewise. One whose slope ends, such as `"ste_sign"`, needs
            `kernel_constraint=keras_htaf.constraints.WeightClip()`, or `"weight_clip"`; a warning
            says so.
        pad_values: -1, 0 or +1: what `padding="same"` puts beyond the border, after the inputs are
            quantized. Default `None`: +1 if `input_quantizer` is a `Sign`, whose outputs have no 0,
            so that all that is multiplied is signs; else 0. A layer does not know what
            comes before it: behind a `Sign` or `RSign` that stands by itself give 1. Larq's default
            is 0.
        use_bias: Default False: batch normalisation usually follows, and sums of signs stay
            integers.
        **kwargs: Of `keras.layers.Conv2D` (`dilation_rate`, `groups`, `kernel_constraint`, ...),
            but for LoRA.

    Raises:
        ValueError: If a quantizer or `pad_values` is unknown, if an even kernel would be padded
            with -1 or +1, or if what is to be quantized is not of a float dtype.

    Example:

    >>> layer = BinaryConv2D(1, 3, padding="same", pad_values=1, input_quantizer="sign",
    ...                      kernel_quantizer="sign", kernel_initializer="ones")
    >>> y = layer(-np.ones((1, 3, 3, 1)))
    >>> keras.ops.convert_to_numpy(y)[0, :2, :2, 0].tolist()
    [[1.0, -3.0], [-3.0, -9.0]]

    Reference: Hubara et al. (2016), arXiv:1602.02830.
    """


@_register
class BinaryConv3D(_BinaryConv, keras.layers.Conv3D):
    """A convolution over volumes with quantized inputs and a quantized kernel.

    Args: as `BinaryConv2D`.

    Example:

    >>> layer = BinaryConv3D(4, 3, padding="same", input_quantizer="sign")
    >>> tuple(layer(np.ones((1, 4, 4, 4, 2))).shape)
    (1, 4, 4, 4, 4)

    Reference: Hubara et al. (2016), arXiv:1602.02830.
    """


@_register
class BinaryConv2DTranspose(BinaryLayer, keras.layers.Conv2DTranspose):
    """A transposed convolution with quantized inputs and a quantized kernel.

    It has no `pad_values`: each output is a sum over the inputs that reach it, so that no value is
    needed beyond the border.

    Args: as `BinaryConv2D`, but for `pad_values`; `**kwargs` of `keras.layers.Conv2DTranspose`.

    Example:

    >>> layer = BinaryConv2DTranspose(4, 2, strides=2, kernel_quantizer="sign")
    >>> tuple(layer(np.ones((1, 4, 4, 2))).shape)
    (1, 8, 8, 4)

    Reference: Hubara et al. (2016), arXiv:1602.02830.
    """

    kernels = {"kernel": Kernel("kernel", -2)}

    def __init__(
        self,
        filters: int,
        kernel_size: int | tuple[int, int],
        strides: int | tuple[int, int] = 1,
        padding: str = "valid",
        *,
        input_quantizer=None,
        kernel_quantizer=None,
        use_bias: bool = False,
        **kwargs,
    ):
        super().__init__(
            filters,
            kernel_size,
            strides,
            padding,
            input_quantizer=input_quantizer,
            kernel_quantizer=kernel_quantizer,
            use_bias=use_bias,
            **kwargs,
        )

    def _map(self, inputs, kernel):
        return ops.conv_transpose(
            inputs,
            kernel,
            strides=list(self.strides),
            padding=self.padding,
            output_padding=self.output_padding,
            data_format=self.data_format,
            dilation_rate=self.dilation_rate,
        )
