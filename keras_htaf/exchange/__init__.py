"""Spiking networks from and to other tools, in NIR, the Neuromorphic Intermediate Representation.

graph.py      a NIR graph made plain
maps.py       layers without a memory: kernels, padding, the order of channels
units.py      neurons between discrete steps and continuous time
writing.py    from a Keras model to a NIR graph
reading.py    from a NIR graph to a Keras model
"""

from keras_htaf.exchange.reading import from_nir
from keras_htaf.exchange.writing import to_nir

__all__ = ["from_nir", "to_nir"]
