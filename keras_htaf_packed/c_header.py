"""A packed network as a C99 header, for microcontrollers: arrays, and loops in plain C.

It needs a compiler whose `int` has 32 bits, `stdint.h` and `limits.h`: no library, no heap. Values
lie in two static arrays, one of numbers and one of bits, in which those that are alive at once do
not overlap. The loops are short, not fast. Integers and bits are those of the packed model; sums of
floats are added in order, and a product and a sum must not be fused where the last digit matters:
compile with -ffp-contract=off, which -std=c99 implies in GCC.
"""

from __future__ import annotations

import math
import os
import re

import numpy as np

from keras_htaf_packed.bits import from_bytes, to_units, units_of
from keras_htaf_packed.c_functions import HEAD, with_what_they_use
from keras_htaf_packed.files import replacing
from keras_htaf_packed.graph import Graph, Operation, Spec
from keras_htaf_packed.operations import window as w

_CLIPS = {"relu": (0.0, None), "relu6": (0.0, 6.0), "hard_tanh": (-1.0, 1.0)}
_LARGEST = float(np.finfo(np.float32).max)
_TYPES = {"uint8": "uint8_t", "uint16": "uint16_t", "int32": "int32_t", "float32": "float"}


def write_c(graph: Graph, specs: dict[str, Spec], path: str | os.PathLike, prefix: str) -> None:
    """Write a network as a header; arguments and errors as for `PackedModel.save_c`."""
    if not isinstance(prefix, str) or not re.fullmatch(r"[A-Za-z][A-Za-z0-9_]*", prefix):
        raise ValueError(f"Received prefix={prefix!r}. Expected a C identifier.")
    refused = [f"{o.name} ({_kind(o)})" for o in graph.operations if not _has_form(o)]
    if refused:
        raise ValueError(
            f"The network {graph.name!r} has operations without a form in C: {refused}. Expected "
            "none that need Keras or a mathematical library; a softmax, for one, can be left out."
        )
    text = _Header(graph, specs, prefix).text().replace("@", f"{prefix}_")
    with replacing(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def _kind(operation: Operation) -> str:
    return operation.attributes.get("function", operation.kind)


def _has_form(operation: Operation) -> bool:
    if operation.kind == "activation":
        return operation.attributes["function"] in ("linear", *_CLIPS)
    return hasattr(_Header, operation.kind)


def _keeps(operation: Operation) -> bool:
    """Whether what an operation gives lies in memory as what it takes."""
    if operation.kind == "activation":
        return operation.attributes["function"] == "linear"
    return operation.kind == "reshape" or (operation.kind == "add" and len(operation.inputs) == 1)


class _Memory:
    """Places in a static array, for values while they are alive."""

    def __init__(self):
        self.size = 0
        self._taken: list[tuple[int, int, int]] = []

    def place(self, count: int, now: int, last: int) -> int:
        self._taken = [t for t in self._taken if t[2] >= now]
        start = 0
        for first, end, _ in sorted(self._taken):
            if first - start >= count:
                break
            start = max(start, end)
        self._taken.append((start, start + count, last))
        self.size = max(self.size, start + count)
        return start


class _Header:
    """The text of a header, operation by operation; a method for each kind."""

    def __init__(self, graph: Graph, specs: dict[str, Spec], prefix: str):
        self.graph, self.specs, self.prefix = graph, specs, prefix
        self._arrays: list[str] = []
        self._calls: list[str] = []
        self._used: set[str] = set()
        self._constant_bytes = 0
        self._names = 0
        self._numbers, self._bits = _Memory(), _Memory()
        self._where = self._places()

    def text(self) -> str:
        for operation in self.graph.operations:
            if not _keeps(operation) and operation.kind != "input":
                given = [self.specs[name] for name in operation.inputs]
                taken = [self._where[name] for name in operation.inputs]
                out = self._where[operation.name]
                getattr(self, operation.kind)(operation, given, taken, out)
        functions = with_what_they_use(self._used)
        inputs, output = self.specs[self.graph.operations[0].name], self.specs[self.graph.output]
        guard, (numbers, bits) = "@H_", (self._numbers.size, self._bits.size)
        memory = [f"    static {kind} {name}[{size}];" for kind, name, size in
                  (("float", "numbers", numbers), ("uint16_t", "bits", bits)) if size]  # fmt: skip
        shape = " x ".join(map(str, inputs.shape))
        return "\n".join(
            [
                "/* A packed network, written by keras-htaf: plain C99, without libraries or heap.",
                f"   {self._constant_bytes} bytes of constants, {4 * numbers + 2 * bits} of memory."
                " Not reentrant. */",
                f"#ifndef {guard}\n#define {guard}\n\n#include <limits.h>\n#include <stdint.h>\n",
                "#if INT_MAX < 2147483647\n#error This needs an int of 32 bits.\n#endif\n",
                f"#define @INPUTS {math.prod(inputs.shape)} /* {shape}, channels last */",
                f"#define @OUTPUTS {math.prod(output.shape)}\n",
                HEAD,
                *functions,
                *self._arrays,
                "\n/* From @INPUTS finite numbers to @OUTPUTS. */",
                "static void @predict(const float *x, float *y)\n{",
                *memory,
                *self._calls,
                f"    for (int i = 0; i < @OUTPUTS; i++)\n        y[i] = "
                f"({self._where[self.graph.output]})[i];\n}}\n\n#endif\n",
            ]
        )

    def _places(self) -> dict[str, str]:
        """Where each value lies, as an expression."""
        operations = self.graph.operations
        root: dict = {}
        last: dict[str, int] = {}
        for now, operation in enumerate(operations):
            kept = _keeps(operation)
            root[operation.name] = root[operation.inputs[0]] if kept else operation.name
            last.update(dict.fromkeys((root[name] for name in operation.inputs), now))
        last[root[self.graph.output]] = len(operations)
        where = {operations[0].name: "x"}
        for now, operation in enumerate(operations[1:], 1):
            spec = self.specs[operation.name]
            if _keeps(operation):
                where[operation.name] = where[operation.inputs[0]]
            else:
                until = last.get(operation.name, now)
                array, memory = ("numbers", self._numbers) if spec.coding is None else (
                    "bits", self._bits)  # fmt: skip
                width = 4 if spec.coding is None else 2
                where[operation.name] = f"{array} + {memory.place(spec.size // width, now, until)}"
        return where

    def _array(self, values: np.ndarray) -> str:
        """An array of constants; its name."""
        self._names += 1
        name, values = f"@a{self._names}", np.asarray(values)
        self._constant_bytes += values.nbytes
        cells = [_literal(value) for value in values.reshape(-1).tolist()]
        if values.dtype == np.float32:
            cells = [_float(value) for value in values.reshape(-1).tolist()]
        lines = [", ".join(cells[i : i + 12]) for i in range(0, len(cells), 12)]
        kind = _TYPES[values.dtype.name]
        self._arrays.append(
            f"static const {kind} {name}[{len(cells)}] = {{\n    " + ",\n    ".join(lines) + "};"
        )
        return name

    def _optional(self, operation: Operation, key: str) -> str:
        return self._array(operation.arrays[key]) if key in operation.arrays else "0"

    def _window(self, operation: Operation, spec: Spec) -> str:
        return self._window_of(w.window_of(operation, spec), spec)

    def _window_of(self, window: w.Window, spec: Spec) -> str:
        self._names += 1
        name, units = f"@w{self._names}", units_of(spec.runs) if spec.coding else 0
        numbers = (*w.image_of(spec), units, *window)
        self._constant_bytes += 4 * len(numbers)
        text = ", ".join(map(str, numbers))
        self._arrays.append(f"static const @window {name} = {{{text}}};")
        return f"&{name}"

    def _call(self, function: str, *arguments) -> None:
        self._used.add(function)
        self._calls.append(f"    @{function}({', '.join(map(str, arguments))});")

    def product(self, operation, given, taken, out):
        (spec,), attributes = given, operation.attributes
        filters, places = attributes["filters"], math.prod(attributes["kernel_size"])
        bits = from_bytes(operation.arrays["kernel"], places * spec.channels)
        bits = bits.reshape(filters, places, spec.channels)
        common = (
            *(self._window(operation, spec), taken[0], int(spec.coding == "sign")),
            *(self._array(to_units(bits, spec.runs)), int(attributes["weights"] == "sign")),
            *(attributes["pad_value"], filters),
        )
        if "coding" not in attributes:
            return self._call("product_numbers", *common, out)
        limits = [self._array(operation.arrays[key]) for key in ("threshold", "flip")]
        return self._call("product_bits", *common, *limits, out)

    def depthwise(self, operation, given, taken, out):
        (spec,), attributes = given, operation.attributes
        self._call(
            "depthwise",
            *(self._window(operation, spec), taken[0], int(spec.coding == "sign")),
            *(self._array(operation.arrays["kernel"]), int(attributes["weights"] == "sign")),
            *(attributes["pad_value"], attributes["multiplier"], out),
        )

    def linear(self, operation, given, taken, out):
        attributes, kernel = operation.attributes, self._array(operation.arrays["kernel"])
        kernels = ("0", kernel) if "weights" in attributes else (kernel, "0")
        self._call(
            "linear",
            *(self._window(operation, given[0]), taken[0], *kernels),
            *(int(attributes.get("weights") == "sign"), attributes["pad_value"]),
            *(attributes["filters"], attributes["groups"]),
            *(self._optional(operation, "bias"), out),
        )

    def lookup(self, operation, given, taken, out):
        (spec,), bias = given, self._optional(operation, "bias")
        self._call(
            "lookup",
            *(math.prod(spec.shape[:-1]), units_of(spec.runs), *self._runs(spec), taken[0]),
            *(self._array(operation.arrays["kernel"]), bias, operation.attributes["filters"], out),
        )

    def step(self, operation, given, taken, out):
        (spec,), threshold = given, operation.arrays["threshold"]
        flip = from_bytes(operation.arrays["flip"], spec.channels) ^ (threshold == np.inf)
        threshold = np.where(np.isinf(threshold), -_LARGEST, threshold).astype(np.float32)
        rows, octets = math.prod(spec.shape[:-1]), np.packbits(flip, bitorder="little")
        arrays = self._array(threshold), self._array(octets)
        self._call("step", rows, spec.channels, taken[0], *arrays, out)

    def unpack(self, operation, given, taken, out):
        (spec,) = given
        self._call("unpack", math.prod(spec.shape[:-1]), *self._runs(spec), taken[0], out)

    def _runs(self, spec: Spec):
        """Whether bits stand for signs, and their runs."""
        return (
            int(spec.coding == "sign"),
            len(spec.runs),
            self._array(np.array(spec.runs, np.int32)),
        )

    def pool(self, operation, given, taken, out):
        (spec,), window = given, self._window(operation, given[0])
        if spec.coding is None:
            mean = int(operation.attributes["reduce"] == "mean")
            return self._call("pool", window, taken[0], mean, out)
        flip = np.zeros(spec.channels, bool)
        if "flip" in operation.arrays:
            flip = from_bytes(operation.arrays["flip"], spec.channels)
        return self._call("any", window, taken[0], self._array(to_units(flip, spec.runs)), out)

    def global_pool(self, operation, given, taken, out):
        (spec,), (height, width, _) = given, w.image_of(given[0])
        window = w.Window(height, width, 1, 1, 1, 1, 0, 0, 1, 1)
        mean = int(operation.attributes["reduce"] == "mean")
        self._call("pool", self._window_of(window, spec), taken[0], mean, out)

    def affine(self, operation, given, taken, out):
        arrays = [self._array(operation.arrays[key]) for key in ("scale", "offset")]
        sizes = math.prod(given[0].shape), given[0].channels
        self._call("affine", *sizes, taken[0], *arrays, self._optional(operation, "mean"), out)

    def activation(self, operation, given, taken, out):
        low, high = _CLIPS[operation.attributes["function"]]
        ends = _float(low), _float(_LARGEST if high is None else high)
        self._call("clip", math.prod(given[0].shape), taken[0], *ends, out)

    def rprelu(self, operation, given, taken, out):
        keys = ("input_shift", "slope", "output_shift")
        arrays = [self._array(operation.arrays[key]) for key in keys]
        self._call("rprelu", math.prod(given[0].shape), given[0].channels, taken[0], *arrays, out)

    def add(self, operation, given, taken, out):
        first = taken[0]
        for other in taken[1:]:
            self._call("add", math.prod(given[0].shape), first, other, out)
            first = out

    def concatenate(self, operation, given, taken, out):
        rows, at = math.prod(given[0].shape[:-1]), 0
        bits = given[0].coding is not None
        sizes = [units_of(spec.runs) if bits else spec.channels for spec in given]
        for size, name in zip(sizes, taken, strict=True):
            to = f"{out} + {at}"
            if bits:
                self._call("place_bits", rows, size, name, sum(sizes), to)
            else:
                self._call("place_numbers", rows, size, 0, size, name, sum(sizes), to)
            at += size

    def slice(self, operation, given, taken, out):
        start, stop = operation.attributes["start"], operation.attributes["stop"]
        sizes = math.prod(given[0].shape[:-1]), given[0].channels, start, stop - start
        self._call("place_numbers", *sizes, taken[0], stop - start, out)

    def input(self, *_):
        """What is given."""

    def reshape(self, *_):
        """What stays where it is."""


def _literal(value: int) -> str:
    return "(-2147483647 - 1)" if value == -(2**31) else str(value)


def _float(value: float) -> str:
    return f"{float(value).hex()}f"
