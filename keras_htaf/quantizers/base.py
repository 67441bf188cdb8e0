"""What every quantizer is: a layer of few values, with its bits and its scale."""

from __future__ import annotations

import math

import keras
from keras import ops


class Quantizer(keras.layers.Layer):
    """Base of what maps real numbers to a few values, forwards exactly, backwards with a slope.

    A quantizer is an ordinary layer of one input and an output of the same shape. A binary layer
    applies one to its inputs and one to its kernel. Give each layer quantizers of its own, as Keras
    saves a layer once; a binary layer refuses one that another has.

    One of your own has an attribute `precision` and the methods `call`, which gives the exact
    values with the gradient you want, and `decompose`. To be saved it is registered with Keras.

    Args:
        *args, **kwargs: Of `keras.layers.Layer`.

    Example:

    >>> @keras.saving.register_keras_serializable("mine")
    ... class TanhSign(Quantizer):
    ...     precision = 1
    ...     def call(self, x):
    ...         soft = keras.ops.tanh(2.0 * x)  # whose gradient is passed, but not its value
    ...         return self.decompose(x)[0] + (soft - keras.ops.stop_gradient(soft))
    ...     def decompose(self, x):
    ...         return keras.ops.cast(keras.ops.where(x >= 0, 1, -1), x.dtype), 1.0
    >>> layer = keras_htaf.layers.BinaryDense(1, kernel_quantizer=TanhSign())
    >>> float(layer(np.ones((1, 1)))[0, 0]) in (-1.0, 1.0)
    True
    """

    precision: int
    """Bits in which one code can be stored."""
    unit: float = 1.0
    """What each output is a whole multiple of, if it is the same number for all inputs."""
    _owner = None

    @property
    def reach(self) -> float:
        """Largest size of a latent weight that the slope still moves; beyond, it may be stuck."""
        return math.inf

    def decompose(self, x):
        """The exact values as codes times scale, which is what can be packed and exported.

        Args:
            x: Float tensor, an input or a latent kernel.

        Returns:
            `(codes, scale)`: the codes are integers, in a tensor of the shape and dtype of `x`;
            the scale is 1 or what broadcasts to them. They are exact whatever the forward mode,
            and have no gradient.
        """
        raise NotImplementedError(
            f"Quantizer {type(self).__name__} does not say what its codes are. Expected a method "
            "decompose(x) that returns (codes, scale), as keras_htaf.quantizers.Quantizer shows."
        )

    def parts(self, x):
        """The output as numbers and a scale, whose product has the output's gradient.

        A sum of codes, small integers, is exact in any order, and one of +s and -s, rounded, is
        not: where it should be 0, the next sign is decided by the backend's order of summation. So
        a binary layer sums the codes of its kernels and multiplies the sums by the scale.

        Args:
            x: Float tensor, a latent kernel.

        Returns:
            `(codes, scale)`: the scale is 1 or what broadcasts to the codes, which are integers
            unless the forward mode is smooth.
        """
        return self.in_units(self.call(x)), self.unit

    def in_units(self, outputs):
        """The quantizer's outputs over `unit`, exact integers, with the quotient's gradient."""
        if self.unit == 1:
            return outputs
        multiples = in_single(outputs) / self.unit
        multiples = multiples + ops.stop_gradient(ops.round(multiples) - multiples)
        return ops.cast(multiples, outputs.dtype)

    def compute_output_shape(self, input_shape):
        return input_shape


def in_single(x):
    """`x` in at least float32, since sums and levels are rounded in half precision."""
    half = keras.backend.standardize_dtype(x.dtype) in ("float16", "bfloat16")
    return ops.cast(x, "float32") if half else x
