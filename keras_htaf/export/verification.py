"""An artifact's outputs beside its model's.

An exact step of a number that rounds to the other side of its threshold gives the other bit, and
all that follows may differ. So a sample is left out of the comparison where that, and nothing else,
is why it differs: where, at the first step (of spiking neurons: at the first time) whose bits
differ, each of these received a number within `ROUNDING` of the largest there. How many samples
were left out is said, and more than half may not be. Where an artifact does not give its bits, that
reason cannot be seen, only that it may be one: then at most one sample in `UNSEEN` is left out, of
those with such a number at any step, and none at all if more differ. Likewise a decision may be
another one of two classes whose outputs differ by no more, or that of a label so close to its
threshold.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from dataclasses import dataclass, replace
from pathlib import Path

import keras
import numpy as np
from keras import ops

from keras_htaf.export import processor, runtimes, scores
from keras_htaf.export.formats import FORMATS
from keras_htaf.export.program import Program, watched
from keras_htaf.export.samples import batches, of_other_sizes
from keras_htaf.layers.spiking.spike import Spike

ROUNDING = {"float32": 1e-5, "float64": 1e-5, "float16": 4e-3, "bfloat16": 3e-2}
"""By the least precise dtype in a model: what rounding may do to a number, relative to the largest
beside it: that of some eighty operations in float32, of four in half precision."""
CLOSE = 100
"""Times as much may values that are no decisions differ, sums of many numbers."""
UNSEEN = 16
"""Of so many samples, one may differ without bits that say why."""
_PATIENCE = 600.0


@dataclass(frozen=True)
class Difference:
    """One output of an artifact, over the samples that are not at the edge of a step.

    Attributes:
        output: Its name.
        max_abs_difference: The largest difference to the model's.
        decisions_equal: Whether all bits, or all decisions, are the model's; of outputs that
            decide nothing, whether they are the same but for rounding.

    Example:

    >>> Difference("logits", 2e-7, True).decisions_equal
    True
    """

    output: str
    max_abs_difference: float
    decisions_equal: bool


@dataclass(frozen=True)
class Verification:
    """How an artifact, run in its runtime, compares with its model; `print` it.

    Attributes:
        format: Of the artifact.
        samples: How many were compared.
        at_rounding: How many of them were left out, being at the edge of a step.
        rows: The outputs.
        apart: Whether it ran in a process of its own, without Keras.

    Example:

    >>> row = Difference("logits", 2e-7, True)
    >>> result = Verification("onnx", samples=16, at_rounding=1, rows=(row,), apart=True)
    >>> print(result)
    output  largest difference  decisions
    logits             2.0e-07  equal
    16 samples, 1 of them at the edge of a step, by onnxruntime without Keras
    >>> result.equal, result.largest
    (True, 2e-07)
    """

    format: str
    samples: int
    at_rounding: int
    rows: tuple[Difference, ...]
    apart: bool

    @property
    def equal(self) -> bool:
        """Whether the artifact decides as the model does."""
        return (
            all(row.decisions_equal for row in self.rows) and 2 * self.at_rounding <= self.samples
        )

    @property
    def largest(self) -> float:
        """The largest difference of any output."""
        return max(row.max_abs_difference for row in self.rows)

    def __str__(self):
        width = max(len("output"), *(len(row.output) for row in self.rows))
        lines = [f"{'output':{width}}  largest difference  decisions"]
        for row in self.rows:
            same = "equal" if row.decisions_equal else "DIFFER"
            lines.append(f"{row.output:{width}}  {row.max_abs_difference:18.1e}  {same}")
        left = f", {self.at_rounding} of them at the edge of a step" if self.at_rounding else ""
        where = "without Keras" if self.apart else "in this process"
        runtime = FORMATS[self.format].runtime
        return "\n".join([*lines, f"{self.samples} samples{left}, by {runtime} {where}"])


@dataclass(frozen=True)
class Bits:
    """The bits of one call of a step, (samples, times, bits), and what the step received."""

    name: str
    given: np.ndarray
    received: np.ndarray


@dataclass(frozen=True)
class Reference:
    """What a model gives for samples.

    Attributes:
        program: What was run.
        samples: Inputs by name.
        made: All outputs by name.
        steps: What its exact steps received and gave, in their order.
    """

    program: Program
    samples: dict[str, np.ndarray]
    made: dict[str, np.ndarray]
    steps: list[Bits]

    @classmethod
    def of(cls, program: Program, samples: dict) -> Reference:
        """Run the model, which stays as it is; the program in the result names its bits.

        Raises:
            ValueError: If it cannot take inputs of their sizes, which may be any by its shape, or
                outputs that are said to be probabilities are none.
        """
        received = {}

        def tap(name, x):
            received[name] = x
            return x

        count = len(next(iter(samples.values())))
        with processor.scope():
            tensors = [ops.convert_to_tensor(x, x.dtype.name) for x in samples.values()]
            with keras.StatelessScope(), watched(program.model, count, tap) as seen:
                made = {name: _array(y) for name, y in _run(program, tensors).items()}
        scores.check(made, program.scores)
        given = {name: _array(y) for name, (_, y) in seen.items()}
        if program.bits:
            made.update(given)
        steps = [
            Bits(name, *(_over_time(a, step, count) for a in (given[name], _array(received[name]))))
            for name, (step, _) in seen.items()
            if step.forward_mode == "hard"
        ]
        shapes = tuple(x.shape for x in samples.values())
        program = replace(program, bit_names=tuple(given), shapes=shapes)
        return cls(program, samples, made, steps)

    @property
    def shapes(self) -> dict[str, list[int | None]]:
        """Of all outputs by name; a size that another size of the inputs changes is None."""
        seen = [y.shape for y in self.made.values()]
        others = seen
        if any(None in x.shape[1:] for x in self.program.inputs):
            for samples in of_other_sizes(self.program, self.samples):
                try:
                    others = [y.shape for y in Reference.of(self.program, samples).made.values()]
                    break
                except ValueError:
                    continue
        # By their places: steps that are called for the first time may change their paths.
        batch = self.program.inputs[0].shape[0]
        return {
            name: [batch, *(a if a == b else None for a, b in zip(x[1:], y[1:], strict=True))]
            for name, x, y in zip(self.made, seen, others, strict=True)
        }

    def outputs_of(self, format: str) -> dict[str, np.ndarray]:
        """Those of a format: a packed network has the model's own output and no other."""
        if format != "packed":
            return self.made
        probabilities = self.program.scores in ("softmax", "sigmoid")
        name = "probabilities" if probabilities else self.program.served[0]
        return {name: self.made[name]}


def verify(reference: Reference, format: str, path: Path) -> Verification:
    """Run an artifact and compare it.

    Raises:
        RuntimeError: If it cannot be run, has other outputs, or decides otherwise.
    """
    program, steps = reference.program, reference.steps
    expected = reference.outputs_of(format)
    parts = batches(reference.samples, program.inputs[0].shape[0])
    apart = FORMATS[format].runtime not in sys.modules
    run = _run_apart if apart else runtimes.run
    parts = run(format, path, parts, list(expected))
    found = {name: np.concatenate([made[name] for made in parts]) for name in parts[0]}
    if set(found) != set(expected):
        raise RuntimeError(
            f"The {format} artifact gives the outputs {sorted(found)}. Expected {sorted(expected)}."
        )
    count = len(next(iter(reference.samples.values())))
    expected = {name: _by_sample(name, y, found, count) for name, y in expected.items()}
    edge = tolerance(program.model)
    left_out = _at_the_edge(steps, expected, found, edge)
    exact, labelwise = {step.name for step in steps}, program.labelwise
    rows = tuple(
        _compared(name, y[~left_out], found[name][~left_out], name in exact, edge, labelwise)
        for name, y in expected.items()
    )
    result = Verification(format, count, int(left_out.sum()), rows, apart)
    if not result.equal:
        raise RuntimeError(_failure(reference, result))
    return result


def _run(program: Program, tensors: list) -> dict:
    """The program's outputs but its bits; an error that says so if a size is none of its own."""
    try:
        return program(*tensors, bits=False)
    except Exception as error:  # each backend has its own
        shapes = {x.name: tuple(y.shape) for x, y in zip(program.inputs, tensors, strict=True)}
        if not any(None in x.shape[1:] for x in program.inputs):
            raise
        raise ValueError(
            f"Model {program.model.name!r} does not run on inputs of the shapes {shapes}, though "
            f"it says that it takes {[x.shape for x in program.inputs]}. Give samples= of sizes "
            f"that it takes; without, those that may be any are small. The error was: {error}"
        ) from error


def _array(x) -> np.ndarray:
    if keras.backend.standardize_dtype(x.dtype) in ("float16", "bfloat16"):
        x = ops.cast(x, "float32")
    return np.asarray(ops.convert_to_numpy(x))


def _over_time(x: np.ndarray, step, count: int) -> np.ndarray:
    """(samples, times, bits); a folded time axis is part of the bits."""
    times = x.shape[1] if isinstance(step, Spike) and len(x) == count else 1
    return x.reshape(count, times, -1)


def _run_apart(format: str, path: Path, parts: list, names: list[str]) -> list[dict]:
    """As `runtimes.run`, in a process that cannot import Keras."""
    home = str(Path(runtimes.__file__).parents[2])  # where keras_htaf_packed is
    paths = [p for p in (os.environ.get("PYTHONPATH"), home) if p]
    environment = {**os.environ, **processor.CHILD, "PYTHONPATH": os.pathsep.join(paths)}
    with tempfile.TemporaryDirectory() as folder:
        given, made = Path(folder) / "given.npz", Path(folder) / "made.npz"
        runtimes.write_arrays(given, parts, names)
        # -P: or the modules beside the script would be found first.
        command = [sys.executable, "-P", runtimes.__file__, format, path, given, made]
        try:
            done = subprocess.run(
                list(map(str, command)),
                env=environment,
                capture_output=True,
                text=True,
                check=False,
                timeout=_PATIENCE,
            )
        except subprocess.TimeoutExpired:
            raise RuntimeError(
                f"The {format} artifact gave nothing in {_PATIENCE:g} seconds. Give fewer "
                "samples=, or verify=False."
            ) from None
        if done.returncode:
            raise RuntimeError(
                f"The {format} artifact does not run where Keras is not:\n{done.stderr[-2000:]}"
            )
        return runtimes.read_arrays(made)[0]


def tolerance(model: keras.Model) -> float:
    """What rounding may do to a model's numbers."""
    return max(ROUNDING.get(layer.compute_dtype, 0.0) for layer in model._flatten_layers())


def _by_sample(name: str, y, found: dict, count: int) -> np.ndarray:
    """The model's output as (samples, ...), and in `found` the artifact's."""
    if y.shape != found[name].shape:
        raise RuntimeError(
            f"The artifact's output {name!r} has the shape {found[name].shape}. Expected {y.shape}."
        )
    found[name] = found[name].reshape(count, -1)
    return y.reshape(count, -1)


def _at_the_edge(steps: list[Bits], expected, found, tolerance: float) -> np.ndarray:
    """Which samples differ for no other reason than rounding before a step."""
    left_out = np.zeros(len(next(iter(expected.values()))), bool)
    decided, unseen = left_out.copy(), left_out.copy()
    for step in steps:
        near = np.abs(step.received) <= tolerance * np.abs(step.received).max(initial=0.0)
        if step.name not in found:  # then any bit at the edge may be the reason
            unseen |= near.any((1, 2)) & _differing(expected, found, tolerance)
            continue
        other = found[step.name].reshape(step.given.shape) != step.given
        times = other.any(2)
        rows, first = np.arange(len(times)), times.argmax(1)
        unexplained = (other & ~near)[rows, first].any(1)
        left_out |= times.any(1) & ~decided & ~unexplained
        decided |= times.any(1)
    return left_out if unseen.sum() * UNSEEN > len(unseen) else left_out | unseen


def _differing(expected, found, tolerance: float) -> np.ndarray:
    """Which samples have another output, beyond what is `CLOSE`."""
    far = [
        (np.abs(y - found[name]) > CLOSE * tolerance * np.abs(y).max(initial=0.0)).any(1)
        for name, y in expected.items()
    ]
    return np.any(far, axis=0)


def _compared(name: str, y, made, exact: bool, tolerance: float, labelwise: bool) -> Difference:
    """One output; `exact` bits must be equal, other values close, decisions of classes equal."""
    if not y.size:
        return Difference(name, 0.0, True)
    with np.errstate(invalid="ignore"):
        difference = np.abs(made.astype("float64") - y.astype("float64"))
    difference[made == y] = 0.0  # of infinities, too
    largest = float(difference.max())
    if exact:
        return Difference(name, largest, bool((made == y).all()))
    scale = float(np.abs(y[np.isfinite(y)]).max(initial=0.0))
    equal = largest <= CLOSE * tolerance * scale  # false for NaN
    if name in ("logits", "probabilities"):
        equal = equal and _decide_alike(y, made, tolerance * scale, name, labelwise)
    return Difference(name, largest, equal)


def _decide_alike(y, made, edge: float, name: str, labelwise: bool) -> bool:
    if labelwise or y.shape[1] == 1:
        threshold = 0.0 if name == "logits" else 0.5
        other = (y > threshold) != (made > threshold)
        return not (other & (np.abs(y - threshold) > edge)).any()
    rows = np.arange(len(y))
    lost = y.max(1) - y[rows, made.argmax(1)]
    return bool((lost <= 2 * edge).all())


def _draws(reference: Reference) -> bool:
    """Whether the model gives something else each time, which a stateless scope prevents."""
    variables = reference.program.model.variables
    before = [ops.convert_to_numpy(v) for v in variables]
    with processor.scope():
        tensors = [ops.convert_to_tensor(x, x.dtype.name) for x in reference.samples.values()]
        runs = [reference.program(*tensors) for _ in range(2)]
        for variable, value in zip(variables, before, strict=True):
            variable.assign(value)
    pairs = zip(*(map(_array, run.values()) for run in runs), strict=True)
    return any(not np.array_equal(first, second, equal_nan=True) for first, second in pairs)


def _failure(reference: Reference, result: Verification) -> str:
    if _draws(reference):
        return (
            f"Model {reference.program.model.name!r} draws random numbers, so its artifact cannot "
            "be compared with it. Export it with verify=False."
        )
    return (
        f"The {result.format} artifact does not give what the model gives, on {result.samples} "
        f"samples:\n{result}\nNothing was written. If the samples are unlike the model's data, "
        "give some of these as samples=. Where an artifact has no bits, rounding before a step "
        f"explains one difference in {UNSEEN} samples at most: more samples, or bits=True, tell."
    )
