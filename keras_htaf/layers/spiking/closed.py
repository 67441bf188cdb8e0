"""Neurons over time whose backward pass has a closed form.

Each function gives what a loop over `layer.turn` gives, the outputs of all steps and the last
states, and is given a layer of neurons, inputs in their order, the states before, a mask or None,
`layer.parameters()` and whether it is part of a training step.
"""

from __future__ import annotations

from keras import ops

from keras_htaf import backend, neurons
from keras_htaf.backend.turns import beside, only


def of(layer, mask):
    """The function for a layer's neurons, or None.

    There is one for leaky integrators, for neurons without a reset, and for neurons whose spikes
    are exact, but for those with recurrence, with a threshold that adapts, with a reset, in the
    next step, of a potential that a current has been added to, or that fire before the update,
    under a mask. Smooth ones have none if they fire before the update.
    """
    neuron = layer.neuron
    if layer.is_recurrent or type(neuron) not in (neurons.LI, neurons.LIF, neurons.CubaLIF):
        return None
    if type(neuron) is neurons.LI:
        return integrate
    early = neuron.fires_before_update
    if layer.spike.forward_mode != "hard":
        return integrate_and_step if neuron.reset == "none" and not early else None
    current = type(neuron) is neurons.CubaLIF
    if current and neuron.resets_late and neuron.reset in ("zero", "value"):
        return None
    return None if early and mask is not None else integrate_and_fire


def integrate(layer, x, state, mask, parameters, training):
    """Leaky integrators."""
    v, state = _potential(layer, x, state, mask, parameters, training)
    return layer.in_compute_dtype(only(v, beside(mask, v))), state


def integrate_and_step(layer, x, state, mask, parameters, training):
    """Neurons without a reset, whose spikes may be smooth."""
    v, state = _potential(layer, x, state, mask, parameters, training)
    s = layer.spike.pure_call(v - parameters["threshold"], *parameters["spike"], training)
    return layer.in_compute_dtype(only(s, beside(mask, s))), state


def _potential(layer, x, state, mask, parameters, training):
    charge, currents = _charge(layer, x, state, mask, parameters, training)
    charge = ops.cast(charge, layer.state_dtype)
    v = _decaying(layer, charge, parameters["decay"], state[-1], mask, training)
    return v, (*currents, v[:, -1])


def integrate_and_fire(layer, x, state, mask, parameters, training):
    """Neurons with exact spikes, at most one of which resets in a step."""
    neuron, spike = layer.neuron, layer.spike
    charge, currents = _charge(layer, x, state, mask, parameters, training)
    firing = backend.Firing(
        surrogate=spike.surrogate,
        reset=neuron.reset,
        reset_value=float(neuron.reset_value),
        at_threshold=spike.fires_at_zero,
        late=neuron.resets_late,
        detach=neuron.detach_reset,
        trained=(layer.trainable_decay, layer.trainable_threshold),
    )
    numbers = (parameters["decay"], parameters["threshold"], *parameters["spike"])
    s, last = backend.integrate_and_fire(firing, charge, state[-1], *numbers, mask, training)
    if neuron.fires_before_update:
        distance = state[-1] - parameters["threshold"]
        first = spike.pure_call(distance, *parameters["spike"], training)
        s = ops.concatenate([ops.cast(first, s.dtype)[:, None], s[:, :-1]], axis=1)
    return layer.in_compute_dtype(s), (*currents, last)


def _charge(layer, x, state, mask, parameters, training):
    """(what each step adds to the potential, the last states of what is before it)."""
    neuron, decay, currents = layer.neuron, parameters["decay"], ()
    if type(neuron) is neurons.CubaLIF:
        x, decay_of_it = ops.cast(x, layer.state_dtype), parameters["synaptic_decay"]
        x = _decaying(layer, x, decay_of_it, state[0], mask, training)
        currents = (x[:, -1],)
    elif neuron.scale_input:
        x = only(x, beside(mask, x))  # x is in the decay's gradient, and 0 times NaN is NaN
    if neuron.scale_input or getattr(neuron, "rest", 0):
        x = neuron.charge(ops.cast(x, layer.state_dtype), decay)
    return x, currents


def _decaying(layer, x, decay, first, mask, training):
    return backend.linear_recurrence(x, decay, first, mask, layer.trainable_decay, training)
