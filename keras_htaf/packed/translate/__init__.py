"""From a Keras model to a graph of packed operations.

network.py     the calls of a model, in order, and the layers that have no packed form
layers.py      layers with kernels
others.py      the other layers
fold.py        steps become thresholds, moved before pooling and flattening
probe.py       thresholds, factors and offsets, by asking Keras
"""

from __future__ import annotations

import keras

from keras_htaf.packed.translate.fold import folded
from keras_htaf.packed.translate.network import Network
from keras_htaf_packed.graph import Graph

_CHOICES = ("error", "keras")


def translated(model: keras.Model, unsupported: str = "error") -> Graph:
    """The graph of a model; arguments and errors as for `packed.pack`."""
    if unsupported not in _CHOICES:
        raise ValueError(f"Received unsupported={unsupported!r}. Expected one of {_CHOICES}.")
    if not isinstance(model, keras.Model):
        raise ValueError(f"Received {type(model).__name__}. Expected a keras.Model.")
    if len(getattr(model, "outputs", None) or ()) != 1 or len(model.inputs) != 1:
        raise ValueError(
            f"Model {model.name!r} ({type(model).__name__}) has no graph from one input to one "
            "output. Expected a functional model, or a sequential one that begins with keras.Input."
        )
    network = Network(keeps_unsupported=unsupported == "keras")
    network.follow(model)
    return folded(network)
