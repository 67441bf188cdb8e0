"""Builders of whole networks; each returns an ordinary functional Keras model."""

from keras_htaf.models.backbones import small_cnn
from keras_htaf.models.heaviside import deep_heaviside_network
from keras_htaf.models.icbm import concept_maps, icbm

__all__ = ["concept_maps", "deep_heaviside_network", "icbm", "small_cnn"]
