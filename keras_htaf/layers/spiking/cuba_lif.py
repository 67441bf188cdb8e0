"""Leaky integrate-and-fire neurons behind a synaptic current, over time and as cells."""

from __future__ import annotations

import keras

from keras_htaf import neurons
from keras_htaf.layers.spiking.cell import Cell
from keras_htaf.layers.spiking.constants import Constant, decay_of, threshold_of
from keras_htaf.layers.spiking.neuron import firing
from keras_htaf.layers.spiking.over_time import OverTime

_register = keras.saving.register_keras_serializable(package="keras_htaf")


class _CubaLIF:
    """The arguments of a layer, or a cell, of CubaLIF neurons."""

    dynamics = neurons.CubaLIF
    presets = {
        "snntorch": {
            "reset_next_step": True,
            "detach_reset": lambda given: given["reset_next_step"],
            "surrogate": "atan",
        },
        "norse": {
            "decay": 0.9,
            "synaptic_decay": 0.8,
            "reset": "zero",
            "scale_input": True,
            "surrogate": "super_spike",
        },
        "spyx": {"fires_before_update": True, "detach_reset": False, "surrogate": "fast_sigmoid"},
    }

    def __init__(
        self,
        synaptic_decay=None,
        decay=None,
        threshold=1.0,
        *,
        synaptic_tau=None,
        tau=None,
        **kwargs,
    ):
        constants = {
            "synaptic_decay": Constant(decay_of(synaptic_decay, synaptic_tau, 0.8, "synaptic_")),
            "decay": Constant(decay_of(decay, tau, 0.9)),
            "threshold": threshold_of(threshold),
        }
        super().__init__(**firing(constants, kwargs))


@_register
class CubaLIF(_CubaLIF, OverTime):
    """`LIF` neurons behind a synaptic current, which the inputs charge and which decays.

        i <- synaptic_decay i + x
        v = leak(u) + i,    s = 1 if v > threshold else 0,    u <- after(v, s)

    With `reset_next_step` or `fires_before_update` a reset of the kinds zero and value is
    after(leak(v) + i, r); it has no closed form backwards. The others have, as `LIF` says, and i is
    kept where decays are trained.
    The states are the current and the potential.

    Args:
        synaptic_decay: Float in (0, 1]. Default 0.8.
        decay: Float in (0, 1], of the potential. Default 0.9.
        threshold: Positive float. Default 1.
        synaptic_tau: Float above 1, instead of the decay: synaptic_decay = 1 - 1 / synaptic_tau.
        tau: Float above 1, instead of the potential's decay.
        **kwargs: Of `LIF`; `trainable_decay` trains both decays, and `scale_input` multiplies the
            current by 1 - decay.

    Call arguments, Returns, Raises: as for `LIF`.

    Example:

    >>> spikes, current, potential = CubaLIF(return_state=True)(np.ones((2, 5, 3)))
    >>> (spikes.shape, current.shape) == ((2, 5, 3), (2, 3))
    True

    Reference: Eshraghian et al. (2023), arXiv:2109.12894.
    """


@_register
class CubaLIFCell(_CubaLIF, Cell):
    """The cell of `CubaLIF`, for `keras.layers.RNN`.

    Args: as `LIFCell`, with those of `CubaLIF`.

    Example:

    >>> keras.layers.RNN(CubaLIFCell(4))(np.ones((2, 5, 4))).shape == (2, 4)
    True
    """

    def __init__(self, units, **kwargs):
        super().__init__(units=units, **kwargs)
