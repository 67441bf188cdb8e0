"""Losses.

labels.py       labels as targets
smoothed.py     cross-entropy with smoothed integer labels
spikes.py       losses of spikes and potentials over time
"""

from keras_htaf.losses.smoothed import SmoothedCrossentropy
from keras_htaf.losses.spikes import (
    LatencyCrossentropy,
    MaxMembraneCrossentropy,
    SpikeCountCrossentropy,
    SpikeCountMeanSquaredError,
    SpikeRateCrossentropy,
    TemporalCrossentropy,
)

__all__ = [
    "LatencyCrossentropy",
    "MaxMembraneCrossentropy",
    "SmoothedCrossentropy",
    "SpikeCountCrossentropy",
    "SpikeCountMeanSquaredError",
    "SpikeRateCrossentropy",
    "TemporalCrossentropy",
]
