"""Small backbones of four families, for images from 8 x 8 to 32 x 32 pixels."""

from __future__ import annotations

from collections.abc import Callable

import keras
from keras import layers

from keras_htaf.models import small_cnn

_SMALLEST_APPLICATION = 32
"""Pixels below which keras.applications accepts no image."""


def cnn(shape: tuple[int, int, int]) -> keras.Model:
    """Convolutions of 16, 32 and 64 channels, halved twice."""
    return small_cnn(shape, width=16)


def resnet(shape: tuple[int, int, int], width: int = 12) -> keras.Model:
    """ResNet-8: a convolution and three residual blocks of `width`, twice and four times that."""

    def convolved(x, channels, strides=1, kernel=3):
        x = layers.Conv2D(channels, kernel, strides, padding="same", use_bias=False)(x)
        return layers.BatchNormalization(momentum=0.9)(x)

    inputs = keras.Input(shape, name="image")
    x = layers.ReLU()(convolved(inputs, width))
    for stage in range(3):
        channels = width * 2**stage
        strides = 2 if stage and min(x.shape[1:3]) >= 8 else 1
        y = layers.ReLU()(convolved(x, channels, strides))
        y = convolved(y, channels)
        if stage:
            x = convolved(x, channels, strides, kernel=1)
        x = layers.ReLU()(layers.Add()([x, y]))
    return keras.Model(inputs, x, name="resnet")


def mobilenet(shape: tuple[int, int, int]) -> keras.Model:
    """The first five blocks of keras.applications.MobileNet with half the channels.

    Smaller images are repeated or padded to the 32 pixels that it wants. Its averages of batch
    normalisation, meant for a million of steps, are made to follow a short training.
    """
    inputs = keras.Input(shape, name="image")
    x = layers.UpSampling2D(max(1, _SMALLEST_APPLICATION // shape[0]))(inputs)
    missing = max(0, _SMALLEST_APPLICATION - x.shape[1])
    x = layers.ZeroPadding2D(((missing // 2, missing - missing // 2),) * 2)(x)
    whole = keras.applications.MobileNet(
        input_shape=x.shape[1:], alpha=0.5, include_top=False, weights=None
    )
    cut = keras.Model(whole.input, whole.get_layer("conv_pw_5_relu").output)

    def following(layer):
        config = layer.get_config()
        if isinstance(layer, layers.BatchNormalization):
            config["momentum"] = 0.9
        return layer.from_config(config)

    return keras.Model(inputs, keras.models.clone_model(cut, clone_function=following)(x))


def vit(shape: tuple[int, int, int], width: int = 48, depth: int = 2, heads: int = 3):
    """A vision transformer on patches of 4 x 4 pixels (2 x 2 of images below 16)."""
    patch = 4 if shape[0] >= 16 else 2
    inputs = keras.Input(shape, name="image")
    x = layers.Conv2D(width, patch, patch, name="patches")(inputs)
    rows, columns = x.shape[1:3]
    x = layers.Reshape((rows * columns, width))(x)
    x = _Positions()(x)
    for _ in range(depth):
        y = layers.LayerNormalization()(x)
        x = layers.Add()([x, layers.MultiHeadAttention(heads, width // heads)(y, y)])
        y = layers.Dense(2 * width, activation="gelu")(layers.LayerNormalization()(x))
        x = layers.Add()([x, layers.Dense(width)(y)])
    x = layers.LayerNormalization()(x)
    return keras.Model(inputs, layers.Reshape((rows, columns, width))(x), name="vit")


@keras.saving.register_keras_serializable("icbm_bench")
class _Positions(layers.Layer):
    """Adds a learned vector to each place of a sequence."""

    def build(self, shape):
        self.vectors = self.add_weight(name="vectors", shape=shape[1:], initializer="normal")

    def call(self, x):
        return x + self.vectors


BACKBONES: dict[str, Callable[[tuple[int, int, int]], keras.Model]] = {
    "small_cnn": cnn,
    "resnet": resnet,
    "mobilenet": mobilenet,
    "vit": vit,
}
RATES = {"small_cnn": 3e-3, "resnet": 3e-3, "mobilenet": 3e-3, "vit": 1e-3}
"""Largest learning rate of each."""
