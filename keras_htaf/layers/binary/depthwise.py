"""Binary convolutions of each channel by itself."""

from __future__ import annotations

import keras
from keras import ops

from keras_htaf.layers.binary.base import Kernel
from keras_htaf.layers.binary.padding import PaddedBinaryLayer

_register = keras.saving.register_keras_serializable(package="keras_htaf")


class _Depthwise(PaddedBinaryLayer):
    def _map(self, inputs, kernel):
        inputs, padding = self._padded(inputs)
        return ops.depthwise_conv(
            inputs,
            kernel,
            strides=self.strides,
            padding=padding,
            data_format=self.data_format,
            dilation_rate=self.dilation_rate,
        )


@_register
class BinaryDepthwiseConv2D(_Depthwise, keras.layers.DepthwiseConv2D):
    """A convolution of each channel by itself with quantized inputs and a quantized kernel.

    Args: as `BinaryConv2D`, but for `filters`, with `depthwise_quantizer` and
    `depthwise_constraint` for the kernel; `**kwargs` of `keras.layers.DepthwiseConv2D`.

    Example:

    >>> layer = BinaryDepthwiseConv2D(3, depthwise_quantizer="sign")
    >>> tuple(layer(np.ones((1, 4, 4, 2))).shape)
    (1, 2, 2, 2)

    Reference: Hubara et al. (2016), arXiv:1602.02830.
    """

    kernels = {"depthwise": Kernel("kernel", (-2, -1))}

    def __init__(
        self,
        kernel_size: int | tuple[int, int],
        strides: int | tuple[int, int] = 1,
        padding: str = "valid",
        depth_multiplier: int = 1,
        *,
        input_quantizer=None,
        depthwise_quantizer=None,
        pad_values: int | None = None,
        use_bias: bool = False,
        **kwargs,
    ):
        super().__init__(
            kernel_size,
            strides,
            padding,
            depth_multiplier,
            input_quantizer=input_quantizer,
            depthwise_quantizer=depthwise_quantizer,
            pad_values=pad_values,
            use_bias=use_bias,
            **kwargs,
        )


@_register
class BinarySeparableConv2D(_Depthwise, keras.layers.SeparableConv2D):
    """A convolution of each channel by itself, then one of all channels at each position.

    The inputs and both kernels are quantized; what is between the two convolutions is not: sums of
    signs, integers. With a scale in the depthwise kernel they are multiplied by it, and the sums of
    the second convolution are rounded, in each backend's order.

    Args: as `BinaryConv2D`, with `depthwise_quantizer`, `depthwise_constraint`,
    `pointwise_quantizer` and `pointwise_constraint` for the kernels; `**kwargs` of
    `keras.layers.SeparableConv2D`.

    Example:

    >>> layer = BinarySeparableConv2D(8, 3, depthwise_quantizer="sign", pointwise_quantizer="sign")
    >>> tuple(layer(np.ones((1, 4, 4, 2))).shape)
    (1, 2, 2, 8)

    Reference: Hubara et al. (2016), arXiv:1602.02830.
    """

    kernels = {
        "depthwise": Kernel("depthwise_kernel", (-2, -1)),
        "pointwise": Kernel("pointwise_kernel", -1, "_pointwise"),
    }

    def __init__(
        self,
        filters: int,
        kernel_size: int | tuple[int, int],
        strides: int | tuple[int, int] = 1,
        padding: str = "valid",
        *,
        input_quantizer=None,
        depthwise_quantizer=None,
        pointwise_quantizer=None,
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
            depthwise_quantizer=depthwise_quantizer,
            pointwise_quantizer=pointwise_quantizer,
            pad_values=pad_values,
            use_bias=use_bias,
            **kwargs,
        )

    def _pointwise(self, inputs, kernel):
        return ops.conv(inputs, kernel, padding="valid", data_format=self.data_format)
