"""What a caller says for a card, checked before anything is computed."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from numbers import Real
from typing import Any

import keras
import numpy as np
from keras import ops

KEYS = ("data", "metrics", "classes", "concepts", "usage", "preprocessing")
"""What a caller may say."""


def checked(card: Mapping | None) -> dict[str, Any]:
    """What was given, as JSON has it; None where a key of `KEYS` is missing.

    Args:
        card: By the keys in `KEYS`, or None. NumPy's numbers and arrays, and the tensors of Keras's
            backend, become Python's numbers and lists.

    Raises:
        ValueError: If it is no dict, has other keys, or says what JSON cannot hold.

    Example:

    >>> checked({"metrics": {"accuracy": np.float64(0.5)}, "classes": [0, 1]})["classes"]
    ['0', '1']
    """
    if not isinstance(card, (Mapping, type(None))):
        raise ValueError(f"Received card={card!r}. Expected a dict with keys among {KEYS}.")
    card = card or {}
    if unknown := [key for key in card if key not in KEYS]:
        raise ValueError(f"Received card={sorted(unknown, key=str)}. Expected the keys {KEYS}.")
    given: dict[str, Any] = {key: card.get(key) for key in KEYS}
    for key in ("data", "metrics", "preprocessing"):
        given[key] = _plain(given[key], f"card[{key!r}]")
    if not isinstance(given["metrics"], (dict, type(None))):
        raise ValueError(
            f'Received card["metrics"]={card["metrics"]!r}. Expected a dict of numbers by name, '
            'such as {"accuracy": 0.9}.'
        )
    for key in ("classes", "concepts"):
        given[key] = _names(given[key], key)
    given["usage"] = _shares(given["usage"])
    return given


def check_fits(given: dict[str, Any], bits: int, classes: int | None) -> None:
    """A ValueError if names or shares are not as many as what they are of.

    Args:
        given: What `checked` gave.
        bits: How many the head reads; 0 where there is no such head.
        classes: How many the model decides between; None where it is no classifier.
    """
    names, concepts, usage = (given[key] for key in ("classes", "concepts", "usage"))
    if names is not None and classes is not None and len(names) != classes:
        raise ValueError(
            f'Received card["classes"] with {len(names)} names. Expected {classes}, one for each '
            "class that the model decides between (two where a single score decides by its sign)."
        )
    if concepts is not None and bits and len(concepts) != bits:
        raise ValueError(
            f'Received card["concepts"] with {len(concepts)} names. Expected {bits}, one for each '
            "bit that the head reads."
        )
    if usage is not None and (not bits or len(usage) != bits):
        raise ValueError(
            f'Received card["usage"] with {len(usage)} numbers. Expected the share of samples on '
            f"which each of the {bits} bits that the head reads is on."
        )


def _plain(value, where: str):
    """The value in Python's types, as JSON has them."""
    if value is None or isinstance(value, (str, bool, int)):
        return value
    if isinstance(value, Mapping):
        if wrong := [key for key in value if not isinstance(key, str)]:
            raise ValueError(f"Received {where} with the key {wrong[0]!r}. Expected strings.")
        return {str(key): _plain(each, f"{where}[{key!r}]") for key, each in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(each, f"{where}[{i}]") for i, each in enumerate(value)]
    array = _array(value)
    if array is not None and array.ndim:
        return _plain(list(array), where)
    if array is not None and array.dtype.kind in "biu":
        return array.item()
    if isinstance(value, Real) or (array is not None and _is_real(array)):
        if not math.isfinite(number := float(value if array is None else array)):
            raise ValueError(f"Received {where}={number}. Expected a finite number: JSON has none.")
        return number
    raise ValueError(
        f"Received {where}={value!r}, of type {type(value).__name__}. Expected what JSON has: "
        "numbers, strings, True, False, None, lists, and dicts with strings as keys."
    )


def _array(value) -> np.ndarray | None:
    """NumPy's numbers, arrays and the backend's tensors as an array; None of anything else."""
    if isinstance(value, (np.ndarray, np.generic)):
        return np.asarray(value)
    if ops.is_tensor(value) or isinstance(value, keras.Variable):
        # TensorFlow gives no array of a single bfloat16.
        half = keras.backend.standardize_dtype(value.dtype) == "bfloat16"
        return np.asarray(ops.convert_to_numpy(ops.cast(value, "float32") if half else value))
    return None


def _is_real(array: np.ndarray) -> bool:
    return array.dtype.kind == "f" or array.dtype.name == "bfloat16"


def _names(names, key: str) -> list[str] | None:
    if names is None:
        return None
    array = _array(names)
    listed = array.tolist() if array is not None else names
    several = isinstance(listed, Sequence) and not isinstance(listed, (str, bytes))
    if not several or not all(isinstance(each, (str, Real, np.generic)) for each in listed):
        raise ValueError(f'Received card["{key}"]={names!r}. Expected a list of names.')
    return [str(each) for each in listed]


def _shares(usage) -> list[float] | None:
    if usage is None:
        return None
    try:
        array = _array(usage)
        shares = np.asarray(usage if array is None else array, "float64")
        fine = shares.ndim == 1 and ((shares >= 0) & (shares <= 1)).all()
    except (ValueError, TypeError):
        fine = False
    if not fine:
        raise ValueError(
            f'Received card["usage"]={usage!r}. Expected a list of numbers from 0 to 1: the share '
            "of samples on which each of the bits that the head reads is on."
        )
    return shares.tolist()
