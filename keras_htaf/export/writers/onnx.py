"""ONNX, by tf2onnx from TensorFlow and by torch's own exporter from torch."""

from __future__ import annotations

import logging
import warnings
from pathlib import Path

import keras

from keras_htaf.backend.turns import unrolled
from keras_htaf.export.program import Program

OPSET = 18


def write(program: Program, path: Path) -> None:
    """Write one graph with all outputs."""
    if keras.config.backend() == "torch":
        _from_torch(program, path)
    else:
        _from_tensorflow(program, path)


def _from_tensorflow(program: Program, path: Path) -> None:
    import tensorflow as tf
    import tf2onnx

    names: list[str] = []

    def run(*inputs):
        outputs = program(*inputs)
        names[:] = outputs
        return list(outputs.values())  # of a dict, TensorFlow would sort them

    logging.getLogger("tf2onnx").setLevel(logging.ERROR)
    signature = [tf.TensorSpec(x.shape, x.dtype, x.name) for x in program.inputs]
    with unrolled():
        function = tf.function(run, input_signature=signature, autograph=False)
        model, _ = tf2onnx.convert.from_function(function, signature, opset=OPSET)
    _rename(model.graph, [x.name for x in program.inputs], names)
    path.write_bytes(model.SerializeToString())


def _from_torch(program: Program, path: Path) -> None:
    import torch

    from keras_htaf.export.writers.torch import exported

    logging.getLogger("torch.onnx").setLevel(logging.ERROR)  # it misses torchvision
    made, names = exported(program)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # of what it calls itself
        found = torch.onnx.export(
            made,
            input_names=[x.name for x in program.inputs],
            output_names=names,
            opset_version=OPSET,
            dynamo=True,
            verbose=False,
        )
    found.save(str(path))


def _rename(graph, inputs: list[str], outputs: list[str]) -> None:
    """Give inputs and outputs their names; tf2onnx has its own."""
    new = {x.name: name for x, name in zip(graph.input, inputs, strict=True)}
    new |= {y.name: name for y, name in zip(graph.output, outputs, strict=True)}
    for value in (*graph.input, *graph.output):
        value.name = new[value.name]
    for node in graph.node:
        node.input[:] = [new.get(name, name) for name in node.input]
        node.output[:] = [new.get(name, name) for name in node.output]
