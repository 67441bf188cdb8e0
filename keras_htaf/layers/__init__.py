"""Layers of binary-activation networks."""

from keras_htaf.layers.activations import HTAF
from keras_htaf.layers.penalty import ActivityPenalty
from keras_htaf.quantizers import Heaviside, Sign, Step

__all__ = ["HTAF", "ActivityPenalty", "Heaviside", "Sign", "Step"]
