"""The binary dense layer."""

from __future__ import annotations

import keras
from keras import ops

from keras_htaf.layers.binary.base import BinaryLayer


@keras.saving.register_keras_serializable(package="keras_htaf")
class BinaryDense(BinaryLayer, keras.layers.Dense):
    """A dense layer with quantized inputs and a quantized kernel: y = Q_x(x) Q_w(w).

    Backwards, each quantizer's slope takes the place of its derivative.

    Args:
        units: Positive integer.
        activation: Of the sums, as in Keras. Default none.
        input_quantizer: A `keras_htaf.quantizers` object or name, or `None` (default), which leaves
            the inputs as they are, as for a first layer or behind another step.
        kernel_quantizer: Of the kernel, likewise. One whose slope ends, such as `"ste_sign"`, needs
            `kernel_constraint=keras_htaf.constraints.WeightClip()`, or `"weight_clip"`; a warning
            says so.
        use_bias: Default False: batch normalisation usually follows, and sums of signs stay
            integers.
        **kwargs: Of `keras.layers.Dense` (`kernel_constraint`, `kernel_initializer`, ...), but for
            LoRA and `quantization_config`.

    Raises:
        ValueError: If a quantizer is unknown, or what is to be quantized is not of a float dtype.

    Example:

    >>> layer = BinaryDense(1, input_quantizer="sign", kernel_quantizer="sign",
    ...                     kernel_initializer="ones")
    >>> float(layer(np.array([[-0.1, 0.2, 0.3]]))[0, 0])
    1.0

    Reference: Hubara et al. (2016), arXiv:1602.02830.
    """

    def __init__(
        self,
        units: int,
        activation=None,
        use_bias: bool = False,
        *,
        input_quantizer=None,
        kernel_quantizer=None,
        **kwargs,
    ):
        super().__init__(
            units,
            activation,
            use_bias=use_bias,
            input_quantizer=input_quantizer,
            kernel_quantizer=kernel_quantizer,
            **kwargs,
        )

    def _map(self, inputs, kernel):
        return ops.matmul(inputs, kernel)
