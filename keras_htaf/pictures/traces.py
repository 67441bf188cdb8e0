"""What the neurons of a layer go through, to be drawn."""

from __future__ import annotations

import keras
import numpy as np
from keras import ops

from keras_htaf.layers.spiking.over_time import OverTime


def trace(layer: keras.layers.Layer, inputs) -> tuple[np.ndarray, np.ndarray | None]:
    """Runs a layer of neurons and returns their potentials and spikes at all steps.

    Potentials are those that are compared with the threshold, before a reset; of `ALIF` less what
    its threshold has risen by.

    Args:
        layer: An `IF`, `LIF`, `PLIF`, `CubaLIF`, `ALIF` or `LI` layer.
        inputs: Its inputs, of shape (batch, time, ...).

    Returns:
        `(potentials, spikes)`, arrays of the shape of the inputs; `(potentials, None)` for `LI`,
        which does not fire. Take a sample of both for `membrane`.

    Raises:
        ValueError: If the layer is none of these.

    Example:

    >>> lif = keras_htaf.layers.LIF(decay=0.9, reset="zero")
    >>> v, s = trace(lif, np.array([[[0.5], [0.8], [0.3]]]))
    >>> [round(float(x), 3) for x in v[0, :, 0]], s[0, :, 0].tolist()
    ([0.5, 1.25, 0.3], [0.0, 1.0, 0.0])
    >>> figure = keras_htaf.pictures.membrane(v[0], s[0], threshold=1.0)
    """
    if not isinstance(layer, OverTime):
        raise ValueError(
            f"Received {type(layer).__name__}. Expected a layer of neurons over time, such as LIF."
        )
    inputs = ops.convert_to_tensor(inputs)
    if not layer.built:
        layer.build(inputs.shape)
    with keras.StatelessScope():  # looking changes nothing
        if layer.spike is None:
            return _numpy(layer.run(inputs)[0]), None
        distances: list = []
        with layer.spike.tapped(_keeping(distances)):
            spikes = layer.run(inputs)[0]
        return _numpy(distances[-1] + layer.parameters()["threshold"]), _numpy(spikes)


def _keeping(seen: list):
    """A tap that leaves what it sees as it is."""

    def tap(distance):
        seen.append(distance)
        return distance

    return tap


def _numpy(tensor) -> np.ndarray:
    return ops.convert_to_numpy(ops.cast(tensor, "float32"))
