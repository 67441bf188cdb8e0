"""A small image backbone, for images from 8 x 8 to some 64 x 64 pixels."""

from __future__ import annotations

import keras
from keras import layers


def small_cnn(
    input_shape: tuple[int, int, int], width: int = 32, stages: int = 3, name: str = "small_cnn"
) -> keras.Model:
    """A plain convolutional feature extractor without pooling at its end.

    Stage i has 3 x 3 convolution, batch normalisation and ReLU with `width * 2**i` channels; the
    first stage keeps the resolution, each later one begins by halving it (max pooling) as long as
    at least 4 pixels would be left. Max pooling swallows NaN on TensorFlow and JAX and passes it on
    torch: check images that may be broken with `keras_htaf.datasets.check_images`.

    Args:
        input_shape: (height, width, channels), at least 4 x 4 pixels.
        width: Channels of the first stage. Default 32.
        stages: Number of stages. Default 3.
        name: Name of the model.

    Returns:
        A functional model from images to feature maps of shape (batch, h, w, channels).

    Raises:
        ValueError: If the image shape is not (height, width, channels) with at least 4 pixels.

    Example:

    >>> small_cnn((28, 28, 1)).output_shape
    (None, 7, 7, 128)
    """
    if len(input_shape) != 3 or None in input_shape or min(input_shape[:2]) < 4:
        raise ValueError(
            f"Received input_shape={tuple(input_shape)}. Expected (height, width, channels) with "
            "height and width of at least 4."
        )
    x = inputs = keras.Input(input_shape, name="image")
    for stage in range(stages):
        if stage > 0 and min(x.shape[1:3]) >= 8:
            x = layers.MaxPooling2D(name=f"stage{stage}_pool")(x)
        x = layers.Conv2D(
            width * 2**stage, 3, padding="same", use_bias=False, name=f"stage{stage}_conv"
        )(x)
        x = layers.BatchNormalization(momentum=0.9, name=f"stage{stage}_norm")(x)
        x = layers.ReLU(name=f"stage{stage}_relu")(x)
    return keras.Model(inputs, x, name=name)
