"""How often spiking neurons fire while a model trains."""

from __future__ import annotations

from contextlib import ExitStack

import keras
import numpy as np
from keras import ops

from keras_htaf.layers.spiking.over_time import OverTime


class SpikeRates(keras.callbacks.Callback):
    """Logs, after each epoch, how often the neurons of each spiking layer fire on a sample.

    Logs, and so writes into `history` (`keras_htaf.pictures.spike_rates` draws it):

        spike_rate            of all neurons: spikes / (samples * steps * neurons)
        spike_rate/<layer>    of one layer

    Masked steps count as silent ones. Of neurons with a smooth forward pass the rate is the mean
    of what they give. Neurons that are cells of `keras.layers.RNN` are not looked at.

    Args:
        x: Inputs, an array whose first axis is the batch.
        batch_size: Default 256.
        every: Measure in every n-th epoch and in the last. Default 1.

    Raises:
        ValueError: If x is empty or a number is not positive; at the start of `fit` also if the
            model has no layer of neurons that fire, or two of the same name.

    Example:

    >>> model = keras.Sequential([keras.Input((5, 2)), keras_htaf.layers.LIF(name="lif")])
    >>> model.compile("sgd", "mse")
    >>> x = np.ones((4, 5, 2))
    >>> logs = model.fit(x, x, verbose=0, callbacks=[SpikeRates(x)]).history
    >>> round(logs["spike_rate/lif"][0], 6)  # at 1, 0.9 + 1, 0.81 + 1, ...: all but the first step
    0.8
    """

    def __init__(self, x, batch_size: int = 256, every: int = 1):
        super().__init__()
        for name, value in (("batch_size", batch_size), ("every", every)):
            if value != int(value) or value < 1:
                raise ValueError(f"Received {name}={value!r}. Expected a positive integer.")
        self.x = np.asarray(x)
        if self.x.ndim == 0 or not len(self.x):
            raise ValueError(f"Received x of shape {self.x.shape}. Expected at least one sample.")
        self.batch_size = batch_size
        self.every = every

    def on_train_begin(self, logs=None):
        names = [layer.name for layer in _firing(self.model)]
        if not names or len(set(names)) < len(names):
            raise ValueError(
                f"SpikeRates found the spiking layers {names} in model {self.model.name!r}. "
                "Expected at least one, with names of their own."
            )

    def on_epoch_end(self, epoch, logs=None):
        last = epoch + 1 == self.params["epochs"]
        if logs is None or ((epoch + 1) % self.every and not last):
            return
        # Through self.model: on JAX that brings the weights up to date within an epoch.
        counted = count_spikes(self.model, self.x, self.batch_size)
        total = sum(np.array(pair) for pair in counted.values())
        logs["spike_rate"] = float(total[0] / total[1])
        for name, (spikes, chances) in counted.items():
            logs[f"spike_rate/{name}"] = spikes / chances


def count_spikes(model, x, batch_size: int = 256) -> dict[str, tuple[float, int]]:
    """For each layer of neurons that fire: its spikes, and how many there could have been."""
    counted = {layer.name: (0.0, 0) for layer in _firing(model)}
    for begin in range(0, len(x), batch_size):
        seen: dict[str, list] = {name: [] for name in counted}
        with ExitStack() as stack:
            for layer in _firing(model):
                stack.enter_context(layer.spike.tapped(observer=seen[layer.name].append))
            stack.enter_context(keras.StatelessScope())  # looking changes nothing
            model(x[begin : begin + batch_size], training=False)
        for name, calls in seen.items():
            for spikes in calls:
                spikes = ops.convert_to_numpy(ops.cast(spikes, "float32"))
                sum_, size = counted[name]
                counted[name] = (sum_ + float(spikes.sum(dtype="float64")), size + spikes.size)
    return counted


def _firing(model) -> list[OverTime]:
    layers = model._flatten_layers()
    return [layer for layer in layers if isinstance(layer, OverTime) and layer.spike is not None]
