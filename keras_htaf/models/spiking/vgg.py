"""Spiking convolutional networks."""

from __future__ import annotations

from collections.abc import Callable

import keras
from keras import layers

from keras_htaf.models.checks import check_choice, check_each_size, check_images, check_sizes
from keras_htaf.models.spiking.parts import READOUTS, Parts


def spiking_vgg(
    input_shape: tuple[int, ...],
    num_outputs: int,
    *,
    num_steps: int | None = None,
    filters: tuple[int, ...] = (64, 64, 128, 128, 256, 256),
    pool_every: int = 2,
    pooling: str = "max",
    dense_units: tuple[int, ...] = (),
    encoding="direct",
    neuron: str | Callable = "lif",
    neuron_options: dict | None = None,
    normalization: str | None = "threshold",
    readout: str = "mean",
    return_sequences: bool = False,
    name: str = "spiking_vgg",
) -> keras.Model:
    """A chain of 3 x 3 convolutions, each with normalisation over time and spiking neurons.

    What is pooled are currents, before the normalisation and the neurons: that needs fewer neurons,
    and all convolutions but the first read spikes whatever the pooling. In direct coding the first
    convolution and its pooling, whose input does not change, are computed once.

    Args:
        input_shape: (height, width, channels); with `encoding=None` (time, height, width,
            channels), where the time may be None.
        num_outputs: Number of classes or of target variables.
        num_steps: Number of steps T of direct coding. Default 4.
        filters: Channels of each convolution.
        pool_every: After how many convolutions each the image is halved. Default 2.
        pooling: `"max"` (default) or `"average"`, whose gradient is some 20 times faster with JAX
            on a CPU.
        dense_units: Units of spiking dense layers between the last convolution and the head.
            Default none.
        encoding, neuron, neuron_options, normalization: As for `spiking_mlp`.
        readout: As for `spiking_mlp`. Default `"mean"`.
        return_sequences, name: As for `spiking_mlp`.

    Returns:
        A functional model to float32 outputs (batch, num_outputs), with the maps "conv1", ...,
        "dense1", ... and "head", the neurons "conv1_spikes", ... and what connects them.

    Raises:
        ValueError: If an argument is out of range, or images are too small for the poolings.

    Example:

    >>> model = spiking_vgg((28, 28, 1), 10, filters=(8, 16), pool_every=1)
    >>> model.get_layer("conv2_spikes").output.shape
    (None, 4, 7, 7, 16)

    Reference: Zheng et al. (2021), arXiv:2011.05280, for normalisation by the threshold.
    """
    check_sizes(num_outputs=num_outputs, pool_every=pool_every)
    check_each_size(filters=filters, dense_units=dense_units)
    if not filters:
        raise ValueError("Received filters=(). Expected the channels of at least one convolution.")
    check_choice("pooling", pooling, ("max", "average"))
    check_choice("readout", readout, READOUTS)
    parts = Parts(num_steps, encoding, neuron, neuron_options, normalization, default_steps=4)
    least = 2 ** (len(filters) // pool_every)
    inputs, x = parts.inputs(input_shape, lambda shape: _known(check_images(shape, least)))
    pool = {"max": layers.MaxPooling2D, "average": layers.AveragePooling2D}[pooling]
    for i, channels in enumerate(filters, start=1):
        place = f"conv{i}"
        x = parts.conv(x, channels, place)
        if i % pool_every == 0:
            x = parts.each(pool(2, data_format="channels_last", name=f"{place}_pool"), x)
        x = parts.fire(parts.norm(x, place), place)
    x = parts.each(layers.Flatten(data_format="channels_last", name="flatten"), x)
    for i, units in enumerate(dense_units, start=1):
        place = f"dense{i}"
        x = parts.fire(parts.norm(parts.dense(x, units, place), place), place)
    return keras.Model(inputs, parts.read(x, num_outputs, readout, return_sequences), name=name)


def _known(shape):
    if None in shape:
        raise ValueError(f"Received input_shape={shape}. Expected known sizes to flatten.")
    return shape
