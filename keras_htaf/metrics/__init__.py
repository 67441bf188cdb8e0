"""Metrics."""

from keras_htaf.metrics.spikes import SpikeCountAccuracy

__all__ = ["SpikeCountAccuracy"]
