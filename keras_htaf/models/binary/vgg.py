"""VGG-Small and BinaryNet's convolutional network."""

from __future__ import annotations

import keras
from keras import layers

from keras_htaf.models.binary.parts import ENDS, Parts, head, norm
from keras_htaf.models.checks import check_choice, check_each_size, check_images, check_sizes


def binary_vgg(
    input_shape: tuple[int, ...],
    num_outputs: int,
    *,
    filters: tuple[int, ...] = (128, 128, 256, 256, 512, 512),
    dense_units: tuple[int, ...] = (),
    input_quantizer="sign",
    kernel_quantizer="ste_sign",
    ends: str = "float",
    binary: bool = True,
    name: str = "binary_vgg",
) -> keras.Model:
    """A chain of 3 x 3 convolutions with binary weights and activations.

    Each map but the first reads the signs of the one before; every second convolution is followed
    by maximum pooling, each by batch normalisation. The defaults are VGG-Small; BinaryNet's network
    has `dense_units=(1024, 1024)` and `ends="binary"`.

    Args:
        input_shape: (height, width, channels). Inputs are not quantized: standardise them.
        num_outputs: Number of classes or of target variables.
        filters: Channels of each convolution.
        dense_units: Units of the dense layers between the last convolution and the head. Default
            none.
        input_quantizer, kernel_quantizer, binary: As for `binary_mlp`.
        ends: Whether the first convolution and the head have `"float"` kernels (default), as in
            most publications since XNOR-Net, or `"binary"` ones. A float head reads its inputs
            clipped to [-1, 1] in place of their signs.
        name: Name of the model.

    Returns:
        A functional model from (batch, height, width, channels) to float32 logits
        (batch, num_outputs), with the maps "conv1", ..., "dense1", ... and "head".

    Raises:
        ValueError: If an argument is out of range, or images are too small for the poolings.

    Example:

    >>> model = binary_vgg((32, 32, 3), 10)
    >>> round(keras_htaf.summary(model).binary_share["macs"], 3)
    0.994

    Reference: Cai et al. (2017), arXiv:1702.00953 (VGG-Small); Hubara et al. (2016),
    arXiv:1602.02830.
    """
    check_sizes(num_outputs=num_outputs)
    check_each_size(filters=filters, dense_units=dense_units)
    if not filters:
        raise ValueError("Received filters=(). Expected the channels of at least one convolution.")
    check_choice("ends", ends, ENDS)
    input_shape = check_images(input_shape, 2 ** (len(filters) // 2))
    if None in input_shape:
        raise ValueError(f"Received input_shape={input_shape}. Expected known sizes to flatten.")
    parts = Parts(input_quantizer, kernel_quantizer, binary)
    x = inputs = keras.Input(input_shape, name="inputs")
    for i, channels in enumerate(filters, start=1):
        signs = i > 1 or ends == "binary"
        x = parts.conv(x, channels, f"conv{i}", stepped=i > 1, binary=signs)
        if i % 2 == 0:
            x = layers.MaxPooling2D(2, data_format="channels_last", name=f"conv{i}_pool")(x)
        x = norm(x, f"conv{i}")
    x = layers.Flatten(data_format="channels_last", name="flatten")(x)
    for i, units in enumerate(dense_units, start=1):
        x = norm(parts.dense(x, units, f"dense{i}"), f"dense{i}")
    return keras.Model(inputs, head(parts, x, num_outputs, ends), name=name)
