"""Layers of binary-activation networks."""

from keras_htaf.layers.activations import HTAF, Heaviside, Sign, Step
from keras_htaf.layers.penalty import ActivityPenalty

__all__ = ["HTAF", "ActivityPenalty", "Heaviside", "Sign", "Step"]
