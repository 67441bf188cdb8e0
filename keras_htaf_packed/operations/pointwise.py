"""What treats each number, or each channel, by itself; residual sums."""

from __future__ import annotations

from collections.abc import Callable
from functools import reduce

import numpy as np

from keras_htaf_packed.graph import Operation, Spec


def _real(operation: Operation, spec: Spec) -> Spec:
    if spec.coding is not None:
        raise operation.error("bits", "numbers")
    return spec


class Affine:
    """A factor and an offset for each channel, such as batch normalisation's.

    x * scale + offset, or (x - mean) * scale + offset if there is a mean, each operation rounded.
    Arrays: `scale`, `offset` and, where it has one, `mean`, float32 (channels,).
    """

    @staticmethod
    def infer(operation: Operation, spec: Spec) -> Spec:
        for key in ("scale", "offset", *(("mean",) if "mean" in operation.arrays else ())):
            operation.array(key, (spec.channels,), "float32")
        return _real(operation, spec)

    @staticmethod
    def define(operation: Operation, specs, x):
        if "mean" in operation.arrays:
            x = x - operation.arrays["mean"]
        return x * operation.arrays["scale"] + operation.arrays["offset"]

    @staticmethod
    def prepare(operation: Operation, spec: Spec):
        scale, offset = operation.arrays["scale"], operation.arrays["offset"]
        mean = operation.arrays.get("mean")

        def affine(x):
            out = x * scale if mean is None else np.multiply(x := x - mean, scale, out=x)
            out += offset
            return out

        return affine


class Add:
    """A sum of values of one shape, from the first to the last."""

    @staticmethod
    def infer(operation: Operation, *specs: Spec) -> Spec:
        if not specs or len(set(specs)) > 1:
            raise operation.error(f"{specs}", "values of one shape")
        return _real(operation, specs[0])

    @staticmethod
    def define(operation: Operation, specs, *values):
        return reduce(np.add, values)

    @staticmethod
    def prepare(operation: Operation, *specs: Spec):
        return lambda *values: reduce(np.add, values)


def _softmax(x):
    powers = np.exp(x - x.max(-1, keepdims=True))
    return powers / powers.sum(-1, keepdims=True)


def _sigmoid(x):
    # Accurate where it is small, and nothing overflows.
    small = np.exp(-np.abs(x))
    return np.where(x >= 0, np.float32(1), small) / (np.float32(1) + small)


FUNCTIONS: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "linear": lambda x: x,
    "relu": lambda x: np.maximum(x, np.float32(0)),
    "relu6": lambda x: np.clip(x, np.float32(0), np.float32(6)),
    "hard_tanh": lambda x: np.clip(x, np.float32(-1), np.float32(1)),
    "tanh": np.tanh,
    "sigmoid": _sigmoid,
    "softmax": _softmax,
}
"""Activations by the names that Keras has for them."""


class Activation:
    """A function of each number (softmax: of the channels). Attribute: `function`."""

    @staticmethod
    def infer(operation: Operation, spec: Spec) -> Spec:
        operation.choice("function", tuple(FUNCTIONS))
        return _real(operation, spec)

    @staticmethod
    def define(operation: Operation, specs, x):
        return FUNCTIONS[operation.attributes["function"]](x)

    @staticmethod
    def prepare(operation: Operation, spec: Spec):
        return FUNCTIONS[operation.attributes["function"]]


class RPReLU:
    """z + d where z = x - c is positive, else b z + d.

    Arrays: `input_shift` c, `slope` b, `output_shift` d, float32 (channels,).
    """

    @staticmethod
    def infer(operation: Operation, spec: Spec) -> Spec:
        for key in ("input_shift", "slope", "output_shift"):
            operation.array(key, (spec.channels,), "float32")
        return _real(operation, spec)

    @staticmethod
    def define(operation: Operation, specs, x):
        z = x - operation.arrays["input_shift"]
        z = np.where(z > 0, z, operation.arrays["slope"] * z)
        return z + operation.arrays["output_shift"]

    @staticmethod
    def prepare(operation: Operation, spec: Spec):
        return lambda x: RPReLU.define(operation, (spec,), x)


class LayerNorm:
    """Each position less its mean, over its deviation, then a factor and an offset.

    Attribute: `epsilon`. Arrays: `scale`, `offset`, float32 (channels,).
    """

    @staticmethod
    def infer(operation: Operation, spec: Spec) -> Spec:
        epsilon = operation.attributes.get("epsilon")
        if type(epsilon) is not float or not 0 <= epsilon < 1:
            raise operation.error(f"epsilon={epsilon!r}", "a number of [0, 1)")
        for key in ("scale", "offset"):
            operation.array(key, (spec.channels,), "float32")
        return _real(operation, spec)

    @staticmethod
    def define(operation: Operation, specs, x):
        centred = x - x.mean(-1, keepdims=True)
        variance = np.square(centred).mean(-1, keepdims=True)
        centred /= np.sqrt(variance + np.float32(operation.attributes["epsilon"]))
        return centred * operation.arrays["scale"] + operation.arrays["offset"]

    @staticmethod
    def prepare(operation: Operation, spec: Spec):
        return lambda x: LayerNorm.define(operation, (spec,), x)
