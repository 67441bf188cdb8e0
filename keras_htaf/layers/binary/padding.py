"""What a binary convolution sees beyond the border of its inputs."""

from __future__ import annotations

from keras import ops

from keras_htaf.layers.binary.base import BinaryLayer, unit_of
from keras_htaf.quantizers import Sign


class PaddedBinaryLayer(BinaryLayer):
    """Adds `pad_values`, the value beyond the border with `padding="same"` (or `"causal"`).

    Keras pads with 0, which among signs is a third value: a product with it is no longer an xor,
    and inference on packed bits needs a correction at every border. So the default,
    `pad_values=None`, pads with a value that the inputs can have: +1 if `input_quantizer` is a
    `Sign` (which gives +1 at 0, too), else 0; so behind a layer of signs 1 must be given, as the
    layer cannot see what comes before it. The effect on accuracy was not measured;
    give 0 for Larq's default and for what its models were trained with. The shape of the output is
    Keras's in each case.

    As in Keras, a kernel of size k, dilation d and stride s is padded along an axis of size n by
    max(d (k - 1) - (n - 1) mod s, 0) values, an odd one behind. An odd kernel meets an odd one with
    strides alone, where its windows have to begin on one side. An even kernel would be off its
    pixel by the padded value: with -1 or +1 it is refused, when the layer is made if it is so for
    all sizes, else when it is built.
    """

    def __init__(self, *args, pad_values: int | None = None, **kwargs):
        super().__init__(*args, **kwargs)
        if pad_values not in (None, -1, 0, 1) or isinstance(pad_values, bool):
            raise ValueError(
                f"Received pad_values={pad_values!r}. Expected -1, 0 or 1, which binary inputs can "
                "have, or None for the one that fits the input_quantizer."
            )
        self.pad_values = pad_values
        if self._pads_same:
            for axis, stride in enumerate(self.strides):
                if stride == 1:
                    self._check_even(axis, self._total(axis, None))

    def build(self, input_shape):
        super().build(input_shape)
        if self._pads_same:
            sizes = input_shape[1:-1] if self._channels_last else input_shape[2:]
            for axis, size in enumerate(sizes):
                self._check_even(axis, self._total(axis, size))

    @property
    def pad_value(self) -> int:
        """The value that `pad_values` stands for."""
        if self.pad_values is not None:
            return self.pad_values
        return int(isinstance(self.input_quantizer, Sign))

    def _padded(self, inputs) -> tuple:
        """The inputs, padded where Keras would not do it, and what Keras has still to do."""
        # Keras's own causal padding is done before its convolution, too.
        if self.padding != "causal" and not self._pads_same:
            return inputs, self.padding
        first = 1 if self._channels_last else 2
        sides = [(0, 0)] * len(inputs.shape)
        for axis in range(len(self.kernel_size)):
            if self.padding == "causal":
                sides[first + axis] = (self._behind(axis), 0)
                continue
            total = self._total(axis, ops.shape(inputs)[first + axis])
            self._check_even(axis, total)
            sides[first + axis] = (total // 2, total - total // 2)
        # Inputs of k bits are given in multiples of their unit.
        value = round(self.pad_value / unit_of(self.input_quantizer))
        return ops.pad(inputs, sides, constant_values=value), "valid"

    @property
    def _pads_same(self) -> bool:
        return self.padding == "same" and self.pad_value != 0

    @property
    def _channels_last(self) -> bool:
        return self.data_format == "channels_last"

    def _behind(self, axis) -> int:
        """How many positions along a spatial axis the kernel covers beside the first."""
        return self.dilation_rate[axis] * (self.kernel_size[axis] - 1)

    def _total(self, axis, size):
        """What "same" padding adds to a spatial axis on both sides; `None` if nobody can tell."""
        if self.strides[axis] == 1:
            return self._behind(axis)
        if size is None:
            return None
        return _at_least_0(self._behind(axis) - (size - 1) % self.strides[axis])

    def _check_even(self, axis, total):
        known = isinstance(total, int)
        if self.kernel_size[axis] % 2 == 0 and not (known and total % 2 == 0):
            raise ValueError(
                f"Received kernel_size={self.kernel_size} and strides={self.strides} with "
                f"padding='same' and pad_values={self.pad_value}, which adds "
                f"{total if known else 'an unknown number of'} values along spatial axis {axis}. "
                "An even kernel that is padded more on one side than on the other would shift the "
                "result by the value. Expected odd sizes, pad_values=0 or padding='valid'."
            )

    def get_config(self):
        return {**super().get_config(), "pad_values": self.pad_values}


def _at_least_0(size):
    # Of a size that is unknown when TensorFlow traces the layer, a tensor.
    return max(size, 0) if isinstance(size, int) else ops.maximum(size, 0)
