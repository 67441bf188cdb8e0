"""TensorFlow Serving's REST protocol: bodies to arrays and back."""

from __future__ import annotations

import numpy as np
import orjson

from keras_htaf.serving.errors import Refused
from keras_htaf.serving.tensors import Spec, from_lists

DEFAULT = "serving_default"


def parse(body: bytes) -> dict:
    """The JSON object of a body, or `Refused`."""
    try:
        found = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise Refused(400, f"The body is no JSON: {error}.") from None
    if not isinstance(found, dict):
        raise Refused(400, "The body is no JSON object. Expected {...}.")
    return found


def decode(request: dict, specs: list[Spec]) -> tuple[dict[str, np.ndarray], bool]:
    """Arrays by input, and whether they came as rows ("instances") rather than columns ("inputs").

    A model of one input takes bare values, one of several takes objects.
    """
    if ("instances" in request) == ("inputs" in request):
        raise Refused(400, 'Expected either "instances" (rows) or "inputs" (columns) in the body.')
    rows = "instances" in request
    names = [spec.name for spec in specs]
    if rows:
        given = request["instances"]
        if not isinstance(given, list) or not given:
            raise Refused(400, 'Expected "instances" to be a list of at least one row.')
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


def encode(outputs: dict[str, np.ndarray], rows: bool) -> bytes:
    """The answer: values of one output, objects of several."""
    outputs = {name: np.ascontiguousarray(array) for name, array in outputs.items()}
    found: np.ndarray | list | dict
    if len(outputs) == 1:
        (found,) = outputs.values()
    elif rows:
        count = len(next(iter(outputs.values())))
        found = [{name: array[i] for name, array in outputs.items()} for i in range(count)]
    else:
        found = outputs
    return dump({"predictions" if rows else "outputs": found})


def dump(value) -> bytes:
    """JSON, with numpy's arrays as they are."""
    return orjson.dumps(value, option=orjson.OPT_SERIALIZE_NUMPY)
