"""Builders of whole networks; each returns an ordinary functional Keras model."""

from keras_htaf.models.backbones import small_cnn
from keras_htaf.models.binary import binary_mlp, binary_resnet, binary_vgg, binary_weights
from keras_htaf.models.heaviside import deep_heaviside_network
from keras_htaf.models.icbm import concept_maps, icbm

__all__ = [
    "binary_mlp",
    "binary_resnet",
    "binary_vgg",
    "binary_weights",
    "concept_maps",
    "deep_heaviside_network",
    "icbm",
    "small_cnn",
]
