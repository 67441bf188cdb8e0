"""What a binary convolution sees beyond the border of its inputs."""

from __future__ import annotations

from keras import ops

from keras_htaf.layers.binary.base import BinaryLayer, unit_of
from keras_htaf.quantizers import Sign


class PaddedBinaryLayer(BinaryLayer):
    """Adds `pad_values`, the value beyond the border with `padding="same"` (or `"causal"`).

    Keras pads with 0, which among signs is a third value: a product with it is no longer an xor,
    and inference on packed bits would need a correction at every border. So the default,
    `pad_values=None`, pads with a value that the inputs can have: +1 if `input_quantizer` is a
    `Sign` (which gives +1 at 0, too), else 0. The effect on accuracy was not measured;
    give 0 for Larq's default and for what its models were trained with. The shape of the output is
    Keras's in each case.
    """

    def __init__(self, *args, pad_values: int | None = None, **kwargs):
        super().__init__(*args, **kwargs)
        if pad_values not in (None, -1, 0, 1) or isinstance(pad_values, bool):
            raise ValueError(
                f"Received pad_values={pad_values!r}. Expected -1, 0 or 1, which binary inputs can "
                "have, or None for the one that fits the input_quantizer."
            )
        self.pad_values = pad_values
        if self.padding == "same" and self.pad_value and any(k % 2 == 0 for k in self.kernel_size):
            raise ValueError(
                f"Received kernel_size={self.kernel_size} with padding='same' and "
                f"pad_values={self.pad_value}. An even kernel is padded more on one side than on "
                "the other, so that the value would shift the result. Expected odd sizes, "
                "pad_values=0 or padding='valid'."
            )

    @property
    def pad_value(self) -> int:
        """The value that `pad_values` stands for."""
        if self.pad_values is not None:
            return self.pad_values
        return int(isinstance(self.input_quantizer, Sign))

    def _padded(self, inputs) -> tuple:
        """The inputs, padded where Keras would not do it, and what Keras has still to do."""
        # Keras's own causal padding is done before its convolution, too.
        if self.padding == "valid" or (self.padding == "same" and not self.pad_value):
            return inputs, self.padding
        first = 1 if self.data_format == "channels_last" else 2
        sides = [(0, 0)] * len(inputs.shape)
        for i, (kernel, stride, dilation) in enumerate(
            zip(self.kernel_size, self.strides, self.dilation_rate, strict=True)
        ):
            reach = dilation * (kernel - 1)
            if self.padding == "causal":
                sides[first + i] = (reach, 0)
                continue
            total = _at_least_0(reach - (ops.shape(inputs)[first + i] - 1) % stride)
            sides[first + i] = (total // 2, total - total // 2)
        # Inputs of k bits are given in multiples of their unit.
        value = round(self.pad_value / unit_of(self.input_quantizer))
        return ops.pad(inputs, sides, constant_values=value), "valid"

    def get_config(self):
        return {**super().get_config(), "pad_values": self.pad_values}


def _at_least_0(size):
    # Of a size that is unknown when TensorFlow traces the layer, a tensor.
    return max(size, 0) if isinstance(size, int) else ops.maximum(size, 0)
