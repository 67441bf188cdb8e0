"""Integrate-and-fire neurons, leaky or not, over time and as cells."""

from __future__ import annotations

import keras
import numpy as np

from keras_htaf import neurons
from keras_htaf.layers.spiking.cell import Cell
from keras_htaf.layers.spiking.constants import Constant, decay_of, threshold_of
from keras_htaf.layers.spiking.neuron import firing
from keras_htaf.layers.spiking.over_time import OverTime

_register = keras.saving.register_keras_serializable(package="keras_htaf")


class _LIF:
    """The arguments of a layer, or a cell, of LIF neurons."""

    dynamics = neurons.LIF
    presets = {
        "snntorch": {
            "reset_next_step": True,
            "detach_reset": lambda given: given["reset_next_step"],
            "surrogate": "atan",
        },
        "spikingjelly": {
            "tau": 2.0,
            "reset": "zero",
            "rest": lambda given: given.get("reset_value", 0.0),
            "detach_reset": False,
            "scale_input": True,
            "fires_at_threshold": True,
            "surrogate": "sigmoid",
        },
        "norse": {"decay": 0.9, "reset": "zero", "scale_input": True, "surrogate": "super_spike"},
        "spyx": {"fires_before_update": True, "detach_reset": False, "surrogate": "fast_sigmoid"},
    }

    def __init__(self, decay=None, threshold=1.0, *, tau=None, **kwargs):
        constants = {
            "decay": Constant(decay_of(decay, tau, 0.9)),
            "threshold": threshold_of(threshold),
        }
        super().__init__(**firing(constants, kwargs))


@_register
class LIF(_LIF, OverTime):
    """Leaky integrate-and-fire neurons, one for each feature, over (batch, time, ...).

        v = leak(u) + x,    s = 1 if v > threshold else 0,    u <- after(v, s)

        leak(u) = rest + decay (u - rest)
        after(v, s) = v - s threshold      reset "subtract"
                      (1 - s) v                  "zero"
                      (1 - s) v + s reset_value  "value"
                      v                          "none"

    Backwards s has the surrogate's slope at v - threshold. The state is the potential u.

    Gradients are of first order, on JAX in reverse mode. With exact spikes and no recurrence they
    have a closed form, with masks too unless `fires_before_update`. For it one array of the inputs'
    size is kept, v, and where a trained decay scales the inputs these too (on JAX, under a mask,
    one more). Smooth spikes have such a form without a reset. Else the inputs and the states before
    each step are kept, and on torch all that each step computes.

    Args:
        decay: Float in (0, 1], what is left of the potential after a step. Default 0.9.
        threshold: Positive float. Default 1.
        tau: Float above 1, instead of the decay: decay = 1 - 1 / tau.
        reset: What a spike does to the potential, see above. Default `"subtract"`.
        reset_value: Float, for `"value"`. Default 0.
        rest: Float, the potential that neurons start from and leak to. Default 0.
        reset_next_step: Whether the reset is the next step's, and the state is v:
            v <- leak(v) + x - r threshold or leak(after(v, r)) + x, with r the spike of the v
            before. Default False.
        detach_reset: Whether no gradient passes through the s of the reset. Default True.
        scale_input: Whether x is multiplied by 1 - decay (that is, 1 / tau). Default False.
        fires_at_threshold: Whether v = threshold gives a spike. Default False.
        fires_before_update: Whether the output is the r of `reset_next_step`, so that it comes one
            step later. Default False.
        surrogate: A `keras_htaf.surrogates` object or name. Default `"htaf"`.
        forward: `"hard"` (default), or `"smooth"` for the surrogate's smooth step, which then
            drives the reset too. `keras_htaf.callbacks.AnnealSharpness` sharpens it (and the slope
            of a hard one) in training; `keras_htaf.harden` makes it hard.
        trainable_decay: Whether the decay is trained, within (0, 1]. Default False.
        trainable_threshold: Whether the threshold is trained. Default False.
        per_neuron: Whether each neuron has a decay and a threshold of its own, which may then be
            given as arrays that broadcast to the neurons. Default False.
        recurrent: `None` (default); `True` for a dense layer without bias over the last axis; or a
            layer that keeps nothing from call to call (no dropout, no batch normalisation, no
            activity regularizer). What it makes of the last spikes is added to x, and these are a
            second state.
        return_sequences: Whether to return the outputs of all steps, or the last that is not
            masked. Default True.
        return_state: Whether to return the states after the last step too. Default False.
        stateful: Whether a call starts from the states that the one before ended with, until
            `reset_states()`. The batch size must be known. Default False.
        go_backwards: Whether time runs backwards; outputs are in that order. Default False.
        **kwargs: Of `keras.layers.Layer`.

    Call arguments:
        inputs: Currents of shape (batch, time, ...).
        initial_state: The states that a call with `return_state=True` returned, each of shape
            (batch, ...). Default: at rest.
        mask: Shape (batch, time). Where it is false the neurons are silent and keep their state.

    Returns:
        Spikes of the shape of the inputs, without the time axis if `return_sequences` is false;
        with `return_state`, a tuple of them and the states, which are float32.

    Raises:
        ValueError: If a constant is out of range, an option is unknown, two contradict each other,
            or the inputs, states or mask have a wrong shape.

    Example:

    >>> current = np.array([[0.5, 0.8, 0.3, 1.2, 0.0, 0.9]])
    >>> [int(s) for s in LIF(decay=0.9)(current[..., None])[0, :, 0]]
    [0, 1, 0, 1, 0, 1]

    Reference: Eshraghian et al. (2023), arXiv:2109.12894.
    """


@_register
class LIFCell(_LIF, Cell):
    """The cell of `LIF`, for `keras.layers.RNN`.

    Args:
        units: Positive integer, the number of neurons, each with an input of its own.
        **kwargs: Of `LIF`, but for those that `keras.layers.RNN` has.

    Example:

    >>> keras.layers.RNN(LIFCell(4), return_sequences=True)(np.ones((2, 5, 4))).shape == (2, 5, 4)
    True
    """

    def __init__(self, units, **kwargs):
        super().__init__(units=units, **kwargs)


class _IF(_LIF):
    presets = {
        library: {k: v for k, v in preset.items() if k not in ("decay", "tau", "scale_input")}
        for library, preset in _LIF.presets.items()
        if library != "norse"
    }

    def __init__(self, threshold=1.0, **kwargs):
        for name in ("decay", "tau", "trainable_decay", "scale_input"):
            if name in kwargs:
                raise ValueError(
                    f"Received {name}={kwargs[name]!r}. Expected none: IF neurons do not leak. "
                    "Use LIF."
                )
        super().__init__(decay=1.0, threshold=threshold, **kwargs)

    def get_config(self):
        config = super().get_config()
        for name in ("decay", "trainable_decay", "scale_input"):
            del config[name]
        return config


@_register
class IF(_IF, OverTime):
    """Integrate-and-fire neurons: `LIF` without a leak, decay = 1.

    Args:
        threshold: Positive float. Default 1.
        **kwargs: Of `LIF`, but for the decay and the scaling by it.

    Example:

    >>> [int(s) for s in IF()(np.full((1, 6, 1), 0.4))[0, :, 0]]
    [0, 0, 1, 0, 0, 1]

    Reference: Eshraghian et al. (2023), arXiv:2109.12894.
    """


@_register
class IFCell(_IF, Cell):
    """The cell of `IF`, for `keras.layers.RNN`.

    Args: as `LIFCell`, but for the decay.

    Example:

    >>> keras.layers.RNN(IFCell(4))(np.ones((2, 5, 4))).shape == (2, 4)
    True
    """

    def __init__(self, units, **kwargs):
        super().__init__(units=units, **kwargs)


class _PLIF(_LIF):
    logit = True
    presets = {"spikingjelly": _LIF.presets["spikingjelly"]}

    def __init__(self, decay=None, threshold=1.0, *, tau=None, trainable_decay=True, **kwargs):
        if np.any(decay_of(decay, tau, 0.5) == 1):
            raise ValueError(
                f"Received decay={decay!r}, tau={tau!r}. Expected a decay below 1, which is the "
                "sigmoid of a weight."
            )
        tau = 2.0 if decay is None and tau is None else tau
        super().__init__(decay, threshold, tau=tau, trainable_decay=trainable_decay, **kwargs)


@_register
class PLIF(_PLIF, OverTime):
    """Leaky integrate-and-fire neurons with a learned leak: decay = sigmoid(w), w the weight.

    So the decay stays between 0 and 1. w starts from log(decay / (1 - decay)) = log(tau - 1).

    Args:
        decay: Float in (0, 1), what the decay starts from. Default 0.5.
        threshold: Positive float. Default 1.
        tau: Float above 1, instead of the decay.
        trainable_decay: Default True.
        **kwargs: Of `LIF`.

    Example:

    >>> layer = PLIF(tau=4.0, name="plif")
    >>> layer(np.ones((1, 2, 3))).shape == (1, 2, 3)
    True
    >>> [weight.name for weight in layer.trainable_weights]
    ['decay_logit']

    Reference: Fang et al. (2021), arXiv:2007.05785.
    """


@_register
class PLIFCell(_PLIF, Cell):
    """The cell of `PLIF`, for `keras.layers.RNN`.

    Args: as `LIFCell`, with those of `PLIF`.

    Example:

    >>> keras.layers.RNN(PLIFCell(4))(np.ones((2, 5, 4))).shape == (2, 4)
    True
    """

    def __init__(self, units, **kwargs):
        super().__init__(units=units, **kwargs)
