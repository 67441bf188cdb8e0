"""The calls of a model, in order, and the layers that have no packed form."""

from __future__ import annotations

from collections.abc import Callable

import keras
import numpy as np

from keras_htaf.costs.graph import keras_operation, nodes
from keras_htaf.ops.steps import StepNode
from keras_htaf_packed.graph import Graph, Operation, Spec
from keras_htaf_packed.operations import KINDS


class Unsupported(Exception):
    """A layer has no packed form; the message is the reason."""


class Network:
    """A graph that grows with the calls of a model."""

    def __init__(self, keeps_unsupported: bool):
        self.keeps_unsupported = keeps_unsupported
        self.operations: list[Operation] = []
        self.specs: dict[str, Spec] = {}
        self.sources: dict[str, Callable] = {}
        """Keras layers and the like that compute what an operation of each number does."""
        self.name = "model"
        self._names: dict[int, str] = {}
        self._refused: list[str] = []

    def follow(self, model: keras.Model) -> None:
        """Add all calls of a model."""
        self.name = model.name
        shape = model.inputs[0].shape[1:]
        if None in shape or not shape:
            raise ValueError(
                f"Model {model.name!r} takes inputs of shape {tuple(model.inputs[0].shape)}. "
                "Expected known sizes, but for the batch: build it with a fixed keras.Input."
            )
        first = self.add("input", model.inputs[0].name, (), {"shape": list(shape)})
        (last,) = self._follow(model, [first], "")
        if self._refused:
            raise ValueError(
                f"Model {model.name!r} has layers without a packed form:\n  "
                + "\n  ".join(self._refused)
                + '\nReplace them, or leave them to Keras with pack(model, unsupported="keras").'
            )
        last = self.numbers(last)
        if last != self.operations[-1].name:
            self.add("activation", "outputs", (last,), {"function": "linear"})

    def _follow(self, model, given: list[str], prefix: str) -> list[str]:
        values = dict(zip(map(id, model.inputs), given, strict=True))
        for node in nodes(model.outputs):
            operation, results = node.operation, list(node.output_tensors)
            if isinstance(operation, keras.layers.InputLayer):
                continue
            taken = [values[id(tensor)] for tensor in node.input_tensors]
            nested = isinstance(operation, keras.Model) and getattr(operation, "outputs", None)
            if nested and not node.arguments.kwargs.get("training"):
                found = self._follow(operation, taken, f"{prefix}{operation.name}/")
            else:
                found = self._call(operation, node, taken, prefix + operation.name)
            values.update(zip(map(id, results), found, strict=True))
        return [values[id(tensor)] for tensor in model.outputs]

    def _call(self, operation, node, taken: list[str], path: str) -> list[str]:
        from keras_htaf.packed.translate.layers import LAYERS
        from keras_htaf.packed.translate.others import OPERATIONS, OTHERS, step_node

        added = len(self.operations)
        try:
            self._check(operation, node)
            call = {**LAYERS, **OTHERS}.get(type(operation))
            call = call or OPERATIONS.get(keras_operation(operation))
            call = step_node if isinstance(operation, StepNode) else call
            if call is None:
                raise Unsupported("this kind of layer is not known")
            found = call(self, operation, taken, path)
        except (Unsupported, ValueError) as reason:
            for each in self.operations[added:]:
                del self.specs[each.name]
                self.sources.pop(each.name, None)
            del self.operations[added:]
            return self._left_to_keras(operation, node, taken, path, reason)
        return found if isinstance(found, list) else [found]

    def _check(self, operation, node) -> None:
        from keras_htaf.packed.translate.others import OPERATIONS

        for tensor in [*node.input_tensors, *node.output_tensors]:
            if not _known(tensor.shape):
                raise Unsupported(
                    f"it takes or gives the shape {tuple(tensor.shape)}: sizes are unknown, or "
                    "there are none but the batch's"
                )
        if node.arguments.kwargs.get("training"):
            raise Unsupported("it is called with training=True")
        if isinstance(operation, keras.layers.Layer):
            policy = operation.dtype_policy
            if {policy.compute_dtype, policy.variable_dtype} != {"float32"}:
                raise Unsupported(
                    f"its dtype policy is {policy.name}, and sums that are rounded otherwise than "
                    "in float32 decide otherwise: rebuild the model with float32 and its weights"
                )
            if getattr(operation, "data_format", "channels_last") != "channels_last":
                raise Unsupported("its data_format is channels_first: use channels_last")
            if operation.quantization_mode is not None:
                raise Unsupported(f"its weights are quantized by Keras: {policy.name}")
        elif keras_operation(operation) in OPERATIONS and _constants(node):
            raise Unsupported("a constant is among its inputs: use a layer, such as Rescaling")

    def _left_to_keras(self, operation, node, taken, path, reason) -> list[str]:
        kind, results = type(operation).__name__, list(node.output_tensors)
        known = len(results) == 1 and _known(results[0].shape)
        if not (self.keeps_unsupported and known):
            self._refused.append(f"{path} ({kind}): {reason}")
            # Something of the right shape, so that all such layers are named at once.
            return [
                self.add("input_of", f"{path}_{i}", (), {"shape": list(tensor.shape[1:])})
                for i, tensor in enumerate(results)
            ]
        shape = results[0].shape[1:]
        taken = [self.numbers(name) for name in taken]
        attributes = {"layer": kind, "shape": list(shape)}

        tensors = [id(tensor) for tensor in node.input_tensors]

        def call(*values):
            given = dict(zip(tensors, map(keras.ops.convert_to_tensor, values), strict=True))
            args, kwargs = node.arguments.fill_in(given)
            return keras.ops.convert_to_numpy(keras.ops.stop_gradient(operation(*args, **kwargs)))

        return [self.add("keras", path, taken, attributes, call=call)]

    def add(self, kind, name, inputs, attributes=None, arrays=None, *, source=None, call=None):
        """Add an operation; returns the name of its value.

        `source` computes the same with Keras, of operations that treat each number by itself and
        are monotone; `call` what computes an operation of the kind "keras".
        """
        unique, times = name, 1
        while unique in self.specs:
            times += 1
            unique = f"{name}#{times}"
        arrays = {key: np.ascontiguousarray(array) for key, array in (arrays or {}).items()}
        operation = Operation(kind, unique, tuple(inputs), dict(attributes or {}), arrays, call)
        if kind == "input_of":
            self.specs[unique] = Spec(tuple(attributes["shape"]))
        else:
            given = [self.specs[value] for value in operation.inputs]
            self.specs[unique] = KINDS[kind].infer(operation, *given)
        self.operations.append(operation)
        if source is not None:
            self.sources[unique] = source
        return unique

    def numbers(self, name: str) -> str:
        """The value as numbers: bits unpacked."""
        if self.specs[name].coding is None:
            return name
        return self.add("unpack", f"{name}/numbers", (name,))

    def graph(self) -> Graph:
        return Graph(self.operations, self.name)


def _known(shape) -> bool:
    return len(shape) > 1 and None not in shape[1:]


def _constants(node) -> list:
    """What an operation is given that is no tensor of the model."""
    given = keras.tree.flatten((node.arguments.args, node.arguments.kwargs))
    return [x for x in given if x is not None and not isinstance(x, keras.KerasTensor)]
