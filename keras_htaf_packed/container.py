"""The file "model.khtaf": a safetensors file with a JSON header, checked before it is used.

Its metadata are `format` ("keras-htaf packed"), `version`, `graph` (JSON: `Graph.to_json`) and
`sha256`, of the version, the graph and all tensors. A tensor is named "place.key", for the array
`key` of the operation at `place`. Nothing in it is code, and nothing is unpickled.
"""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path

import numpy as np

from keras_htaf_packed.files import replacing
from keras_htaf_packed.graph import Graph

FORMAT = "keras-htaf packed"
VERSION = 1
"""Of what is in the file. Raised when an older reader would misread it."""


def write(graph: Graph, path: str | os.PathLike) -> None:
    """Write a graph, atomically."""
    from safetensors.numpy import save

    if elsewhere := [o.name for o in graph.operations if o.call is not None]:
        raise ValueError(
            f"The network leaves {elsewhere} to Keras, which no file holds. Expected one that is "
            "packed throughout; save the Keras model itself instead, and pack it again."
        )

    arrays = {
        key: np.ascontiguousarray(array.astype(array.dtype.newbyteorder("<"), copy=False))
        for key, array in graph.arrays().items()
    }
    text = json.dumps(graph.to_json(), allow_nan=False, separators=(",", ":"))
    metadata = {"format": FORMAT, "version": str(VERSION), "graph": text}
    metadata["sha256"] = _digest(metadata, arrays)
    with replacing(path) as temporary:
        temporary.write_bytes(save(arrays, metadata))  # save_file's are its owner's alone


def read(path: str | os.PathLike) -> Graph:
    """Read what `write` wrote.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it is damaged, something else, or of a newer version.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"There is no packed model {str(path)!r}.")
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, "numpy") as file:
            metadata = file.metadata() or {}
            _check_format(metadata, path)
            arrays = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118 (no dict)
    except (SafetensorError, OSError, TypeError, KeyError, AttributeError) as error:
        raise ValueError(
            f"{str(path)!r} is no packed model, or a damaged one. Expected a file that "
            "PackedModel.save wrote (Keras models are packed by keras_htaf.packed.pack); if it was "
            "cut short, copy or save it again."
        ) from error
    if metadata.get("sha256") != _digest(metadata, arrays):
        raise ValueError(
            f"{str(path)!r} is damaged: its checksum is not that of its content. Copy or save it "
            "again."
        )
    try:
        return Graph.from_json(json.loads(metadata["graph"]), arrays)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{str(path)!r} cannot be used: {error}") from error


def _check_format(metadata: dict[str, str], path: Path) -> None:
    if metadata.get("format") != FORMAT or not {"version", "graph", "sha256"} <= set(metadata):
        raise ValueError(
            f"{str(path)!r} is a safetensors file, but no packed model. Expected a file that "
            "PackedModel.save wrote."
        )
    if metadata["version"] != str(VERSION):
        raise ValueError(
            f"{str(path)!r} has version {metadata['version']!r} of the format. This keras-htaf "
            f"reads version {VERSION}: install the keras-htaf that wrote it, or a newer one."
        )


def _digest(metadata: dict[str, str], arrays: dict[str, np.ndarray]) -> str:
    digest = hashlib.sha256()
    for text in (metadata["version"], metadata["graph"]):
        digest.update(f"{len(text)}:{text}".encode())
    for key in sorted(arrays):
        array = arrays[key]
        digest.update(f"{key}:{array.dtype.str}:{array.shape}:".encode())
        digest.update(np.ascontiguousarray(array).data)
    return digest.hexdigest()
