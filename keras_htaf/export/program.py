"""What an artifact computes: a model, the names of what goes in, and names for what comes out."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import keras
from keras import ops

from keras_htaf.export.scores import LABELWISE, classified, scores_of
from keras_htaf.hardening import step_layers, unit_steps
from keras_htaf.layers import FoldTime
from keras_htaf.models.spiking.streaming import state_names
from keras_htaf.quantizers import Step

NEXT = "_next"
"""What the name of a state that comes out has more than that of the state which goes in."""


@dataclass(frozen=True)
class Input:
    """What goes in under a name; a size is None where any is taken."""

    name: str
    shape: tuple[int | None, ...]
    dtype: str


@dataclass(frozen=True)
class Program:
    """A model as it is exported.

    Attributes:
        model: With the steps that the artifact shall have, and its preprocessing.
        outputs: A name for each output of the model.
        scores: What the first output is, one of `keras_htaf.export.scores.SCORES`, which gives
            "logits" and "probabilities" in its place; None for something else.
        bits: Whether there is an output for each step too.
        states: By the name of a state that goes in, that of the one that comes out.
        bit_names: Names for the bits of each call of a step, in their order; by default made from
            the steps' paths, which may be others once a model was saved and loaded.
        shapes: Of inputs that the model was seen to take, in their order.
    """

    model: keras.Model
    outputs: tuple[str, ...]
    scores: str | None = None
    bits: bool = True
    states: dict[str, str] | None = None
    bit_names: tuple[str, ...] | None = None
    shapes: tuple[tuple[int, ...], ...] | None = None

    @property
    def inputs(self) -> list[Input]:
        """What goes in, in order."""
        names = [name.replace(".", "_") for name in distinct(map(input_name, self.model.inputs))]
        return [
            Input(name, tuple(x.shape), keras.backend.standardize_dtype(x.dtype))
            for name, x in zip(names, self.model.inputs, strict=True)
        ]

    @property
    def labelwise(self) -> bool:
        """Whether each score decides by itself, rather than the largest of them."""
        return self.scores in LABELWISE

    @property
    def served(self) -> list[str]:
        """The names of the outputs other than bits."""
        return ["logits", "probabilities", *self.outputs[1:]] if self.scores else [*self.outputs]

    def __call__(self, *inputs, bits: bool | None = None) -> dict:
        """The outputs by name; the bits too if `bits`, by default where the program has them."""
        seen = {}
        with ExitStack() as stack:
            if self.bits if bits is None else bits:
                seen = stack.enter_context(watched(self.model, ops.shape(inputs[0])[0]))
            given = keras.tree.pack_sequence_as(self.model.input, list(inputs))
            made = keras.tree.flatten(self.model(given, training=False))
        names = seen if self.bit_names is None or not seen else self.bit_names
        found = zip(names, seen.values(), strict=True)
        return {**self._named(made), **{name: _wide(y) for name, (_, y) in found}}

    def _named(self, made) -> dict:
        named = dict(zip(self.outputs, made, strict=True))
        if self.scores is None:
            return {name: _wide(y) if name not in self._kept else y for name, y in named.items()}
        first = _wide(named.pop(self.outputs[0]))
        return {**classified(first, self.scores), **named}

    @property
    def _kept(self) -> set[str]:
        return set((self.states or {}).values())


def _wide(y):
    """Half precision as float32, which every runtime knows."""
    dtype = keras.backend.standardize_dtype(y.dtype)
    return ops.cast(y, "float32") if dtype in ("float16", "bfloat16") else y


@contextmanager
def watched(model: keras.Model, batch, tap=None) -> Iterator[dict[str, tuple]]:
    """While the model is called, (step, bits) of each call of a step, by name, in their order.

    Steps within the cell of a `keras.layers.RNN`, whose values do not leave its loop, are left out.
    Bits within `FoldTime` come as (batch, time, ...), as all others with the batch first.

    Args:
        model: The model.
        batch: The size of the batch, a number or a scalar tensor.
        tap: Function of a step's name and input, called before the step; it returns the input.
    """
    within, folded = (
        {
            id(step)
            for layer in model._flatten_layers()
            if isinstance(layer, kind)
            for step in step_layers(layer)
        }
        for kind in (keras.layers.RNN, FoldTime)
    )
    seen: dict[str, tuple] = {}
    times: Counter[str] = Counter()
    with ExitStack() as stack:
        for step in unit_steps(model):
            if id(step) not in within:
                base = plain_name(step.path or step.name).removeprefix(f"{plain_name(model.name)}.")
                size = batch if id(step) in folded else None
                observe, receive = _hooks(step, base, seen, times, tap, size)
                stack.enter_context(step.tapped(receive if tap else None, observe))
        yield seen


def _hooks(step: Step, base: str, seen: dict, times: Counter, tap, batch):
    def observe(y):
        times[base] += 1
        if batch is not None:
            y = ops.reshape(y, (batch, -1, *ops.shape(y)[1:]))
        seen[_numbered(base, times[base])] = step, y

    def receive(x):
        return tap(_numbered(base, times[base] + 1), x)

    return observe, receive


def _numbered(name: str, time: int) -> str:
    return name if time == 1 else f"{name}.{time}"


def plain_name(name: str) -> str:
    """A name that every format takes."""
    return re.sub(r"[^\w.]", "_", name.replace("/", "."))


def input_name(tensor) -> str:
    """The name of an input, fit to be that of a parameter."""
    name = re.sub(r"\W", "_", _layer_name(tensor))
    return name if name.isidentifier() and not name.startswith("_") else f"input{name}"


def _layer_name(tensor) -> str:
    """Of an input's layer, which is what a file says: an unnamed tensor has another of its own."""
    return tensor._keras_history.operation.name


def distinct(names) -> list[str]:
    """The names, with numbers behind those that came before."""
    times: Counter[str] = Counter()
    found = []
    for name in names:
        times[name] += 1
        found.append(_numbered(name, times[name]))
    return found


def prepare(
    model: keras.Model, like: keras.Model, preprocessing, outputs: str, bits: bool
) -> Program:
    """The program of a model.

    Args:
        model: With its steps as they shall be.
        like: The model that it is a copy of, which may be compiled.
        preprocessing: Layer before the first input, or None.
        outputs: One of `keras_htaf.export.scores.MEANINGS`.
        bits: As for `Program`.

    Raises:
        ValueError: If the outputs cannot be what they are said to be.
    """
    model = _functional(model)
    known = state_names(model)
    given = [input_name(tensor) for tensor in model.inputs if tensor.name in known]
    states = {name: name + NEXT for name in given}
    made = model.outputs[: len(model.outputs) - len(states)]
    scores = scores_of(model, like, made, outputs)
    if len(made) == 1:
        names = ["output"]
    else:
        names = [plain_name(name) for name in model.output_names[: len(made)]]
    names = distinct([*names, *states.values()])
    if preprocessing is not None:
        model = _preceded(model, preprocessing)
    return Program(model, tuple(names), scores, bits, states)


def _functional(model: keras.Model) -> keras.Model:
    """A model that knows its inputs."""
    if isinstance(model, keras.Sequential):
        return keras.Model(model.inputs[0], model.outputs[0], name=model.name)  # no list of one
    if getattr(model, "inputs", None):
        return model
    shape = (model.get_build_config() or {}).get("input_shape")
    if not isinstance(shape, (tuple, list)) or not all(
        n is None or isinstance(n, int) for n in shape
    ):
        raise ValueError(
            f"Model {model.name!r} ({type(model).__name__}) does not say what its inputs are. "
            "Expected a functional or sequential model, or one with a single input."
        )
    inputs = keras.Input(batch_shape=(None, *shape[1:]), name="inputs")
    return keras.Model(inputs, model(inputs, training=False), name=model.name)


def _preceded(model: keras.Model, preprocessing) -> keras.Model:
    """The model behind a layer for its first input, under the same names."""
    names = map(_layer_name, model.inputs)
    first, *others = [
        keras.Input(batch_shape=x.shape, dtype=x.dtype if i else "float32", name=name)
        for i, (name, x) in enumerate(zip(names, model.inputs, strict=True))
    ]
    given = keras.tree.pack_sequence_as(model.input, [preprocessing(first), *others])
    inputs = keras.tree.pack_sequence_as(model.input, [first, *others])
    return keras.Model(inputs, model(given), name=f"{model.name}_on_raw")


def save_uncompiled(model: keras.Model, file: Path) -> None:
    """Save a model without its losses and metrics, which a file may not name unless registered."""
    compiled = [part for part in model._flatten_layers() if getattr(part, "compiled", False)]
    try:
        for part in compiled:
            part.compiled = False
        model.save(file)
    finally:
        for part in compiled:
            part.compiled = True
