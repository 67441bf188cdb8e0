"""Callbacks: annealing the sharpness, measuring the gap, counting flips and spikes."""

from keras_htaf.callbacks.annealing import AnnealSharpness
from keras_htaf.callbacks.flips import FlipRatio
from keras_htaf.callbacks.gap import DiscretizationGap
from keras_htaf.callbacks.rates import SpikeRates

__all__ = ["AnnealSharpness", "DiscretizationGap", "FlipRatio", "SpikeRates"]
