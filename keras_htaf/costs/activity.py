"""What a model computes on data, call by call: which inputs are spikes, and what they set off."""

from __future__ import annotations

import math
from collections.abc import Generator
from contextlib import nullcontext
from dataclasses import dataclass

import keras
import numpy as np
from keras import ops

from keras_htaf import neurons
from keras_htaf.costs.graph import CONVOLUTIONS, DEPTHWISE, Call, nodes
from keras_htaf.costs.layers import inner_of, terms
from keras_htaf.layers import FoldTime
from keras_htaf.layers.spiking.over_time import OverTime
from keras_htaf.quantizers import Step

_MULTIPLYING = (keras.layers.Dense, keras.layers.EinsumDense)


@dataclass
class Activity:
    """What one layer did, summed over samples and calls."""

    name: str
    kind: str
    steps: int = 1
    products: int = 0
    """Multiply-accumulates of all inputs, whether they are 0 or not."""
    weight_bits: int = 0
    input_bits: int = 0
    """Set where inputs are numbers, not spikes or sums of spikes."""
    most: int = 1
    """The largest sum of spikes among the inputs."""
    inputs: int = 0
    nonzero: int = 0
    outputs: int = 0
    synaptic: float = 0.0
    """Of `products`, those whose input is not 0; for sums of spikes, one for each spike."""
    spikes: float = 0.0
    """That it gives, if it gives any."""
    chances: int = 0
    """That there were to give one: neurons times steps."""
    updates: int = 0
    """Multiplications of states."""
    additions: float = 0.0
    """To states, but those of inputs."""
    states: int = 0
    """Updated, over all steps."""
    recurrent: bool = False


def observe(model: keras.Model, x, batch_size: int) -> list[Activity]:
    """Runs a functional model on data and counts, layer by layer.

    Args:
        model: Its steps are exact.
        x: Inputs, one array.
        batch_size: Samples at a time.
    """
    rows: dict[keras.Operation, Activity] = {}
    for begin in range(0, len(x), batch_size):
        with keras.StatelessScope():  # looking changes nothing
            calls = list(_run(model, [ops.convert_to_tensor(x[begin : begin + batch_size])], ""))
        clock = {c.inputs[0].shape[1] for c in calls if isinstance(c.operation, OverTime)}
        for call in calls:
            kind = type(inner_of(call.operation)).__name__
            row = rows.setdefault(call.operation, Activity(call.path, kind))
            _count(row, call, clock)
    return list(rows.values())


def _run(model, inputs, prefix: str) -> Generator[Call, None, list]:
    """The calls of the model's layers with values in place of symbolic tensors."""
    known = {id(t): value for t, value in zip(model.inputs, inputs, strict=True)}
    for node in nodes(model.outputs):
        operation = node.operation
        if isinstance(operation, keras.layers.InputLayer):
            continue
        given = [known[id(t)] for t in node.input_tensors]
        if isinstance(operation, keras.Model):
            made = yield from _run(operation, given, f"{prefix}{operation.name}/")
        else:
            arguments, options = node.arguments.fill_in(known)
            spikes: list = []
            with _collecting(spikes, operation):
                made = keras.tree.flatten(operation(*arguments, **options))
            yield Call(operation, prefix + operation.name, given, spikes or made, 0, 0)
        known |= {id(t): value for t, value in zip(node.output_tensors, made, strict=True)}
    return [known[id(t)] for t in model.outputs]


def _collecting(spikes: list, operation):
    """Of neurons that return their last spikes only, those of all steps."""
    if not isinstance(operation, OverTime) or operation.spike is None or operation.return_sequences:
        return nullcontext()
    return operation.spike.tapped(observer=spikes.append)


def _count(row: Activity, call: Call, clock: set[int]) -> None:
    layer = call.operation
    if isinstance(layer, OverTime):
        _count_neurons(row, call)
    elif isinstance(inner_of(layer), Step):
        bits = _numpy(call.outputs[0])
        row.spikes += int(np.count_nonzero(bits > 0))
        row.chances += bits.size
    else:
        _count_products(row, layer, call, clock)


def _count_products(row, layer, call, clock) -> None:
    found = terms(call)
    if not found:
        return
    values = _numpy(call.inputs[0])
    timed = isinstance(layer, FoldTime) or (
        isinstance(layer, _MULTIPLYING) and values.ndim > 2 and values.shape[1] in clock
    )
    row.steps = values.shape[1] if timed else 1
    row.products += len(values) * sum(number for number, *_ in found)
    row.weight_bits = max(bits for *_, bits in found)
    row.inputs += values.size
    row.nonzero += int(np.count_nonzero(values))
    row.outputs += math.prod(call.outputs[0].shape)
    # What a neuron with a sign or a mean of spikes gives is a number.
    if np.all((values >= 0) & (values < np.inf) & (values == np.rint(values))):
        row.most = max(row.most, int(values.max(initial=0)))
    else:
        row.input_bits, values = 32, (values != 0).astype("float32")
    row.synaptic += _synaptic(inner_of(layer), values, row.steps if timed else None, found)


def _synaptic(layer, spikes: np.ndarray, steps: int | None, found) -> float:
    """How many products the spikes make, exactly for dense and convolutional layers.

    At the borders of an image an input meets fewer weights: a convolution of ones counts them.
    """
    total = float(spikes.sum(dtype="float64"))
    if isinstance(layer, keras.layers.Dense):
        return total * layer.units
    if steps is not None:
        spikes = spikes.reshape(-1, *spikes.shape[2:])
    if isinstance(layer, (*CONVOLUTIONS, *DEPTHWISE)) and layer.padding in ("valid", "same"):
        options = (layer.strides, layer.padding, layer.data_format, layer.dilation_rate)
        depthwise = isinstance(layer, DEPTHWISE)
        ones = np.ones((*layer.kernel.shape[:-1], 1 if depthwise else layer.groups), "float32")
        met = (ops.depthwise_conv if depthwise else ops.conv)(spikes, ones, *options)
        times = layer.depth_multiplier if depthwise else layer.filters // layer.groups
        return float(np.sum(_numpy(met), dtype="float64")) * times
    share = total / max(spikes.size, 1)
    return share * len(spikes) * sum(number for number, *_ in found) / (steps or 1)


def _count_neurons(row, call) -> None:
    layer = call.operation
    size, row.steps = math.prod(call.inputs[0].shape), call.inputs[0].shape[1]
    values = layer.parameters()
    decays = [name for name in layer.neuron.constants if name.endswith("decay")]
    leaks = [bool(np.any(_numpy(values[name]) != 1)) for name in decays]
    threshold = isinstance(layer.neuron, neurons.ALIF)  # is computed too
    row.updates += size * (sum(leaks) + threshold)
    row.additions += size * (len(leaks) - sum(leaks))
    row.states += size * len(layer.neuron.states)
    if layer.spike is None:
        return
    spikes = (_numpy(call.outputs[0]) != 0).astype("float32")
    fired = int(np.count_nonzero(spikes))
    row.spikes += fired
    row.chances += size
    if layer.neuron.reset == "subtract":
        row.additions += fired
    if layer.is_recurrent:
        _count_echo(row, layer, spikes[:, :-1])


def _count_echo(row, layer, spikes) -> None:
    """What the last spikes set off: all but those of the last step."""
    back = layer.recurrent
    one = np.zeros((1, *spikes.shape[2:]), "float32")
    call = Call(back, back.name, [one], [one], 0, 0)
    found = terms(call) or []
    row.recurrent = True
    row.products += len(spikes) * row.steps * sum(number for number, *_ in found)
    row.weight_bits = max((bits for *_, bits in found), default=0)
    row.inputs += spikes.size
    row.nonzero += int(np.count_nonzero(spikes))
    row.synaptic += _synaptic(back, spikes, spikes.shape[1], found)


def _numpy(tensor) -> np.ndarray:
    return ops.convert_to_numpy(ops.cast(tensor, "float32"))
