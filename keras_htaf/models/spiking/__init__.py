"""Spiking networks, and what is done with them.

parts.py        coding, maps, normalisation over time, neurons, readout
mlp.py          dense networks
vgg.py          convolutional networks
resnet.py       residual networks of spikes (SEW ResNet)
conversion.py   trained ReLU networks as spiking ones
streaming.py    models over time in pieces, with their states as inputs and outputs
graph.py        the graph of a model that is to be computed anew
"""

from keras_htaf.models.spiking.conversion import to_spiking
from keras_htaf.models.spiking.mlp import spiking_mlp
from keras_htaf.models.spiking.resnet import spiking_resnet
from keras_htaf.models.spiking.streaming import initial_state, streaming
from keras_htaf.models.spiking.vgg import spiking_vgg

__all__ = [
    "initial_state",
    "spiking_mlp",
    "spiking_resnet",
    "spiking_vgg",
    "streaming",
    "to_spiking",
]
