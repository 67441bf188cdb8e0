"""Which weights of a model are binary kernels."""

from __future__ import annotations

from typing import NamedTuple

import keras

from keras_htaf.layers import BinaryLayer
from keras_htaf.quantizers import Quantizer


class BinaryKernel(NamedTuple):
    """One kernel of one layer, of which the layer uses one bit.

    Attributes:
        layer: The layer.
        weight: The name of the weight in its layer.
        variable: The latent kernel.
        quantizer: What makes it binary.

    Example:

    >>> model = keras.Sequential(
    ...     [keras.Input((4,)), keras_htaf.layers.BinaryDense(3, kernel_quantizer="sign", name="a")]
    ... )
    >>> (kernel,) = keras_htaf.optimizers.binary_kernels(model)
    >>> kernel.label, kernel.weight, tuple(kernel.variable.shape)
    ('a', 'kernel', (4, 3))
    """

    layer: BinaryLayer
    weight: str
    """The name of the weight in its layer."""
    variable: keras.Variable
    quantizer: Quantizer

    @property
    def label(self) -> str:
        """The layer's name, and the weight's where the layer has several kernels."""
        several = len(self.layer.kernels) > 1
        return f"{self.layer.name}/{self.weight}" if several else self.layer.name


def binary_kernels(model: keras.Model) -> list[BinaryKernel]:
    """The trainable kernels that a quantizer of one bit makes binary, in the order of the layers.

    A variable does not tell what its layer makes of it, so the layers are asked: those of nested
    models and the cells of recurrent layers too.

    Args:
        model: A built model.

    Returns:
        A list of `BinaryKernel`.

    Raises:
        ValueError: If a binary layer is not built.

    Example:

    >>> layers = [keras.Input((4,)), keras_htaf.layers.BinaryDense(3, kernel_quantizer="sign"),
    ...           keras.layers.Dense(2)]
    >>> [tuple(kernel.variable.shape) for kernel in binary_kernels(keras.Sequential(layers))]
    [(4, 3)]
    """
    found = []
    for layer in model._flatten_layers():
        if not isinstance(layer, BinaryLayer):
            continue
        if not layer.built:
            raise ValueError(
                f"Layer {layer.name!r} of model {model.name!r} is not built, so it has no kernels "
                "yet. Give the model an Input, or call it on a batch of data, first."
            )
        for weight, quantizer in layer.kernel_quantizers.items():
            variable = getattr(layer, weight)
            if quantizer is not None and quantizer.precision == 1 and variable.trainable:
                found.append(BinaryKernel(layer, weight, variable, quantizer))
    return found
