"""A file of plain values and arrays, of which there is always all or nothing.

One file, not a file of weights and another that names it: a single rename is the one moment at
which a checkpoint counts. Nothing in it is pickled.
"""

from __future__ import annotations

import json
import os
import zipfile
from pathlib import Path
from typing import Any

import keras
import numpy as np

from keras_htaf.files import replacing

_KINDS = {"list": list, "tuple": tuple, "set": set}


def encode(value: Any, arrays: list[np.ndarray]) -> Any:
    """`value` in terms of JSON; its arrays are added to `arrays` and named by their numbers.

    Raises:
        TypeError: If it is, or holds, something else than None, numbers, strings, arrays, lists,
            tuples, sets, dicts and functions of `keras.ops`.
    """
    if value is None or type(value) in (bool, int, float, str):
        return value
    if isinstance(value, (np.ndarray, np.generic)):
        array = np.asarray(value)
        if array.dtype.hasobject:
            raise TypeError("an array of objects")
        arrays.append(array)
        return {
            "array": len(arrays) - 1,
            "dtype": array.dtype.name,
            "scalar": isinstance(value, np.generic),
        }
    for name, kind in _KINDS.items():
        if type(value) is kind:
            return {name: [encode(item, arrays) for item in value]}
    if type(value) is dict:
        return {"dict": [[encode(k, arrays), encode(v, arrays)] for k, v in value.items()]}
    operation = getattr(value, "__name__", "")
    if callable(value) and getattr(keras.ops, operation, None) is value:
        return {"operation": operation}  # by which EarlyStopping compares
    raise TypeError(f"a {type(value).__name__}")


def decode(value: Any, arrays) -> Any:
    """What `encode` was given; `arrays` maps numbers to arrays."""
    if not isinstance(value, dict):
        return value
    if "array" in value:
        array = arrays[value["array"]]
        if array.dtype.name != value["dtype"]:
            array = array.view(value["dtype"])
        return array[()] if value["scalar"] else array
    if "operation" in value:
        return getattr(keras.ops, value["operation"])
    if "dict" in value:
        return {decode(k, arrays): decode(v, arrays) for k, v in value["dict"]}
    ((name, items),) = value.items()
    return _KINDS[name](decode(item, arrays) for item in items)


def write(file: Path, value: Any) -> None:
    """Replace the file by one that holds `value`."""
    arrays: list[np.ndarray] = []
    text = json.dumps(encode(value, arrays)).encode()
    # bfloat16 and the like are no types of numpy's own: their bits are written.
    bits = [a if a.dtype.isbuiltin == 1 else a.view(f"u{a.itemsize}") for a in arrays]
    named = {str(number): array for number, array in enumerate(bits)}
    with replacing(file) as temporary:
        state = np.frombuffer(text, "uint8")
        # numpy's stub takes them for `allow_pickle`, too.
        np.savez(temporary, state=state, **named)  # type: ignore[arg-type]


def read(file: str | os.PathLike) -> Any:
    """What the file holds.

    Raises:
        ValueError: If it is not what `write` writes.
    """
    try:
        with np.load(file, allow_pickle=False) as content:  # which checks each member's sum
            arrays = {int(name): content[name] for name in content if name != "state"}
            return decode(json.loads(content["state"].tobytes()), arrays)
    except (ValueError, KeyError, TypeError, AttributeError, EOFError, zipfile.BadZipFile) as error:
        raise ValueError(
            f"The checkpoint {str(file)!r} is damaged ({error!r}). Remove it, and train anew."
        ) from error
