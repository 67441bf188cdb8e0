"""A binary recurrent cell."""

from __future__ import annotations

import keras
from keras import ops

from keras_htaf.layers.binary.base import BinaryLayer, Kernel, serialized


@keras.saving.register_keras_serializable(package="keras_htaf")
class BinaryRNNCell(BinaryLayer, keras.layers.SimpleRNNCell):
    """A simple recurrent cell with quantized inputs, states and kernels, for `keras.layers.RNN`.

        h_t = activation(Q_x(x_t) Q_w(w) + Q_h(h_{t-1}) Q_u(u) + b)

    The state itself stays real, as the activation gives it; its quantizer acts before the
    recurrent product. The first state is 0, of which a `Sign` makes +1.

    A sum of n signs is of size sqrt(n), where tanh is flat and passes hardly any gradient. So take
    kernels with a scale, such as `"magnitude_aware_sign"`, which keeps the size of a real kernel's
    sums; with signs alone the cell hardly learns.

    Args:
        units: Positive integer.
        activation: Of the state. Default `"tanh"`.
        input_quantizer: A `keras_htaf.quantizers` object or name, or `None` (default).
        kernel_quantizer: Of the inputs' kernel w, likewise.
        state_quantizer: Of the previous state, likewise.
        recurrent_quantizer: Of the recurrent kernel u, likewise. It and `kernel_quantizer` need
            `recurrent_constraint` and `kernel_constraint` as in `BinaryDense` where their slope
            ends.
        use_bias: Whether a bias is added. Default False.
        **kwargs: Of `keras.layers.SimpleRNNCell`, but for dropout.

    Raises:
        ValueError: If a quantizer is unknown, what is to be quantized is not of a float dtype, or
            dropout is asked for, whose zeros are a third value.

    Example:

    >>> cell = BinaryRNNCell(4, input_quantizer="sign", state_quantizer="sign",
    ...     kernel_quantizer="magnitude_aware_sign", kernel_constraint="weight_clip",
    ...     recurrent_quantizer="magnitude_aware_sign", recurrent_constraint="weight_clip")
    >>> tuple(keras.layers.RNN(cell)(np.ones((2, 5, 3))).shape)
    (2, 4)

    Reference: Hubara et al. (2018), arXiv:1609.07061.
    """

    kernels = {"kernel": Kernel("kernel", -1), "recurrent": Kernel("recurrent_kernel", -1)}

    def __init__(
        self,
        units: int,
        activation="tanh",
        use_bias: bool = False,
        *,
        input_quantizer=None,
        kernel_quantizer=None,
        state_quantizer=None,
        recurrent_quantizer=None,
        **kwargs,
    ):
        super().__init__(
            units,
            activation,
            use_bias=use_bias,
            input_quantizer=input_quantizer,
            kernel_quantizer=kernel_quantizer,
            recurrent_quantizer=recurrent_quantizer,
            **kwargs,
        )
        if self.dropout or self.recurrent_dropout:
            raise ValueError(
                f"Received dropout={self.dropout} and recurrent_dropout={self.recurrent_dropout}. "
                "Expected 0 for both: a dropped input would be a third value among signs. Put a "
                "keras.layers.Dropout before or after the recurrent layer."
            )
        self.state_quantizer = self._own_quantizer("state", state_quantizer)

    def build(self, input_shape):
        super().build(input_shape)
        if self.state_quantizer is not None and not self.state_quantizer.built:
            self.state_quantizer.build((None, self.units))
        self._take(self.state_quantizer)

    # The kernels are quantized anew at each time step: `keras.layers.RNN` calls nothing of a cell
    # between the sequence and its loop, and what a cell could hand on, its states, have a batch
    # axis. XLA takes it out of the loop. On TensorFlow and torch it makes a training step of 128
    # units, 32 time steps and batches of 64 take 1.4 to 1.8 times as long as with real kernels.
    def call(self, sequence, states, training=False):
        several = isinstance(states, (list, tuple))
        state = states[0] if several else states
        outputs = self._product(sequence, self.input_quantizer, self.kernels["kernel"])
        outputs = outputs + self._product(state, self.state_quantizer, self.kernels["recurrent"])
        if self.bias is not None:
            outputs = outputs + self.bias
        if self.activation is not None:
            outputs = self.activation(outputs)
        return outputs, [outputs] if several else outputs

    def _map(self, inputs, kernel):
        return ops.matmul(inputs, kernel)

    def get_config(self):
        return {**super().get_config(), "state_quantizer": serialized(self.state_quantizer)}
