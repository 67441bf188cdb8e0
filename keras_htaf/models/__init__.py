"""Builders of whole networks; each returns an ordinary functional Keras model."""

from keras_htaf.models.backbones import small_cnn
from keras_htaf.models.icbm import concept_maps, icbm

__all__ = ["concept_maps", "icbm", "small_cnn"]
