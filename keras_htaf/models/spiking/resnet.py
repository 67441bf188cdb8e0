"""Spiking residual networks: SEW ResNet."""

from __future__ import annotations

from collections.abc import Callable

import keras
from keras import layers

from keras_htaf.models.checks import check_choice, check_images, check_sizes
from keras_htaf.models.spiking.parts import READOUTS, Parts

_STAGES = {18: ((64, 128, 256, 512), 2), 20: ((16, 32, 64), 3)}
"""By depth: channels of the stages, and blocks of two convolutions in each."""

_CONNECTS = ("add", "and", "iand")


def spiking_resnet(
    input_shape: tuple[int, ...],
    num_outputs: int,
    *,
    num_steps: int | None = None,
    depth: int = 20,
    width: int | None = None,
    blocks: int | None = None,
    connect: str = "add",
    encoding="direct",
    neuron: str | Callable = "lif",
    neuron_options: dict | None = None,
    normalization: str | None = "threshold",
    readout: str = "mean",
    return_sequences: bool = False,
    name: str = "spiking_resnet",
) -> keras.Model:
    """A residual network of spikes, connected element by element (SEW ResNet).

    A block has two convolutions C with normalisation over time N and neurons S, and passes the
    spikes x that it receives by them:

        a = S(N(C(S(N(C(x))))))
        "add"     x <- a + x             numbers of spikes, which grow with depth
        "and"     x <- a x               a spike where both are
        "iand"    x <- (1 - a) x         a spike where x has one and a has not

    With "add" and "iand" a block without spikes passes all on, with "and" one that always fires; so
    gradients reach all depths, which they do not through neurons behind the sum. Where a stage
    begins, the first convolution has strides of 2, and x goes through a 1 x 1 convolution,
    normalisation and neurons.

    Args:
        input_shape: (height, width, channels); with `encoding=None` (time, height, width,
            channels), where the time may be None.
        num_outputs: Number of classes or of target variables.
        num_steps: Number of steps T of direct coding. Default 4.
        depth: 20 (default; 3 stages of 3 blocks, from 16 channels, for small images) or 18
            (4 stages of 2, from 64 channels).
        width: Channels of the first stage; each later one has twice those before. Default: as said.
        blocks: Blocks of each stage. Default: as said.
        connect: `"add"` (default), `"and"` or `"iand"`.
        encoding, neuron, neuron_options, normalization: As for `spiking_mlp`.
        readout: As for `spiking_mlp`. Default `"mean"`.
        return_sequences, name: As for `spiking_mlp`.

    Returns:
        A functional model to float32 outputs (batch, num_outputs), with the maps "stem",
        "stage1_block1_conv1", ... and "head", the neurons "stem_spikes", ... and what connects
        them.

    Raises:
        ValueError: If an argument is out of range, or images are too small for the stages.

    Example:

    >>> model = spiking_resnet((8, 8, 1), 10, num_steps=2, width=4, connect="iand")
    >>> model.get_layer("stage3_block3_connect").output.shape
    (None, 2, 2, 2, 16)

    Reference: Fang et al. (2021), arXiv:2102.04159.
    """
    check_choice("depth", depth, _STAGES)
    check_choice("connect", connect, _CONNECTS)
    check_choice("readout", readout, READOUTS)
    channels, usual = _STAGES[depth]
    width, blocks = channels[0] if width is None else width, usual if blocks is None else blocks
    check_sizes(num_outputs=num_outputs, width=width, blocks=blocks)
    channels = tuple(width * 2**i for i in range(len(channels)))
    parts = Parts(num_steps, encoding, neuron, neuron_options, normalization, default_steps=4)
    least = 2 ** (len(channels) - 1)
    inputs, x = parts.inputs(input_shape, lambda shape: check_images(shape, least))
    x = _spiking_conv(parts, x, channels[0], "stem")
    for stage, filters in enumerate(channels, start=1):
        for block in range(1, blocks + 1):
            place, strides = f"stage{stage}_block{block}", 2 if stage > 1 and block == 1 else 1
            a = _spiking_conv(parts, x, filters, f"{place}_conv1", strides=strides)
            a = _spiking_conv(parts, a, filters, f"{place}_conv2")
            if strides == 2:
                x = _spiking_conv(parts, x, filters, f"{place}_shortcut", size=1, strides=2)
            x = _connected(a, x, connect, f"{place}_connect")
    pool = layers.GlobalAveragePooling2D(data_format="channels_last", name="head_pool")
    x = parts.each(pool, x)
    return keras.Model(inputs, parts.read(x, num_outputs, readout, return_sequences), name=name)


def _spiking_conv(parts, x, filters, place, **options):
    return parts.fire(parts.norm(parts.conv(x, filters, place, **options), place), place)


def _connected(a, x, connect, name):
    if connect == "add":
        return layers.Add(name=name)([a, x])
    if connect == "and":
        return layers.Multiply(name=name)([a, x])
    both = layers.Multiply(name=f"{name}_both")([a, x])
    return layers.Subtract(name=name)([x, both])  # (1 - a) x
