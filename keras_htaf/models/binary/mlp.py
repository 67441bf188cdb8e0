"""BinaryNet's dense network."""

from __future__ import annotations

import keras
from keras import layers

from keras_htaf.models.binary.parts import ENDS, Parts, head, norm
from keras_htaf.models.checks import check_choice, check_shape, check_sizes


def binary_mlp(
    input_shape: tuple[int, ...],
    num_outputs: int,
    *,
    width: int = 1024,
    depth: int = 3,
    dropout: float = 0.0,
    input_quantizer="sign",
    kernel_quantizer="ste_sign",
    ends: str = "binary",
    binary: bool = True,
    name: str = "binary_mlp",
) -> keras.Model:
    """A dense network with binary weights and activations.

    With Q_x and Q_w the quantizers of inputs and kernels, B batch normalisation:

        u_1 = B(Q_w(W_1) x),    u_l = B(Q_w(W_l) Q_x(u_{l-1})),    y = B(Q_w(V) Q_x(u_depth))

    Args:
        input_shape: Without the batch axis; what is not flat is flattened. Inputs are not
            quantized: standardise them.
        num_outputs: Number of classes or of target variables.
        width: Units of a hidden layer. Default 1024.
        depth: Number of hidden layers. Default 3.
        dropout: Share of the inputs of each map, before they are quantized, that is set to 0 while
            training: a dropped unit gives the sign of 0. Default 0.
        input_quantizer: Of each map's inputs but the first's, a `keras_htaf.quantizers` object or
            name; each layer gets its own. Default `"sign"`, with HTAF's slope.
        kernel_quantizer: Of the kernels, likewise. Default `"ste_sign"`. Kernels are clipped to
            where its slope ends, if it does. `None` leaves them floats, as in the first step of a
            distillation (`keras_htaf.distillation`).
        ends: Whether the first map and the head have `"binary"` kernels (default) or `"float"`.
            A float head reads its inputs clipped to [-1, 1] in place of their signs, and has a bias
            in place of the normalisation.
        binary: False gives the twin with float kernels, and ReLU in place of the signs. Default
            True.
        name: Name of the model.

    Returns:
        A functional model from (batch, *input_shape) to float32 logits (batch, num_outputs), with
        the maps "layer1", "layer2", ... and "head".

    Raises:
        ValueError: If an argument is out of range.

    Example:

    >>> model = binary_mlp((28, 28, 1), 10, width=64, depth=2)
    >>> keras_htaf.summary(model).weights[1] == 784 * 64 + 64 * 64 + 64 * 10
    True

    Reference: Hubara et al. (2016), arXiv:1602.02830.
    """
    check_sizes(num_outputs=num_outputs, width=width, depth=depth)
    check_choice("ends", ends, ENDS)
    input_shape = check_shape(input_shape)
    parts = Parts(input_quantizer, kernel_quantizer, binary)
    x = inputs = keras.Input(input_shape, name="inputs")
    if len(input_shape) > 1:
        x = layers.Flatten(name="flatten")(x)
    for layer in range(1, depth + 1):
        x = _dropped(x, dropout, f"layer{layer}")
        first = layer == 1
        signs = not first or ends == "binary"
        x = parts.dense(x, width, f"layer{layer}", stepped=not first, binary=signs)
        x = norm(x, f"layer{layer}")
    x = _dropped(x, dropout, "head")
    return keras.Model(inputs, head(parts, x, num_outputs, ends), name=name)


def _dropped(x, rate, name):
    return layers.Dropout(rate, name=f"{name}_dropout")(x) if rate else x
