"""Neurons between discrete steps here and continuous time in NIR."""

from __future__ import annotations

import json
import math
from numbers import Real
from typing import Any

import keras
import numpy as np

from keras_htaf import layers, neurons
from keras_htaf.exchange.maps import Order
from keras_htaf.layers.spiking.over_time import OverTime

DT = 1e-4
"""Seconds of a step: what snnTorch takes for granted."""
KEY = "keras_htaf"
"""Under which a node's metadata say what NIR has no place for."""

_OPTIONS = (
    *("reset", "reset_value", "rest"),
    *("detach_reset", "reset_next_step", "fires_before_update"),
)


def check_dt(dt) -> None:
    """Raises ValueError unless dt is a positive number of seconds."""
    if not isinstance(dt, Real) or not 0 < float(dt) < math.inf:
        raise ValueError(f"Received dt={dt!r}. Expected positive seconds.")


def is_neuron(layer) -> bool:
    """Whether a layer is one of neurons that NIR knows."""
    return isinstance(layer, OverTime) and type(layer.neuron) in (
        neurons.LIF,
        neurons.CubaLIF,
        neurons.LI,
    )


def recurrence(layer):
    """The layer by which the neurons hear their own last spikes, or None."""
    return layer.recurrent if layer.is_recurrent else None


def to_node(nir: Any, layer, order: Order, dt: float) -> tuple[Any, str]:
    """The NIR node of a layer of neurons.

    Returns:
        The node, and what other readers will do otherwise ("" if nothing).

    Raises:
        ValueError: If there is no such node.
    """
    if not layer.return_sequences or layer.return_state or layer.go_backwards:
        raise ValueError(
            "NIR's neurons give what they fire at each step, in the order of time; set "
            "return_sequences=True, return_state=False, go_backwards=False"
        )
    neuron = layer.neuron
    values = {
        name: order.to_nir(_number(value)).astype("float64")
        for name, value in layer.parameters().items()
        if name in neuron.constants
    }
    decay = values["decay"]
    rest = np.full_like(decay, getattr(neuron, "rest", 0.0))
    metadata = {KEY: json.dumps(_said(layer), sort_keys=True)}
    firing = {}
    if "threshold" in values:
        threshold = values["threshold"].astype("float32")
        if layer.spike.fires_at_zero:  # NIR's neurons do not fire at their threshold
            threshold = np.nextafter(threshold, np.float32(-np.inf))
        firing = {"v_threshold": threshold, "v_reset": np.full_like(threshold, _v_reset(neuron))}
    if np.all(decay == 1) and type(neuron) is neurons.LIF and not neuron.scale_input:
        starts = [f"starts from {neuron.rest:g}"] if neuron.rest else []
        node = nir.IF(r=_single(np.ones_like(decay)), **firing, metadata=metadata)
        return node, "; ".join(_lost(layer) + starts)
    if np.any(decay == 1):
        raise ValueError(
            "a decay of 1 has no time constant; of NIR's neurons only IF does not leak, with all "
            "of a layer alike"
        )
    tau = dt / (1 - decay)
    r = np.ones_like(tau) if neuron.scale_input else 1 / (1 - decay)
    leaky = {"r": _single(r), "v_leak": _single(rest), "metadata": metadata}
    if type(neuron) is neurons.LI:
        return nir.LI(tau=_single(tau), **leaky), ""
    if type(neuron) is neurons.LIF:
        return nir.LIF(tau=_single(tau), **leaky, **firing), "; ".join(_lost(layer))
    synaptic = 1 - values["synaptic_decay"]
    if np.any(synaptic == 0):
        raise ValueError("a synaptic_decay of 1 has no time constant")
    node = nir.CubaLIF(
        tau_syn=_single(dt / synaptic),
        tau_mem=_single(tau),
        w_in=_single(1 / synaptic),
        **leaky,
        **firing,
    )
    return node, "; ".join(_lost(layer))


def to_layer(
    nir: Any, node, name: str, order: Order, dt: float, given: dict, recurrent=None
) -> list:
    """The layers of a NIR node: neurons, behind a Rescaling where the input has another gain.

    Args:
        given: Options that take the place of the node's own.
        recurrent: The layer by which the neurons hear their own last spikes.

    Raises:
        ValueError: If the layers here cannot do what the node says.
    """
    said = json.loads(node.metadata.get(KEY, "{}")) if node.metadata else {}
    fires = hasattr(node, "v_threshold")
    options = dict(said.get("options", {})) if fires else {}
    constants, gain, scaled = _constants(nir, node, order, dt)
    if fires:
        threshold = order.to_keras(np.asarray(node.v_threshold, "float64"))
        if said.get("fires_at_threshold"):
            threshold = np.nextafter(threshold.astype("float32"), np.float32(np.inf))
        constants["threshold"] = threshold
        options |= {"fires_at_threshold": bool(said.get("fires_at_threshold", False))}
        if said.get("surrogate"):
            surrogate = keras.saving.deserialize_keras_object(said["surrogate"])
            options |= {"surrogate": surrogate, "forward": said["forward"]}
        if options.get("reset", "value") == "value":
            options |= _reset(node, name)
        options |= given
        if options.get("reset", "subtract") != "value":
            options.pop("reset_value", None)
    if not isinstance(node, nir.IF):
        options["scale_input"] = scaled
        if fires:
            options["rest"] = constants.pop("rest")
        elif constants.pop("rest"):
            raise ValueError("its v_leak is not 0, which the LI here has no place for")
    if recurrent is not None:
        if not fires or not np.all(gain == 1):
            raise ValueError("its recurrent input has a gain, or it does not fire")
        options["recurrent"] = recurrent
    made = []
    if not np.all(gain == 1):
        made.append(keras.layers.Rescaling(plain(gain), name=f"{name}_gain"))
    return [*made, _layer(nir, node, name, constants, options)]


def _constants(nir, node, order, dt) -> tuple[dict, np.ndarray, bool]:
    """The constants, the gain of the input, and whether 1 - decay is another factor of it."""

    def read(field):
        return order.to_keras(np.asarray(getattr(node, field), "float64"))

    if isinstance(node, nir.IF):
        return {}, read("r"), False
    tau = read("tau_mem" if isinstance(node, nir.CubaLIF) else "tau")
    decay = _decay(tau, dt, "tau_mem" if isinstance(node, nir.CubaLIF) else "tau")
    constants = {"decay": decay, "rest": _one(read("v_leak"), "v_leak")}
    gain = read("r") * dt / tau
    if isinstance(node, nir.CubaLIF):
        tau_syn = read("tau_syn")
        constants["synaptic_decay"] = _decay(tau_syn, dt, "tau_syn")
        gain = gain * read("w_in") * dt / tau_syn
    if np.allclose(gain, 1, rtol=1e-5):
        return constants, np.ones_like(gain), False
    scaled = np.allclose(gain, 1 - decay, rtol=1e-5)
    return constants, np.ones_like(gain) if scaled else gain, scaled


def _decay(tau, dt, field) -> np.ndarray:
    decay = 1 - dt / tau
    if not np.all((decay > 0) & (decay <= 1)):
        raise ValueError(
            f"its {field} is {plain(tau)} s, and a step of dt = {dt} s makes the decay "
            f"1 - dt / {field} = {plain(decay)} of it, not in (0, 1]; pass the dt that it was "
            "written with"
        )
    return decay


def _layer(nir, node, name, constants, options):
    kinds = {nir.IF: layers.IF, nir.LIF: layers.LIF, nir.CubaLIF: layers.CubaLIF, nir.LI: layers.LI}
    single = {key: plain(value) for key, value in constants.items()}
    per_neuron = any(isinstance(value, list) for value in single.values())
    starts = {key: float(np.reshape(value, -1)[0]) for key, value in single.items()}
    layer = kinds[type(node)](**starts, **options, per_neuron=per_neuron, name=name)
    if per_neuron:
        shape = next(value.shape for value in constants.values())
        layer.build((None, None, *shape))
        for key, value in constants.items():
            getattr(layer, key).assign(value.astype("float32"))
    return layer


def _reset(node, name) -> dict:
    value = _one(np.asarray(node.v_reset, "float64"), "v_reset")
    return {"reset": "value", "reset_value": value} if value else {"reset": "zero"}


def _one(values, field) -> float:
    if np.unique(values).size != 1:
        raise ValueError(f"its {field} differs between neurons, and here all of a layer share one")
    # The shortest number of these 32 bits, -0.4 and not -0.4000000059604645.
    return float(str(np.float32(values.reshape(-1)[0])))


def _said(layer) -> dict:
    """What NIR has no place for."""
    if layer.spike is None:
        return {}
    neuron = layer.neuron
    return {
        "options": {name: getattr(neuron, name) for name in _OPTIONS},
        "fires_at_threshold": layer.spike.fires_at_zero,
        "surrogate": keras.saving.serialize_keras_object(layer.spike.surrogate),
        "forward": layer.spike.forward_mode,
    }


def _lost(layer) -> list[str]:
    """Why other readers will give other spikes."""
    neuron = layer.neuron
    found = []
    if layer.spike.forward_mode == "smooth":
        found.append("smooth spikes, which keras_htaf.harden makes hard")
    if neuron.fires_before_update:
        found.append("fires before the update")
    elif neuron.reset in ("subtract", "none"):
        late = ", in the next step" if neuron.reset_next_step else ""
        found.append(f"reset {neuron.reset!r}{late}")
    elif neuron.reset_next_step and type(neuron) is neurons.CubaLIF:
        # Of LIF it makes no difference to spikes: leak(after(v, r)) is leak(u).
        found.append("resets in the next step")
    return found


def _v_reset(neuron) -> float:
    return neuron.reset_value if neuron.reset == "value" else 0.0


def _number(value) -> np.ndarray:
    return keras.ops.convert_to_numpy(value)


def _single(values) -> np.ndarray:
    return np.asarray(values, "float32")


def plain(values):
    """One float if all are equal, else nested lists."""
    values = np.asarray(values, "float64")
    return float(values.reshape(-1)[0]) if np.unique(values).size == 1 else values.tolist()
