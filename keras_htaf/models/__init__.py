"""Builders of whole networks; each returns an ordinary functional Keras model."""

from keras_htaf.models.backbones import small_cnn
from keras_htaf.models.binary import binary_mlp, binary_resnet, binary_vgg, binary_weights
from keras_htaf.models.heaviside import deep_heaviside_network
from keras_htaf.models.icbm import concept_maps, icbm
from keras_htaf.models.spiking import (
    initial_state,
    spiking_mlp,
    spiking_resnet,
    spiking_vgg,
    streaming,
    to_spiking,
)

__all__ = [
    "binary_mlp",
    "binary_resnet",
    "binary_vgg",
    "binary_weights",
    "concept_maps",
    "deep_heaviside_network",
    "icbm",
    "initial_state",
    "small_cnn",
    "spiking_mlp",
    "spiking_resnet",
    "spiking_vgg",
    "streaming",
    "to_spiking",
]
