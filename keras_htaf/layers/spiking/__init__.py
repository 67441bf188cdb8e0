"""Layers of spiking networks, on (batch, time, ...).

fold_time.py    layers without a memory, applied to all steps at once
time_axis.py    making a time axis and taking it away
encodings.py    numbers as spikes over time

Neurons are LIF, IF, PLIF (lif.py), CubaLIF, ALIF and LI, each as a layer and as a cell.

spike.py        the step of a neuron
neuron.py       what layers and cells share: constants, spike, recurrence
over_time.py    the layers' loop, masks and states
cell.py         cells of keras.layers.RNN
"""

from keras_htaf.layers.spiking.alif import ALIF, ALIFCell
from keras_htaf.layers.spiking.cuba_lif import CubaLIF, CubaLIFCell
from keras_htaf.layers.spiking.encodings import (
    DeltaEncoding,
    LatencyEncoding,
    PopulationEncoding,
    RateEncoding,
)
from keras_htaf.layers.spiking.fold_time import FoldTime
from keras_htaf.layers.spiking.li import LI, LICell
from keras_htaf.layers.spiking.lif import IF, LIF, PLIF, IFCell, LIFCell, PLIFCell
from keras_htaf.layers.spiking.spike import Spike
from keras_htaf.layers.spiking.time_axis import ReduceTime, RepeatTime

__all__ = [
    "ALIF",
    "IF",
    "LI",
    "LIF",
    "PLIF",
    "ALIFCell",
    "CubaLIF",
    "CubaLIFCell",
    "DeltaEncoding",
    "FoldTime",
    "IFCell",
    "LICell",
    "LIFCell",
    "LatencyEncoding",
    "PLIFCell",
    "PopulationEncoding",
    "RateEncoding",
    "ReduceTime",
    "RepeatTime",
    "Spike",
]
