"""Steps become thresholds of the sums that they decide on.

    sum -> scale, bias -> batch normalisation -> maximum pooling -> flatten -> step
    sum >= threshold, xor flip                -> OR              -> flatten

What lies between is monotone in each channel, so that the step of it is a threshold of the sum, and
the step of a maximum is the OR of steps (an AND, where what follows the maximum falls).
"""

from __future__ import annotations

from dataclasses import replace

import keras
import numpy as np

from keras_htaf.packed.translate.network import Network
from keras_htaf.packed.translate.probe import NotMonotoneError, Probe
from keras_htaf_packed.bits import to_bytes
from keras_htaf_packed.graph import Graph, Operation
from keras_htaf_packed.operations import specs
from keras_htaf_packed.operations.product import ALWAYS, NEVER

_POINTWISE = ("affine", "activation")
"""Kinds of what treats each number by itself, and is monotone if it has a source."""


def folded(network: Network, thresholds: bool = True) -> Graph:
    """The graph of a network, with thresholds, and with factors and offsets where these remain."""
    graph = network.graph()
    for name in [operation.name for operation in graph.operations if operation.kind == "step"]:
        if thresholds:
            try:
                graph = _fold(network, graph, name)
            except NotMonotoneError:
                continue
            except ValueError as error:
                raise ValueError(f"The step {name!r} cannot be packed: {error}.") from error
    graph = graph.without_the_unused()
    known = specs(graph)
    for operation in graph.operations:
        if operation.kind == "affine":
            _read_off(network, operation, known[operation.name])
    return graph


def _fold(network: Network, graph: Graph, name: str) -> Graph:
    """The graph with a step moved to the sum that decides it."""
    by_name = {operation.name: operation for operation in graph.operations}
    step = by_name[name]
    source, between = _chain(network, by_name, graph.users(), step)
    spec = network.specs[source]
    counted = by_name[source].kind == "product" and len(graph.users()[source]) == 1
    if not (counted or between):
        return graph
    pointwise = [o for o in between if o.kind in _POINTWISE]
    probe = _probe(network, [*pointwise, step], spec)
    if counted:
        product = by_name[source]
        first, falls, constant = probe.threshold(_largest_sum(network, source))
        first = np.where(constant, np.where(falls, ALWAYS, NEVER), first).astype(np.int32)
    else:
        first, falls, constant = probe.threshold()
        first = np.where(constant, np.where(falls, -np.inf, np.inf), first).astype(np.float32)
    arrays = {"threshold": first, "flip": to_bytes(falls & ~constant)}
    coding, moved = {"coding": step.attributes["coding"]}, []
    if counted:
        decides = replace(
            product,
            attributes={**product.attributes, **coding},
            arrays={**product.arrays, **arrays},
        )
    else:
        decides = replace(step, inputs=(source,), attributes=coding, arrays=arrays)
    last = decides.name
    for place, operation in enumerate(between):
        if operation.kind not in ("pool", "reshape"):
            continue
        arrays, after = {}, [o for o in between[place:] if o.kind in _POINTWISE]
        if operation.kind == "pool" and after:
            falls = _probe(network, [*after, step], spec).falls()
            if falls.any():
                arrays["flip"] = to_bytes(falls)
        moved.append(
            replace(operation, name=f"{operation.name}/bits", inputs=(last,), arrays=arrays)
        )
        last = moved[-1].name
    return _replaced(graph, step, decides, moved, last)


def _chain(network: Network, by_name, users, step: Operation) -> tuple[str, list[Operation]]:
    """The value that alone decides the step, and the operations from there to the step."""
    between: list[Operation] = []
    (source,) = step.inputs
    alike = len(set(step.arrays["threshold"].tolist())) == 1
    while len(users[source]) == 1:
        operation = by_name[source]
        if operation.kind == "reshape":
            # Where features are told apart after it, channels do not decide.
            flat = len(operation.attributes["shape"]) == 1
            passes = flat and alike and all(o.kind == "reshape" for o in between)
        elif operation.kind == "pool":
            passes = operation.attributes["reduce"] == "max"
        else:
            passes = source in network.sources and operation.kind in _POINTWISE
        if not passes:
            break
        between.insert(0, operation)
        (source,) = operation.inputs
    return source, between


def _replaced(graph: Graph, step: Operation, decides, moved, last: str) -> Graph:
    """The graph with what gives the step's bits in another way, under the name `last`."""
    operations = []
    for operation in graph.operations:
        if operation.name == decides.name and operation is not step:
            operations.append(decides)
        elif operation is step:
            operations += moved if decides.name != step.name else [decides, *moved]
        else:
            inputs = tuple(last if name == step.name else name for name in operation.inputs)
            operations.append(replace(operation, inputs=inputs))
    return Graph(operations, graph.name)


def _largest_sum(network: Network, product: str) -> int:
    (operation,) = [o for o in network.operations if o.name == product]
    kh, kw = operation.attributes["kernel_size"]
    return kh * kw * network.specs[operation.inputs[0]].channels


def _probe(network: Network, operations: list[Operation], spec) -> Probe:
    functions = [network.sources[operation.name] for operation in operations]
    return Probe(functions, spec.channels, len(spec.shape) + 1)


def _read_off(network: Network, operation: Operation, spec) -> None:
    """Give an `affine` operation the numbers of the layer that it stands for."""
    layer = network.sources[operation.name]
    mean = None
    if isinstance(layer, keras.layers.BatchNormalization):
        mean = keras.ops.convert_to_numpy(layer.moving_mean)
    elif isinstance(layer, keras.layers.Normalization) and not layer.invert:
        mean = keras.ops.convert_to_numpy(layer.mean)
    try:
        operation.arrays.update(_probe(network, [operation], spec).affine(mean))
    except ValueError as error:
        raise ValueError(f"The layer {operation.name!r} cannot be packed: {error}.") from error
