"""Callbacks: annealing the sharpness, measuring the gap, counting flips."""

from keras_htaf.callbacks.annealing import AnnealSharpness
from keras_htaf.callbacks.flips import FlipRatio
from keras_htaf.callbacks.gap import DiscretizationGap

__all__ = ["AnnealSharpness", "DiscretizationGap", "FlipRatio"]
