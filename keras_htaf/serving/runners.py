"""One way to run for each kind of artifact, all with arrays by name in and out."""

from __future__ import annotations

import warnings
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np

from keras_htaf.serving.artifacts import Artifact
from keras_htaf.serving.tensors import Spec
from keras_htaf.serving.v1 import DEFAULT

BITS = "bits"
Arrays = dict[str, np.ndarray]


class Runner(ABC):
    """A loaded artifact. One thread at a time calls it.

    Attributes:
        inputs: What it takes.
        outputs: All that it can give.
        signatures: Names of outputs by signature; "serving_default" is one of them.
        together: Whether rows of several requests may be computed at once.
    """

    inputs: list[Spec]
    outputs: list[Spec]
    signatures: dict[str, list[str]]
    together: bool

    @abstractmethod
    def run(self, feeds: Arrays, names: Sequence[str]) -> Arrays:
        """The outputs of these names; arguments were checked."""

    def warm_up(self) -> None:
        """Computes once with zeros, so that the first request finds all in place.

        Raises:
            ValueError: If the artifact does not run.
        """
        names = [spec.name for spec in self.outputs]
        self.together = all(spec.batched for spec in self.inputs)
        for rows in (1, 2) if self.together else (1,):
            feeds = {spec.name: spec.example(rows) for spec in self.inputs}
            try:
                found = {}
                for signature in self.signatures.values():
                    found.update(self.run(feeds, signature))
            except Exception as error:
                raise ValueError(f"It does not run on zeros: {error}") from error
            if missing := set(names) - found.keys():
                raise ValueError(f"It does not give {sorted(missing)}.")
            if self.together:
                self.together = all(array.shape[:1] == (rows,) for array in found.values())


class SavedModel(Runner):
    """A SavedModel in plain TensorFlow."""

    def __init__(self, artifact: Artifact, threads: int):
        import tensorflow as tf

        _set_threads(tf.config.threading, threads)
        self._constant = tf.constant
        self._loaded = tf.saved_model.load(str(artifact.path))  # holds the variables
        self._functions = dict(self._loaded.signatures)
        if DEFAULT not in self._functions:
            raise ValueError(f"It has signatures {sorted(self._functions)}, but no {DEFAULT!r}.")
        first = self._functions[DEFAULT]
        self.inputs = _specs(first.structured_input_signature[1])
        for name, function in list(self._functions.items()):
            if _specs(function.structured_input_signature[1]) != self.inputs:
                del self._functions[name]
        self.signatures = {
            name: sorted(function.structured_outputs) for name, function in self._functions.items()
        }
        outputs = {
            spec.name: spec
            for function in self._functions.values()
            for spec in _specs(function.structured_outputs)
        }
        self.outputs = list(outputs.values())

    def run(self, feeds, names):
        found: Arrays = {}
        # The first signature, the default one, which gives all that is asked for; else several.
        complete = [s for s, given in self.signatures.items() if set(names) <= set(given)]
        order = sorted(complete, key=lambda s: s != DEFAULT)[:1] or list(self.signatures)
        for signature in order:
            given = self._functions[signature](**{k: self._constant(v) for k, v in feeds.items()})
            found.update((name, given[name].numpy()) for name in names if name in given)
        return {name: found[name] for name in names}


def _set_threads(threading, threads: int) -> None:
    """TensorFlow's, which are for the whole process, and fixed once it has computed."""
    try:
        threading.set_intra_op_parallelism_threads(threads)
        threading.set_inter_op_parallelism_threads(1)
    except RuntimeError as error:
        if "cannot be modified after initialization" not in str(error):
            raise
        warnings.warn(
            "TensorFlow runs in this process already, with threads of its own number: "
            f"threads={threads} does not apply to SavedModels. Serve in a new process "
            "(`keras-htaf serve`) or with several workers for that.",
            stacklevel=2,
        )


def _specs(tensors) -> list[Spec]:
    return [
        Spec(name, tuple(tensor.shape.as_list()), tensor.dtype.name)
        for name, tensor in sorted(tensors.items())
    ]


_ONNX = {"tensor(float)": "float32", "tensor(double)": "float64", "tensor(float16)": "float16"}


class Onnx(Runner):
    """An ONNX file in ONNX Runtime, on the CPU."""

    def __init__(self, artifact: Artifact, threads: int):
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        self._session = onnxruntime.InferenceSession(
            str(artifact.path), options, providers=["CPUExecutionProvider"]
        )
        self.inputs = [_onnx_spec(each) for each in self._session.get_inputs()]
        self.outputs = [_onnx_spec(each) for each in self._session.get_outputs()]
        self.signatures = _signatures([spec.name for spec in self.outputs], artifact.card)

    def run(self, feeds, names):
        return dict(zip(names, self._session.run(list(names), feeds), strict=True))


def _onnx_spec(node) -> Spec:
    dtype = _ONNX.get(node.type, node.type.removeprefix("tensor(").removesuffix(")"))
    return Spec(node.name, tuple(n if isinstance(n, int) else None for n in node.shape), dtype)


class Packed(Runner):
    """A network on packed bits; neither Keras nor a framework."""

    def __init__(self, artifact: Artifact, threads: int):
        import keras_htaf_packed

        keras_htaf_packed.set_num_threads(threads)
        self._model = keras_htaf_packed.load(artifact.path)
        card = artifact.card or {"inputs": [{"name": "input"}], "outputs": [{"name": "output"}]}
        name, self._output = card["inputs"][0]["name"], card["outputs"][0]["name"]
        self.inputs = [Spec(name, self._model.input_shape, "float32")]
        self.outputs = [Spec(self._output, self._model.output_shape, "float32")]
        self.signatures = {DEFAULT: [self._output]}

    def run(self, feeds, names):
        (x,) = feeds.values()
        return {self._output: self._model.predict(x, batch_size=len(x))}


def _signatures(names: list[str], card: dict | None) -> dict[str, list[str]]:
    """Signatures as of a SavedModel: results without the bits, and everything.

    What the results are, the card says; where there is none, or one that does not, their names do.
    """
    served = (card or {}).get("served")
    if served is not None:
        if not isinstance(served, list) or not served or not all(n in names for n in served):
            raise ValueError(
                f"Its card says that it serves {served!r}, but it gives {names}. Export it again."
            )
        return {DEFAULT: served, BITS: names}
    results = [name for name in ("logits", "probabilities", "output") if name in names]
    states = ((card or {}).get("states") or {}).values()
    served = [*results, *(name for name in names if name in states)] if results else names
    return {DEFAULT: served, BITS: names}


_KINDS: dict[str, Callable[[Artifact, int], Runner]] = {
    "tf_saved_model": SavedModel,
    "onnx": Onnx,
    "packed": Packed,
}
_NEEDS = {"tf_saved_model": "export", "onnx": "onnx", "packed": "packed"}


def load(artifact: Artifact, threads: int) -> Runner:
    """The artifact, loaded and tried on zeros.

    Args:
        artifact: What to load.
        threads: Of one computation.

    Raises:
        ImportError: If its runtime is not installed.
        ValueError: If it cannot be loaded or run.
    """
    try:
        runner = _KINDS[artifact.format](artifact, threads)
        states = (artifact.card or {}).get("states") or {}
        for specs, names in ((runner.inputs, states), (runner.outputs, states.values())):
            specs[:] = [replace(spec, finite=spec.name not in names) for spec in specs]
        runner.warm_up()
    except ImportError as error:
        raise ImportError(
            f"{artifact.path} needs a runtime that is missing ({error}): "
            f'pip install "keras-htaf[{_NEEDS[artifact.format]}]"'
        ) from error
    except Exception as error:
        raise ValueError(f"{str(artifact.path)!r} cannot be served: {error}") from error
    return runner
