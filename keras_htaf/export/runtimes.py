"""Runs artifacts where Keras is not: one function for each format, with nothing but its runtime.

Run by path, `python -P runtimes.py FORMAT ARTIFACT IN.npz OUT.npz`, or imported. A batch is a dict
of arrays by the names of the inputs; what comes back are the outputs by their names.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np

_FOREIGN = ("keras", "keras_htaf", "tf_keras")


def _saved_model(path: str, outputs: list[str]) -> Callable:
    import tensorflow as tf

    with tf.device("CPU:0"):  # Else an accelerator is used that this process may see.
        model = tf.saved_model.load(path)
    signatures = [model.signatures[n] for n in ("bits", "serving_default") if n in model.signatures]

    def run(batch):
        made = {}
        with tf.device("CPU:0"):
            given = {name: tf.constant(x) for name, x in batch.items()}
            for signature in signatures:
                made.update({name: y.numpy() for name, y in signature(**given).items()})
        return made

    return run


def _onnx(path: str, outputs: list[str]) -> Callable:
    import onnxruntime

    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    names = [y.name for y in session.get_outputs()]
    return lambda batch: dict(zip(names, session.run(names, batch), strict=True))


def _openvino(path: str, outputs: list[str]) -> Callable:
    import openvino

    # Else some processors compute in bfloat16.
    exact = {"INFERENCE_PRECISION_HINT": "f32"}
    model = openvino.Core().compile_model(path, "CPU", exact)

    def run(batch):
        made = model(batch)
        return {name: made[y] for y in model.outputs for name in y.get_names()}

    return run


def _litert(path: str, outputs: list[str]) -> Callable:
    from ai_edge_litert.interpreter import Interpreter

    run = Interpreter(path).get_signature_runner("serving_default")
    return lambda batch: run(**batch)


def _torch(path: str, outputs: list[str]) -> Callable:
    import torch

    module = torch.export.load(path).module()

    def run(batch):
        with torch.no_grad():
            made = module(*(torch.from_numpy(x) for x in batch.values()))
        return {name: y.numpy() for name, y in made.items()}

    return run


def _packed(path: str, outputs: list[str]) -> Callable:
    import keras_htaf_packed

    model = keras_htaf_packed.load(path)
    return lambda batch: {outputs[0]: model.predict(*batch.values())}


_RUNTIMES = {
    "tf_saved_model": _saved_model,
    "onnx": _onnx,
    "openvino": _openvino,
    "litert": _litert,
    "torch": _torch,
    "packed": _packed,
}


def run(format: str, path, batches: list[dict], outputs: list[str]) -> list[dict]:
    """What an artifact gives for batches; `outputs` names those of a format without names."""
    call = _RUNTIMES[format](str(path), outputs)
    return [{name: np.asarray(y) for name, y in call(batch).items()} for batch in batches]


def write_arrays(file: Path, batches: list[dict], names: list[str]) -> None:
    """Batches as one `.npz` file."""
    flat = {f"{i}/{key}": x for i, batch in enumerate(batches) for key, x in batch.items()}
    np.savez(file, **flat, names=np.array(names))


def read_arrays(file: Path) -> tuple[list[dict], list[str]]:
    """What `write_arrays` wrote."""
    batches: list[dict] = []
    with np.load(file) as flat:
        for key in flat.files:
            if key != "names":
                i, name = key.split("/", 1)
                batches += [{} for _ in range(int(i) + 1 - len(batches))]
                batches[int(i)][name] = flat[key]
        return batches, flat["names"].tolist()


def main(format: str, path: str, given: str, made: str) -> None:
    """Run an artifact in a process of its own, and make sure that no Keras was needed."""
    # None in sys.modules makes every import of the name fail; typeshed knows modules only.
    sys.modules.update(dict.fromkeys(_FOREIGN))  # type: ignore[arg-type]
    batches, names = read_arrays(Path(given))
    write_arrays(Path(made), run(format, path, batches, names), names)
    assert not [name for name in _FOREIGN if sys.modules[name] is not None]


if __name__ == "__main__":
    main(*sys.argv[1:])
