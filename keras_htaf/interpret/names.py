"""Names that people give to bits, kept in a file beside the model."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from keras_htaf.files import write_json
from keras_htaf.interpret.codes import on_grid


def fingerprint(weights: np.ndarray, bias: np.ndarray) -> str:
    """Sixteen characters that tell one trained head from another.

    Bits of a model that was trained again mean something else, even where there are as many.
    """
    weights, bias = on_grid(weights, bias)
    parts = (np.ascontiguousarray(part, "<f8").tobytes() for part in (weights, bias))
    return hashlib.sha256(b"".join(parts)).hexdigest()[:16]


def read_names(
    path: str | os.PathLike, weights: np.ndarray, bias: np.ndarray, default: Sequence[str]
) -> tuple[str, ...]:
    """The names of all bits: those of a file, and the default where it has none.

    Args:
        path: A file that `write_names` or the report wrote: JSON with "names", from the number of
            a bit to its name, and "model", the fingerprint of the head.
        weights: The head that reads the bits, (m, K).
        bias: (K,).
        default: m names.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it holds something else, or names of another model's bits.
    """
    try:
        content = json.loads(Path(path).read_text(encoding="utf-8"))
        given = {int(number): name for number, name in content["names"].items()}
        owner = content.get("model")
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ValueError(
            f"{str(path)!r} holds no names of concepts ({error!r}). Expected JSON such as "
            '{"names": {"0": "striped"}}, which the report writes ("Save names").'
        ) from error
    if owner not in (None, fingerprint(weights, bias)):
        raise ValueError(
            f"{str(path)!r} names the bits of another model, or of this one before it was trained "
            'on: they mean something else. Remove "model" from the file to use its names anyway.'
        )
    wrong = {j: n for j, n in given.items() if not 0 <= j < len(default) or not isinstance(n, str)}
    if wrong:
        raise ValueError(
            f"{str(path)!r} has the names {wrong}. Expected texts for bits 0 to {len(default) - 1}."
        )
    return tuple(given.get(j, "").strip() or name for j, name in enumerate(default))


def write_names(
    path: str | os.PathLike, names: Mapping[int, str], weights: np.ndarray, bias: np.ndarray
) -> None:
    """Writes what `read_names` reads, atomically.

    Args:
        path: A .json file.
        names: By number of the bit.
        weights: The head that reads the bits, (m, K).
        bias: (K,).

    Example:

    >>> write_names(tmp / "names.json", {1: "striped"}, np.ones((2, 2)), np.zeros(2))
    >>> read_names(tmp / "names.json", np.ones((2, 2)), np.zeros(2), ["bit 0", "bit 1"])
    ('bit 0', 'striped')
    """
    texts = {str(number): str(name) for number, name in names.items()}
    write_json(path, {"model": fingerprint(weights, bias), "names": texts})
