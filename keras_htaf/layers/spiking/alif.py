"""Leaky integrate-and-fire neurons with an adaptive threshold, over time and as cells."""

from __future__ import annotations

import math

import keras
import numpy as np

from keras_htaf import neurons
from keras_htaf.layers.spiking.cell import Cell
from keras_htaf.layers.spiking.constants import Constant, decay_of, number, threshold_of
from keras_htaf.layers.spiking.neuron import firing
from keras_htaf.layers.spiking.over_time import OverTime

_register = keras.saving.register_keras_serializable(package="keras_htaf")


class _ALIF:
    """The arguments of a layer, or a cell, of ALIF neurons."""

    dynamics = neurons.ALIF

    def __init__(
        self,
        decay=None,
        threshold=1.0,
        adaptation=1.8,
        adaptation_decay=None,
        *,
        tau=None,
        adaptation_tau=None,
        **kwargs,
    ):
        strength = number(adaptation)
        if not np.all((strength >= 0) & (strength < math.inf)):
            raise ValueError(
                f"Received adaptation={adaptation!r}. Expected a finite number of at least 0."
            )
        rho = decay_of(adaptation_decay, adaptation_tau, 0.97, "adaptation_")
        constants = {
            "decay": Constant(decay_of(decay, tau, 0.9)),
            "threshold": threshold_of(threshold),
            "adaptation": Constant(strength, "threshold", 0.0, math.inf),
            "adaptation_decay": Constant(rho),
        }
        super().__init__(**firing(constants, kwargs))


@_register
class ALIF(_ALIF, OverTime):
    """`LIF` neurons that adapt: each spike raises a neuron's threshold for a while.

        v = leak(u) + x,    s = 1 if v > b else 0,    b = threshold + adaptation a
        u <- after(v, s),    a <- adaptation_decay a + (1 - adaptation_decay) s

    The states are the potential u and a, which is between 0 and 1. A reset subtracts b. There is no
    closed form backwards: see `LIF` for what is kept.

    Args:
        decay: Float in (0, 1], of the potential. Default 0.9.
        threshold: Positive float, of a neuron that has not fired of late. Default 1.
        adaptation: Float >= 0, by how much constant firing raises it. Default 1.8.
        adaptation_decay: Float in (0, 1]. Default 0.97.
        tau: Float above 1, instead of the decay: decay = 1 - 1 / tau.
        adaptation_tau: Float above 1, instead of the adaptation's decay.
        **kwargs: Of `LIF`, but for `reset_next_step` and `fires_before_update`. `trainable_decay`
            trains both decays, `trainable_threshold` the threshold and the adaptation.

    Call arguments, Returns, Raises: as for `LIF`.

    Example:

    >>> [int(s) for s in ALIF()(np.full((1, 9, 1), 0.6))[0, :, 0]]
    [0, 1, 0, 1, 0, 1, 0, 1, 0]

    Reference: Bellec et al. (2018), arXiv:1803.09574.
    """


@_register
class ALIFCell(_ALIF, Cell):
    """The cell of `ALIF`, for `keras.layers.RNN`.

    Args: as `LIFCell`, with those of `ALIF`.

    Example:

    >>> keras.layers.RNN(ALIFCell(4))(np.ones((2, 5, 4))).shape == (2, 4)
    True
    """

    def __init__(self, units, **kwargs):
        super().__init__(units=units, **kwargs)
