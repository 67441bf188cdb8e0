"""The Open Inference Protocol, version 2: bodies to arrays and back, in JSON or binary."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from keras_htaf.serving import v1
from keras_htaf.serving.errors import Refused
from keras_htaf.serving.tensors import DATATYPES, Spec, cast, from_lists

LENGTH = "inference-header-content-length"
"""The header that says how many bytes of a body are JSON; binary tensors follow them."""

_DTYPES = {datatype: np.dtype(name) for name, datatype in DATATYPES.items()}


def parse(body: bytes, headers: dict[str, str]) -> tuple[dict, memoryview]:
    """The JSON of a body and the bytes behind it, or `Refused`."""
    length = headers.get(LENGTH)
    if length is None:
        return v1.parse(body), memoryview(b"")
    digits = length.isascii() and length.isdecimal() and len(length) <= 20
    if not digits or int(length) > len(body):
        raise Refused(
            400,
            f"Received {LENGTH}: {length[:40]!r} for a body of {len(body)} bytes. Expected "
            "the length of its JSON.",
        )
    return v1.parse(body[: int(length)]), memoryview(body)[int(length) :]


def decode(request: dict, binary: memoryview, specs: list[Spec]) -> dict[str, np.ndarray]:
    """Arrays by input."""
    given = request.get("inputs")
    if not isinstance(given, list) or not given:
        raise Refused(400, 'Expected "inputs" to be a list of at least one tensor.')
    known, arrays, offset = {spec.name: spec for spec in specs}, {}, 0
    for each in given:
        if not isinstance(each, dict) or not isinstance(each.get("name"), str):
            raise Refused(400, 'Expected each input to be an object with a "name".')
        name = each["name"]
        if name not in known or name in arrays:
            raise Refused(400, f"Received input {name!r}. Expected each of {list(known)} once.")
        spec, shape = known[name], _shape(each)
        size = _parameters(each).get("binary_data_size")
        if "data" in each:
            array = from_lists(spec, each["data"])
            _datatype(each, spec)
            if array.size != math.prod(shape):
                raise _mismatch(name, f"{array.size} numbers", shape)
        else:
            if isinstance(size, bool) or not isinstance(size, int) or size < 0:
                raise Refused(400, f'Input {name!r} has neither "data" nor "binary_data_size".')
            dtype = _datatype(each, spec)
            if offset + size > len(binary) or size != math.prod(shape) * dtype.itemsize:
                raise _mismatch(name, f"{min(size, len(binary) - offset)} bytes", shape)
            raw = np.frombuffer(binary[offset : offset + size], dtype.newbyteorder("<"))
            if dtype.kind == "b" and (raw.view(np.uint8) > 1).any():
                raise Refused(400, f"Input {name!r} holds bytes other than 0 and 1.")
            array, offset = cast(spec, raw), offset + size
        arrays[name] = array.reshape(shape)
    if offset != len(binary):
        raise Refused(400, f"{len(binary) - offset} bytes follow the last input. Expected none.")
    return arrays


def wanted(request: dict, specs: list[Spec], default: list[str]) -> tuple[list[str], set[str]]:
    """The outputs that a request asks for, and those of them that are to be binary."""
    all_binary = _parameters(request).get("binary_data_output") is True
    asked = request.get("outputs")
    if asked is None or asked == []:
        return default, set(default) if all_binary else set()
    if not isinstance(asked, list):
        raise Refused(400, 'Expected "outputs" to be a list of tensors.')
    known, names, binary = {spec.name for spec in specs}, [], set()
    for each in asked:
        name = each.get("name") if isinstance(each, dict) else None
        if not isinstance(name, str) or name not in known or name in names:
            raise Refused(
                400, f"Received output {name!r}. Expected some of {sorted(known)}, each once."
            )
        names.append(name)
        if _parameters(each).get("binary_data", all_binary) is True:
            binary.add(name)
    return names, binary


def encode(
    model: str, request: dict, outputs: dict[str, np.ndarray], binary: set[str]
) -> tuple[bytes, dict[str, str]]:
    """The answer and its headers."""
    described, blocks = [], []
    for name, array in outputs.items():
        array = np.ascontiguousarray(array)
        datatype = DATATYPES[array.dtype.name]
        each: dict[str, Any] = {"name": name, "shape": array.shape, "datatype": datatype}
        if name in binary:
            blocks.append(array.astype(array.dtype.newbyteorder("<"), copy=False).tobytes())
            each["parameters"] = {"binary_data_size": len(blocks[-1])}
        else:
            each["data"] = array.ravel()
        described.append(each)
    identifier = request.get("id")
    answer = {"model_name": model, "outputs": described}
    if isinstance(identifier, str):
        answer["id"] = identifier
    text = v1.dump(answer)
    if not blocks:
        return text, {}
    return b"".join([text, *blocks]), {LENGTH: str(len(text))}


def _shape(each) -> list[int]:
    shape = each.get("shape")
    whole = isinstance(shape, list) and all(type(n) is int and n > 0 for n in shape)
    if not whole or len(shape) > 32:
        raise Refused(
            400, f'Input {each["name"]!r}: expected "shape" to be a list of sizes from 1.'
        )
    return shape


def _datatype(each, spec) -> np.dtype:
    datatype = each.get("datatype")
    if not isinstance(datatype, str) or datatype not in _DTYPES:
        raise Refused(
            400,
            f"Input {spec.name!r}: received datatype {datatype!r}. Expected "
            f"{DATATYPES[spec.dtype]!r}.",
        )
    if _DTYPES[datatype].kind == "f" and np.dtype(spec.dtype).kind != "f":
        raise Refused(
            400, f"Input {spec.name!r}: received {datatype}. Expected {DATATYPES[spec.dtype]!r}."
        )
    return _DTYPES[datatype]


def _parameters(each) -> dict:
    parameters = each.get("parameters")
    if parameters is None:
        return {}
    if not isinstance(parameters, dict):
        raise Refused(400, 'Expected "parameters" to be an object.')
    return parameters


def _mismatch(name, received, shape) -> Refused:
    return Refused(
        400, f"Input {name!r}: received {received}, which are not those of its shape {shape}."
    )
