"""Layers of spiking networks, on (batch, time, ...).

fold_time.py    layers without a memory, applied to all steps at once
time_axis.py    making a time axis and taking it away
encodings.py    numbers as spikes over time
"""

from keras_htaf.layers.spiking.encodings import (
    DeltaEncoding,
    LatencyEncoding,
    PopulationEncoding,
    RateEncoding,
)
from keras_htaf.layers.spiking.fold_time import FoldTime
from keras_htaf.layers.spiking.time_axis import ReduceTime, RepeatTime

__all__ = [
    "DeltaEncoding",
    "FoldTime",
    "LatencyEncoding",
    "PopulationEncoding",
    "RateEncoding",
    "ReduceTime",
    "RepeatTime",
]
