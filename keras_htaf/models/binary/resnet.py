"""Residual networks around signs: Bi-Real and ReActNet's blocks."""

from __future__ import annotations

import keras
from keras import layers

from keras_htaf.layers import RPReLU, RSign
from keras_htaf.models.binary.parts import Parts, norm
from keras_htaf.models.checks import check_choice, check_images, check_sizes

_STAGES = {18: ((64, 128, 256, 512), 4), 20: ((16, 32, 64), 6)}
"""By depth: channels of the stages, and convolutions in each."""

_BLOCKS = ("bireal", "react")
_STEMS = ("small", "large")


def binary_resnet(
    input_shape: tuple[int, ...],
    num_outputs: int,
    *,
    depth: int = 20,
    width: int | None = None,
    block: str = "bireal",
    stem: str = "small",
    input_quantizer=None,
    kernel_quantizer="ste_sign",
    binary: bool = True,
    name: str = "binary_resnet",
) -> keras.Model:
    """A residual network with binary 3 x 3 convolutions and a stream of real numbers.

    Each convolution has a shortcut of its own, with B batch normalisation, C the convolution:

        "bireal"    x <- x + B(C(Q_w(W), Q_x(x)))
        "react"     x <- RPReLU(x + B(C(Q_w(W), RSign(x))))

    Where a stage begins, the convolution has strides of 2, and the shortcut averages 2 x 2 pixels
    and changes the channels by a float 1 x 1 convolution. The stem, these convolutions and the head
    are floats. The published networks have other quantizers than the defaults here: Bi-Real Net
    `input_quantizer="approx_sign", kernel_quantizer="magnitude_aware_sign"`, ReActNet
    `input_quantizer=RSign()` with the same kernels. With `binary=False` and `block="react"` the
    RPReLU stays, and a ReLU stands in place of each RSign.

    Args:
        input_shape: (height, width, channels). Standardise the inputs.
        num_outputs: Number of classes or of target variables.
        depth: 20 (default; 3 stages of 6 convolutions, from 16 channels, for small images) or 18
            (4 stages of 4, from 64 channels).
        width: Channels of the first stage; each later one has twice those before. Default: the
            published ones.
        block: `"bireal"` (default) or `"react"`, with learned thresholds and activation shapes.
        stem: `"small"` (default), a 3 x 3 convolution; or `"large"`, for images of some 200 pixels:
            7 x 7 with strides of 2, and maximum pooling.
        input_quantizer: As for `binary_mlp`. Default: `"sign"`, or an `RSign` with HTAF's slope for
            `block="react"`.
        kernel_quantizer, binary: As for `binary_mlp`.
        name: Name of the model.

    Returns:
        A functional model from (batch, height, width, channels) to float32 logits
        (batch, num_outputs), with the maps "stem", "stage1_conv1", ..., and "head".

    Raises:
        ValueError: If an argument is out of range, or images are too small for the stages.

    Example:

    >>> model = binary_resnet((32, 32, 3), 10, block="react")
    >>> len(keras_htaf.models.binary_weights(model))
    18

    Reference: Liu et al. (2018), arXiv:1808.00278 (Bi-Real); Liu et al. (2020), arXiv:2003.03488
    (ReActNet).
    """
    check_choice("depth", depth, _STAGES)
    check_choice("block", block, _BLOCKS)
    check_choice("stem", stem, _STEMS)
    channels, repeats = _STAGES[depth]
    if width is not None:
        check_sizes(width=width)
        channels = tuple(width * 2**i for i in range(len(channels)))
    check_sizes(num_outputs=num_outputs)
    least = 2 ** (len(channels) - 1) * (4 if stem == "large" else 1)
    input_shape = check_images(input_shape, least)
    if input_quantizer is None:
        input_quantizer = RSign("htaf") if block == "react" else "sign"
    parts = Parts(input_quantizer, kernel_quantizer, binary)
    inputs = keras.Input(input_shape, name="inputs")
    x = _stem(inputs, channels[0], stem)
    for stage, filters in enumerate(channels, start=1):
        for i in range(1, repeats + 1):
            place = f"stage{stage}_conv{i}"
            shortcut, halves = x, stage > 1 and i == 1
            x = parts.conv(x, filters, place, strides=2 if halves else 1)
            if halves:
                shortcut = _halved(shortcut, filters, f"stage{stage}_shortcut")
            x = layers.Add(name=f"{place}_stream")([shortcut, norm(x, place)])
            if block == "react":
                x = RPReLU(name=f"{place}_prelu")(x)
    x = layers.GlobalAveragePooling2D(data_format="channels_last", name="head_pool")(x)
    logits = layers.Dense(num_outputs, dtype="float32", name="head")(x)
    return keras.Model(inputs, logits, name=name)


def _stem(x, filters, kind):
    size, strides = (7, 2) if kind == "large" else (3, 1)
    options = {"padding": "same", "data_format": "channels_last"}
    x = layers.Conv2D(filters, size, strides, use_bias=False, name="stem", **options)(x)
    x = norm(x, "stem")
    return layers.MaxPooling2D(3, 2, name="stem_pool", **options)(x) if kind == "large" else x


def _halved(x, filters, name):
    options = {"padding": "same", "data_format": "channels_last"}
    x = layers.AveragePooling2D(2, name=f"{name}_pool", **options)(x)
    return norm(layers.Conv2D(filters, 1, use_bias=False, name=name, **options)(x), name)
