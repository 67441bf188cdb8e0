"""Which format is written where, by what, and what runs it."""

from __future__ import annotations

import importlib.util
import os
from dataclasses import dataclass
from pathlib import Path

import keras

BACKENDS = ("tensorflow", "jax", "torch")


@dataclass(frozen=True)
class Format:
    """A kind of artifact.

    Attributes:
        suffix: Of its file; "" for a folder.
        routes: By the backend that can write it, best first, the packages that this takes beside
            the backend's own.
        runtime: The module that runs it.
        extras: Of this package, those that bring all of that.
        beside: Suffixes of further files of the artifact.
    """

    suffix: str
    routes: dict[str, tuple[str, ...]]
    runtime: str
    extras: str
    beside: tuple[str, ...] = ()


_TF2ONNX, _ONNXSCRIPT = ("tensorflow", "tf2onnx", "onnx"), ("torch", "onnxscript", "onnx")
_PACKED = ("numba", "safetensors", "threadpoolctl")

FORMATS = {
    "tf_saved_model": Format(
        "",
        {"tensorflow": ("tensorflow",), "jax": ("tensorflow",)},
        "tensorflow",
        "export",
    ),
    "onnx": Format(".onnx", {"tensorflow": _TF2ONNX, "torch": _ONNXSCRIPT}, "onnxruntime", "onnx"),
    "openvino": Format(
        ".xml",
        {"tensorflow": (*_TF2ONNX, "openvino"), "torch": (*_ONNXSCRIPT, "openvino")},
        "openvino",
        "onnx,openvino",
        (".bin",),
    ),
    "litert": Format(".tflite", {"tensorflow": ("tensorflow",)}, "ai_edge_litert", "litert"),
    "torch": Format(".pt2", {"torch": ("torch",)}, "torch", "torch"),
    "packed": Format(".khtaf", dict.fromkeys(BACKENDS, _PACKED), "keras_htaf_packed", "packed"),
}
"""By name."""


def checked(format: str) -> Format:
    """The format of a name, or a ValueError that says which there are."""
    if format not in FORMATS:
        raise ValueError(f"Received format={format!r}. Expected one of {list(FORMATS)}.")
    return FORMATS[format]


def format_of(path: str | os.PathLike) -> str:
    """The format that a path's suffix says; a SavedModel where it says none."""
    suffix = Path(path).suffix
    by_suffix = {each.suffix: name for name, each in FORMATS.items()}
    return by_suffix.get(suffix, by_suffix[""])


def writer_of(format: str) -> str:
    """The backend that writes a format: Keras's own if it can, else another that is installed.

    Raises:
        ValueError: If there is no such format.
        ImportError: If packages are missing, with the command that installs them.
    """
    routes, own = checked(format).routes, keras.config.backend()
    lacking = {
        backend: [name for name in packages if not installed(name)]
        for backend, packages in routes.items()
    }
    for backend in sorted(routes, key=lambda backend: backend != own):  # its order is kept
        if not lacking[backend] and (backend == own or installed(backend)):
            return backend
    chosen = own if own in lacking else min(lacking, key=lambda backend: len(lacking[backend]))
    raise _missing(format, lacking[chosen])


def check_runtime(format: str) -> None:
    """An ImportError with the command that installs it, if what runs a format is missing."""
    if not installed(FORMATS[format].runtime):
        raise _missing(format, [FORMATS[format].runtime], " and checking it")


def installed(package: str) -> bool:
    return importlib.util.find_spec(package) is not None


def _missing(format: str, packages: list[str], what: str = "") -> ImportError:
    extras = FORMATS[format].extras.split(",")
    extras += [name for name in packages if name in BACKENDS and name not in extras]
    return ImportError(
        f"Writing {format}{what} needs {', '.join(packages)}, whatever backend trained the model: "
        f'pip install "keras-htaf[{",".join(extras)}]"'
    )
