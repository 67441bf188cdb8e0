"""Layers of binary-activation networks."""

from keras_htaf.layers.activations import HTAF, Heaviside, Sign, Step

__all__ = ["HTAF", "Heaviside", "Sign", "Step"]
