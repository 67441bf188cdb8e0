"""Spikes, membrane potentials and spike rates as matplotlib figures.

    potentials, spikes = keras_htaf.pictures.trace(layer, inputs)
    figure = keras_htaf.pictures.raster(spikes[0])
    figure.savefig("raster.png")

Each function that draws returns a `matplotlib.figure.Figure` and touches no global state.
"""

from keras_htaf.pictures.membranes import membrane
from keras_htaf.pictures.rasters import raster
from keras_htaf.pictures.rates import spike_rates
from keras_htaf.pictures.traces import trace

__all__ = ["membrane", "raster", "spike_rates", "trace"]
