"""TensorFlow Serving's REST protocol: bodies to arrays and back."""

from __future__ import annotations

import re

import numpy as np
import orjson

from keras_htaf.serving.errors import Refused
from keras_htaf.serving.tensors import Spec, few, from_lists

DEFAULT = "serving_default"
_NO_JSON = re.compile(rb"\b(NaN|Infinity)\b")
"""What Python writes for these."""


def parse(body: bytes) -> dict:
    """The JSON object of a body, or `Refused`."""
    try:
        found = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        numbers = " JSON has no NaN or Infinity." if _NO_JSON.search(body) else ""
        raise Refused(400, f"The body is no JSON: {error}.{numbers}") from None
    if not isinstance(found, dict):
        raise Refused(400, "The body is no JSON object. Expected {...}.")
    return found


def decode(
    request: dict, specs: list[Spec], max_rows: int
) -> tuple[dict[str, np.ndarray], int | None]:
    """Arrays by input, and the number of rows ("instances"); None for columns ("inputs").

    A model of one input takes bare values, one of several takes objects.
    """
    if ("instances" in request) == ("inputs" in request):
        raise Refused(400, 'Expected either "instances" (rows) or "inputs" (columns) in the body.')
    rows = None
    names = [spec.name for spec in specs]
    if "instances" in request:
        given = request["instances"]
        if not isinstance(given, list) or not given:
            raise Refused(400, 'Expected "instances" to be a list of at least one row.')
        few(len(given), max_rows)
        rows = len(given)
        if isinstance(given[0], dict):
            if any(not isinstance(row, dict) or row.keys() != given[0].keys() for row in given):
                raise Refused(400, "The rows have different inputs. Expected the same in each.")
            given = {name: [row[name] for row in given] for name in given[0]}
    else:
        given = request["inputs"]
    if not isinstance(given, dict):
        if len(specs) != 1:
            raise Refused(400, f"The model has several inputs. Expected objects with {names}.")
        given = {names[0]: given}
    if given.keys() != set(names):
        raise Refused(400, f"Received inputs {sorted(given)}. Expected {names}.")
    return {spec.name: from_lists(spec, given[spec.name]) for spec in specs}, rows


def signature(request: dict, signatures: dict[str, list[str]]) -> list[str]:
    """The outputs of the signature that a request names, by default "serving_default"."""
    name = request.get("signature_name") or DEFAULT
    if not isinstance(name, str) or name not in signatures:
        raise Refused(
            400, f"Received signature_name={name!r}. Expected one of {sorted(signatures)}."
        )
    return signatures[name]


def encode(outputs: dict[str, np.ndarray], rows: int | None) -> bytes:
    """The answer: values of one output, objects of several.

    Args:
        outputs: Arrays by name.
        rows: As many as came; None for columns.

    Raises:
        Refused: If an output has not one value for each row.
    """
    for name, array in outputs.items():
        if rows is not None and array.shape[:1] != (rows,):
            raise Refused(
                500,
                f"The model's output {name!r} has shape {array.shape} for {rows} rows, not a value "
                'for each. Send "inputs" instead of "instances", or use v2.',
            )
    outputs = {name: np.ascontiguousarray(array) for name, array in outputs.items()}
    found: np.ndarray | list | dict
    if len(outputs) == 1:
        (found,) = outputs.values()
    elif rows is not None:
        found = [{name: array[i] for name, array in outputs.items()} for i in range(rows)]
    else:
        found = outputs
    return dump({"outputs" if rows is None else "predictions": found})


def dump(value) -> bytes:
    """JSON, with numpy's arrays as they are."""
    return orjson.dumps(value, option=orjson.OPT_SERIALIZE_NUMPY)
