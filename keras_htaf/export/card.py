"""The card beside an artifact: what it is, how well it does, how to load it."""

from __future__ import annotations

import datetime
import hashlib
import importlib.metadata
import json
import os
from pathlib import Path
from typing import Any

import keras
import numpy as np
from keras import ops

import keras_htaf
from keras_htaf import costs
from keras_htaf.export import given as saying
from keras_htaf.export import snippets
from keras_htaf.export.formats import FORMATS
from keras_htaf.export.program import Program
from keras_htaf.export.verification import Reference, Verification, tolerance
from keras_htaf.interpret.collection import saved_names
from keras_htaf.layers import BinaryLayer
from keras_htaf.models import initial_state
from keras_htaf.quantizers import Step

_OWN_PACKAGES = {
    "tf_saved_model": ("tensorflow",),
    "onnx": ("onnx", "onnxruntime"),
    "openvino": ("onnx", "openvino"),
    "litert": ("tensorflow", "ai-edge-litert"),
    "torch": ("torch",),
    "packed": ("numba",),
}


def find(path: str | os.PathLike) -> dict | None:
    """The card of an artifact, or None if there is none.

    Args:
        path: What `keras_htaf.export.export` wrote.

    Raises:
        ValueError: If there is a card that cannot be read.

    Example:

    >>> find(tmp / "nothing.onnx") is None
    True
    """
    file = places(Path(path))[0]
    if not file.is_file():
        return None
    try:
        card = json.loads(file.read_text(encoding="utf-8"))
        card["format"], card["inputs"], card["outputs"]
        return card
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(
            f"{str(file)!r} is no model card ({error!r}). Expected JSON that "
            "keras_htaf.export.export wrote; export the model again."
        ) from error


def places(path: Path) -> tuple[Path, Path]:
    """The card's files, JSON and Markdown, of an artifact."""
    if path.is_dir():
        # TensorFlow's place for what is not its own.
        return path / "assets.extra" / "card.json", path / "assets.extra" / "card.md"
    return path.with_name(f"{path.name}.card.json"), path.with_name(f"{path.name}.card.md")


def write(card: dict, path: Path) -> list[Path]:
    """Write a card in its places."""
    files = json_file, page = places(path)
    json_file.parent.mkdir(exist_ok=True)
    json_file.write_text(json.dumps(card, indent=2) + "\n", encoding="utf-8")
    page.write_text(snippets.page(card), encoding="utf-8")
    return list(files)


def known(reference: Reference, like: keras.Model, given: dict[str, Any]) -> dict[str, Any]:
    """What the card says of a model whatever its format, before that is written.

    Args:
        reference: Of what is exported.
        like: The model that it is of, with its steps as they are exported.
        given: What `keras_htaf.export.given.checked` gave.

    Raises:
        ValueError: If what was given is not of this model's bits or classes.
    """
    head, signs = _head(like, reference)
    program, bits, classes = reference.program, 0, None
    if head is not None:
        bits, classes = len(head["kernel"]), len(head["bias"])
    elif program.scores is not None:
        classes = program.model.outputs[0].shape[-1]
    saying.check_fits(given, bits, 2 if classes == 1 else classes)
    concepts = given["concepts"]
    if concepts is None and head is not None:
        concepts = list(saved_names(like) or (f"bit {i}" for i in range(bits)))
    about = {"classes": given["classes"], "concepts": concepts, "head": head, "signs": signs}
    return about | {key: given[key] for key in ("usage", "preprocessing", "data", "metrics")}


def make(
    reference: Reference,
    like: keras.Model,
    steps: str,
    format: str,
    path: Path,
    name: str,
    result: Verification | None,
    known: dict[str, Any],
) -> dict:
    """What the card says.

    Args:
        reference: Of what was exported.
        like: The model that it is of, with its steps as they were exported.
        steps: "exact", "smooth" or "none".
        format: Of the artifact.
        path: The artifact, where it is now.
        name: Of its file or folder, where it will be.
        result: How it compares with its model, or None.
        known: What `known` gave.
    """
    program, files, outputs = reference.program, files_of(path), reference.outputs_of(format)
    card = {
        "format": format,
        "name": like.name,
        "kind": _kind(program),
        "created": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "steps": steps,
        "inputs": [
            {"name": x.name, "shape": list(x.shape), "dtype": x.dtype} for x in program.inputs
        ],
        "outputs": _outputs(reference, outputs),
        "states": program.states or None,
        "initial_states": _initial(like, program) if program.states else None,
        "served": [name for name in program.served if name in outputs],
        "signatures": None,
        **known,
        "parameters": like.count_params(),
        "bits": _bits(like),
        "size_bytes": sum(file.stat().st_size for file in files),
        "checksum": {"sha256": checksum(files)},
        "versions": _versions(format),
        "backend": keras.config.backend(),
        "verification": None,
    }
    if format == "tf_saved_model":
        card["signatures"] = {"serving_default": program.served}
        if program.bits:
            card["signatures"]["bits"] = list(outputs)
    if result is not None:
        rows = [vars(row) for row in result.rows]
        numbers = {"samples": result.samples, "at_rounding": result.at_rounding}
        card["verification"] = {**numbers, "rows": rows}
    card["load"] = snippets.load(card, name)
    return card


def checksum(files: list[Path]) -> str:
    """SHA-256 over the contents of files, in the order of their names."""
    digest = hashlib.sha256()
    for file in sorted(files):
        with file.open("rb") as stream:
            while part := stream.read(2**20):
                digest.update(part)
    return digest.hexdigest()


def files_of(path: Path) -> list[Path]:
    """The files of an artifact, without its card."""
    if not path.is_dir():
        others = [path.with_suffix(suffix) for f in FORMATS.values() for suffix in f.beside]
        return [path, *(file for file in others if path.suffix == ".xml" and file.is_file())]
    own = path / "assets.extra"
    return sorted(f for f in path.rglob("*") if f.is_file() and own not in f.parents)


def _outputs(reference: Reference, outputs: dict) -> list[dict]:
    """Names, shapes and dtypes; a size that depends on the inputs' is None."""
    shapes = reference.shapes
    return [
        {"name": name, "shape": shapes[name], "dtype": y.dtype.name} for name, y in outputs.items()
    ]


def _kind(program: Program) -> str:
    if program.scores is None:
        return "other"
    several = program.model.outputs[0].shape[-1] > 1
    return "labels" if program.labelwise and several else "classifier"


def _initial(like: keras.Model, program: Program) -> dict[str, float | str | None]:
    """The number that each state begins with; None where it is not one for all."""
    found: dict[str, float | str | None] = {}
    for name, state in zip(program.states or (), initial_state(like, 1), strict=True):
        state = np.asarray(ops.convert_to_numpy(ops.cast(state, "float32")))
        first = float(state.flat[0])
        same = np.array_equal(state, np.full_like(state, first), equal_nan=True)
        # JSON has no infinities and no NaN.
        found[name] = (first if np.isfinite(first) else str(first)) if same else None
    return found


def _head(model: keras.Model, reference: Reference) -> tuple[dict | None, bool | None]:
    """Of a concept model, the head that reads the bits, and whether these are signs.

    Its name alone does not make it one: with the bits of the reference, it must give its scores.
    """
    layers = {layer.name: layer for layer in model.layers}
    step, head = layers.get("concepts"), layers.get("head")
    seen = {bits.name: bits.given for bits in reference.steps}
    bits = seen.get("concepts", reference.made.get("concepts"))
    if not isinstance(step, Step) or not isinstance(head, keras.layers.Dense) or bits is None:
        return None, None
    if isinstance(head, BinaryLayer) or len(head.kernel.shape) != 2:
        return None, None
    kernel = np.asarray(ops.convert_to_numpy(ops.cast(head.kernel, "float32")))
    bias = np.zeros(kernel.shape[1], "float32")
    if head.bias is not None:
        bias = np.asarray(ops.convert_to_numpy(ops.cast(head.bias, "float32")))
    bits = bits.reshape(len(next(iter(reference.samples.values()))), -1)
    if bits.shape[1] != len(kernel) or not _explains(kernel, bias, bits, reference):
        return None, None
    return {"kernel": kernel.tolist(), "bias": bias.tolist()}, step.rise == 2


def _explains(kernel, bias, bits, reference: Reference) -> bool:
    """Whether the scores are those of a head, but for rounding."""
    program = reference.program
    logits, scale = bits @ kernel + bias, np.abs(bits) @ np.abs(kernel) + np.abs(bias)
    edge = max(10 * tolerance(program.model), 1e-4) * scale
    given = reference.made[program.served[0]]
    if given.shape != logits.shape:
        return False
    if program.scores == "softmax":  # which forgets what is added to all
        given, logits = (x - x.max(1, keepdims=True) for x in (given, logits))
    if program.scores in ("softmax", "sigmoid"):  # next to 0 and 1 logarithms are rounded
        p, most = reference.made["probabilities"], 1.0 if program.scores == "softmax" else 0.999
        given, logits = (np.where((p > 1e-30) & (p <= most), x, 0) for x in (given, logits))
    return bool((np.abs(given - logits) <= edge + 1e-6).all())


def _bits(model: keras.Model) -> dict | None:
    try:
        return costs.summary(model).to_dict()
    except ValueError:  # it knows functional models only
        return None


def _versions(format: str) -> dict[str, str]:
    names = ["keras", "numpy", keras.config.backend(), *_OWN_PACKAGES.get(format, ())]
    found = {"keras_htaf": keras_htaf.__version__}
    for name in names:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found
