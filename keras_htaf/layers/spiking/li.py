"""Leaky integrators, over time and as cells."""

from __future__ import annotations

import keras

from keras_htaf import neurons
from keras_htaf.layers.spiking.cell import Cell
from keras_htaf.layers.spiking.constants import Constant, decay_of
from keras_htaf.layers.spiking.over_time import OverTime

_register = keras.saving.register_keras_serializable(package="keras_htaf")


class _LI:
    """The arguments of a layer, or a cell, of leaky integrators."""

    dynamics = neurons.LI

    def __init__(self, decay=None, *, tau=None, **kwargs):
        for name in ("recurrent", "trainable_threshold", "spike"):
            if name in kwargs:
                raise ValueError(
                    f"Received {name}={kwargs[name]!r}. Expected none: LI neurons do not fire. "
                    "Use LIF."
                )
        super().__init__(constants={"decay": Constant(decay_of(decay, tau, 0.9))}, **kwargs)


@_register
class LI(_LI, OverTime):
    """Leaky integrators, the readout of a spiking network: potentials that do not fire.

        v <- decay v + x,    output v

    For the backward pass nothing is kept (on JAX, under a mask, one array); if the decay is
    trained, v, and if it scales the inputs these too.

    Args:
        decay: Float in (0, 1]. Default 0.9.
        tau: Float above 1, instead of the decay: decay = 1 - 1 / tau.
        scale_input: Whether x is multiplied by 1 - decay (that is, 1 / tau). Default False.
        trainable_decay, per_neuron: As for `LIF`.
        return_sequences, return_state: As for `LIF`.
        stateful, go_backwards, **kwargs: As for `LIF`.

    Call arguments: as for `LIF`. At masked steps the output is 0 and the potential is kept.

    Returns:
        Potentials of the shape of the inputs, without the time axis if `return_sequences` is
        false; with `return_state`, a tuple of them and the state.

    Raises:
        ValueError: As for `LIF`.

    Example:

    >>> [float(v) for v in LI(decay=0.5)(np.ones((1, 3, 1)))[0, :, 0]]
    [1.0, 1.5, 1.75]

    Reference: Eshraghian et al. (2023), arXiv:2109.12894.
    """


@_register
class LICell(_LI, Cell):
    """The cell of `LI`, for `keras.layers.RNN`.

    Args: `units`, and those of `LI`.

    Example:

    >>> keras.layers.RNN(LICell(4))(np.ones((2, 5, 4))).shape == (2, 4)
    True
    """

    def __init__(self, units, **kwargs):
        super().__init__(units=units, **kwargs)
