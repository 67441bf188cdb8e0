"""Layers of binary-activation networks."""

from keras_htaf.layers.activations import HTAF
from keras_htaf.layers.binary import (
    BinaryConv1D,
    BinaryConv2D,
    BinaryConv2DTranspose,
    BinaryConv3D,
    BinaryDense,
    BinaryDepthwiseConv2D,
    BinaryLayer,
    BinaryRNNCell,
    BinarySeparableConv2D,
    LearnedScale,
    RPReLU,
    RSign,
)
from keras_htaf.layers.groups import ConceptGroups
from keras_htaf.layers.penalty import ActivityPenalty
from keras_htaf.quantizers import Heaviside, Sign, Step

__all__ = [
    "HTAF",
    "ActivityPenalty",
    "BinaryConv1D",
    "BinaryConv2D",
    "BinaryConv2DTranspose",
    "BinaryConv3D",
    "BinaryDense",
    "BinaryDepthwiseConv2D",
    "BinaryLayer",
    "BinaryRNNCell",
    "BinarySeparableConv2D",
    "ConceptGroups",
    "Heaviside",
    "LearnedScale",
    "RPReLU",
    "RSign",
    "Sign",
    "Step",
]
