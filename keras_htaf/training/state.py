"""What a training consists of at a moment: variables, random states, attributes of objects."""

from __future__ import annotations

import hashlib
import json
import random
from collections.abc import Iterable, Sequence
from typing import Any

import keras
import numpy as np

from keras_htaf import backend
from keras_htaf.training.checkpoint import encode


def values_of(variables: Iterable[keras.Variable]) -> list[np.ndarray]:
    """The variables' values."""
    # A copy: on the CPU torch's arrays are views of what the next step overwrites.
    return [np.array(keras.ops.convert_to_numpy(variable)) for variable in variables]


def assign(what: str, variables: Sequence[keras.Variable], values: Sequence[np.ndarray]) -> None:
    """Give the variables their values back.

    Raises:
        ValueError: If they are other variables.
    """
    there = [(tuple(v.shape), keras.backend.standardize_dtype(v.dtype)) for v in variables]
    kept = [(value.shape, value.dtype.name) for value in values]
    if there != kept:
        pairs = enumerate(zip(kept, there, strict=False))
        first = next((i for i, (old, new) in pairs if old != new), None)
        which = "" if first is None else f": number {first} is {there[first]}, not {kept[first]}"
        raise ValueError(
            f"The checkpoint was written by another training: the {what} has {len(there)} "
            f"variables, the checkpoint {len(kept)}{which}. Expected the same model, compiled "
            "alike; or choose another folder."
        )
    for variable, value in zip(variables, values, strict=True):
        variable.assign(value)


class Randomness:
    """The random states of the process: Python's, numpy's, the backend's, and Keras's global one.

    Layers such as dropout have variables to draw from, which are kept with the model.
    """

    def __init__(self):
        before = random.getstate()  # Keras may make its generator now, with a seed drawn from here
        with _Updates() as scope:
            keras.random.uniform(())
        random.setstate(before)
        self._of_keras = scope.variables

    def read(self) -> dict[str, Any]:
        return {
            "python": random.getstate(),
            "numpy": np.random.get_state(),  # noqa: NPY002 - what it keeps is not its choice
            **self.read_drawn_in_steps(),
        }

    def read_drawn_in_steps(self) -> dict[str, Any]:
        """What training steps draw from; the others are drawn from by data."""
        return {"backend": backend.random_state(), "keras": values_of(self._of_keras)}

    def restore(self, state: dict[str, Any]) -> None:
        if "python" in state:
            random.setstate(state["python"])
            np.random.set_state(state["numpy"])  # noqa: NPY002
        backend.set_random_state(state["backend"])
        assign("random state", self._of_keras, state["keras"])


class _Updates(keras.StatelessScope):
    """Collects the variables that are assigned to, instead of changing them."""

    def __init__(self):
        super().__init__()
        self.variables = []

    def add_update(self, update):
        self.variables.append(update[0])
        super().add_update(update)


class Attributes:
    """The attributes of an object that have changed since this was made.

    Only such as are plain values, or containers of them: others, a function or a model, are made
    anew by whoever makes the object. What has not changed is the object's configuration.
    """

    def __init__(self, owner: Any):
        self._owner = owner
        self._before = {name: digest for name, _, digest in self._plain()}

    def read(self) -> dict[str, Any]:
        return {n: value for n, value, digest in self._plain() if self._before.get(n) != digest}

    def restore(self, state: dict[str, Any]) -> None:
        for name, value in state.items():
            setattr(self._owner, name, value)

    def _plain(self):
        for name, value in vars(self._owner).items():
            arrays: list[np.ndarray] = []
            try:
                text = json.dumps(encode(value, arrays))
            except (TypeError, ValueError, RecursionError):
                continue
            digest = hashlib.blake2b(text.encode())
            for array in arrays:
                digest.update(repr(array.shape).encode())
                digest.update(np.ascontiguousarray(array).reshape(-1).view("uint8"))
            yield name, value, digest.digest()
