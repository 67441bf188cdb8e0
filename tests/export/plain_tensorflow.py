"""Runs SavedModels where keras and keras_htaf cannot be imported; called by test_saved_model.py.

Arguments: a folder of SavedModels, each beside NAME.npz with the inputs `x`. Writes NAME.out.npz:
the outputs for all inputs and for batches of 1, 3 and 17, the gradient of the outputs' sum (if
TensorFlow can take it), and the names of the forward functions that insist on XLA.
"""

import sys
from importlib.machinery import ModuleSpec
from pathlib import Path

BLOCKED = {"keras", "keras_htaf", "tf_keras"}


class Refuse:
    """Finds the blocked packages (TensorFlow looks where its Keras is) and refuses to load them."""

    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in BLOCKED:
            return ModuleSpec(name, self, origin=f"blocked/{name}")

    def create_module(self, spec):
        raise ImportError(f"{spec.name} is blocked")

    def exec_module(self, module):
        raise ImportError


sys.meta_path.insert(0, Refuse())

import numpy as np  # noqa: E402
import tensorflow as tf  # noqa: E402
from tensorflow.core.protobuf import saved_model_pb2  # noqa: E402


def functions_called(graph, name, found):
    """The functions that `name` calls when it runs forwards, itself included."""
    if name in found:
        return
    function = next(f for f in graph.library.function if f.signature.name == name)
    found[name] = function
    for node in function.node_def:
        for called in functions_of(node):
            functions_called(graph, called, found)


def functions_of(node):
    for attribute in node.attr.values():
        for function in [attribute.func, *attribute.list.func]:
            if function.name:
                yield function.name


def must_compile(folder):
    model = saved_model_pb2.SavedModel()
    model.ParseFromString((folder / "saved_model.pb").read_bytes())
    graph = model.meta_graphs[0].graph_def
    outputs = model.meta_graphs[0].signature_def["serving_default"].outputs.values()
    nodes = {node.name: node for node in graph.node}
    found = {}
    for node in {nodes[output.name.split(":")[0]].name for output in outputs}:
        for name in functions_of(nodes[node]):
            functions_called(graph, name, found)
    assert found
    return sorted(name for name, f in found.items() if f.attr["_XlaMustCompile"].b)


def run(folder):
    model = tf.saved_model.load(str(folder))
    signature = model.signatures["serving_default"]
    (key,) = signature.structured_input_signature[1]
    x = np.load(folder.with_suffix(".npz"))["x"]

    def served(x):
        return signature(**{key: tf.constant(x)})["logits"].numpy()

    results = {"all": model.serve(x).numpy(), "served": served(x), "xla": must_compile(folder)}
    for size in (1, 3, 17):
        batches = [model.serve(x[i : i + size]).numpy() for i in range(0, len(x), size)]
        results[f"batch{size}"] = np.concatenate(batches)
    try:
        with tf.GradientTape() as tape:
            inputs = tf.constant(x)
            tape.watch(inputs)
            total = tf.reduce_sum(model.serve(inputs))
        results["gradient"] = tape.gradient(total, inputs).numpy()
    except Exception as error:
        results["no_gradient"] = str(error)
    np.savez(folder.with_suffix(".out.npz"), **results)


if __name__ == "__main__":
    for folder in Path(sys.argv[1]).iterdir():
        if folder.is_dir():
            run(folder)
    assert not {name.split(".")[0] for name in sys.modules} & BLOCKED
