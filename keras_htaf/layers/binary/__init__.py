"""Layers whose inputs and kernels are quantized, and what ReActNet puts between them."""

from keras_htaf.layers.binary.base import BinaryLayer
from keras_htaf.layers.binary.conv import (
    BinaryConv1D,
    BinaryConv2D,
    BinaryConv2DTranspose,
    BinaryConv3D,
)
from keras_htaf.layers.binary.dense import BinaryDense
from keras_htaf.layers.binary.depthwise import BinaryDepthwiseConv2D, BinarySeparableConv2D
from keras_htaf.layers.binary.react import LearnedScale, RPReLU, RSign
from keras_htaf.layers.binary.recurrent import BinaryRNNCell

__all__ = [
    "BinaryConv1D",
    "BinaryConv2D",
    "BinaryConv2DTranspose",
    "BinaryConv3D",
    "BinaryDense",
    "BinaryDepthwiseConv2D",
    "BinaryLayer",
    "BinaryRNNCell",
    "BinarySeparableConv2D",
    "LearnedScale",
    "RPReLU",
    "RSign",
]
