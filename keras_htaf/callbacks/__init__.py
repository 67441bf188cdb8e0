"""Callbacks: annealing the sharpness, measuring the gap."""

from keras_htaf.callbacks.annealing import AnnealSharpness
from keras_htaf.callbacks.gap import DiscretizationGap

__all__ = ["AnnealSharpness", "DiscretizationGap"]
