"""Small artifacts made without Keras, a server as its own process, and a client."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import numpy as np

from keras_htaf.export import card as cards
from keras_htaf.serving import Artifact

BITS, CLASSES, PIXELS = 6, 3, (4, 4, 1)
random = np.random.default_rng(7)
MAP = random.normal(size=(16, BITS)).astype("float32")
KERNEL = random.normal(size=(BITS, CLASSES)).astype("float32")
BIAS = random.normal(size=CLASSES).astype("float32")
IMAGES = random.normal(size=(5, *PIXELS)).astype("float32")


def concepts(x) -> np.ndarray:
    return (x.reshape(len(x), -1) @ MAP > 0).astype("float32")


def logits(x) -> np.ndarray:
    return concepts(x) @ KERNEL + BIAS


def card(artifact: Artifact, outputs, **more) -> None:
    """Write a card as the export does."""
    found = {
        "format": artifact.format,
        "name": artifact.name,
        "inputs": [{"name": "image", "shape": [None, *PIXELS], "dtype": "float32"}],
        "outputs": [{"name": n, "shape": [None, m], "dtype": "float32"} for n, m in outputs],
        "signatures": None,
        "classes": ["cat", "dog", "owl"],
        "concepts": [f"concept {i}" for i in range(BITS)],
        "head": {"kernel": KERNEL.tolist(), "bias": BIAS.tolist()},
        "checksum": {"sha256": cards.checksum(cards.files_of(artifact.path))},
        **more,
    }
    file, _ = cards.places(artifact.path)
    file.parent.mkdir(exist_ok=True)
    file.write_text(json.dumps(found))


OUTPUTS = [("logits", CLASSES), ("probabilities", CLASSES), ("concepts", BITS)]


def icbm_onnx(path: Path) -> Path:
    """A concept model as an ONNX file, with its card."""
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    nodes = [
        helper.make_node("Flatten", ["image"], ["flat"]),
        helper.make_node("MatMul", ["flat", "map"], ["z"]),
        helper.make_node("Greater", ["z", "zero"], ["on"]),
        helper.make_node("Cast", ["on"], ["concepts"], to=TensorProto.FLOAT),
        helper.make_node("MatMul", ["concepts", "kernel"], ["sum"]),
        helper.make_node("Add", ["sum", "bias"], ["logits"]),
        helper.make_node("Softmax", ["logits"], ["probabilities"]),
    ]
    constants = {"map": MAP, "zero": np.zeros((), "float32"), "kernel": KERNEL, "bias": BIAS}
    graph = helper.make_graph(
        nodes,
        "icbm",
        [helper.make_tensor_value_info("image", TensorProto.FLOAT, ["n", *PIXELS])],
        [helper.make_tensor_value_info(n, TensorProto.FLOAT, ["n", m]) for n, m in OUTPUTS],
        [numpy_helper.from_array(value, name) for name, value in constants.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.save(model, str(path))
    card(Artifact.at(path), OUTPUTS)
    return path


def icbm_saved_model(path: Path) -> Path:
    """The same as a SavedModel, with its card."""
    import tensorflow as tf

    module = tf.Module()

    @tf.function(input_signature=[tf.TensorSpec((None, *PIXELS), tf.float32, name="image")])
    def bits(image):
        on = tf.cast(tf.reshape(image, (-1, 16)) @ MAP > 0, tf.float32)
        found = on @ KERNEL + BIAS
        return {"logits": found, "probabilities": tf.nn.softmax(found), "concepts": on}

    @tf.function(input_signature=bits.input_signature)
    def served(image):
        found = bits(image)
        return {name: found[name] for name in ("logits", "probabilities")}

    module.bits, module.served = bits, served
    tf.saved_model.save(module, str(path), signatures={"serving_default": served, "bits": bits})
    names = [name for name, _ in OUTPUTS]
    card(Artifact.at(path), OUTPUTS, signatures={"serving_default": names[:2], "bits": names})
    return path


def slow_saved_model(path: Path) -> Path:
    """A model that computes for as many seconds as its input says, and gives NaN for 0.5."""
    import tensorflow as tf

    module = tf.Module()

    @tf.function(input_signature=[tf.TensorSpec((None, 1), tf.float32, name="seconds")])
    def served(seconds):
        longest = tf.cast(tf.reduce_max(seconds), tf.float64)
        begin = tf.timestamp()
        (turns,) = tf.while_loop(
            lambda i: tf.timestamp() - begin < longest, lambda i: (i + 1.0,), (tf.constant(0.0),)
        )
        broken = tf.where(tf.equal(seconds, -1.0), tf.constant(np.nan, tf.float32), seconds)
        return {"output": broken + 0.0 * turns}

    module.served = served
    tf.saved_model.save(module, str(path), signatures={"serving_default": served})
    return path


def peak_saved_model(path: Path) -> Path:
    """A stream of two steps at once; its state is the largest positive one, -inf before any."""
    import tensorflow as tf

    module = tf.Module()
    signature = [
        tf.TensorSpec((None, 2, 1), tf.float32, name="x"),
        tf.TensorSpec((None, 1), tf.float32, name="peak"),
    ]

    @tf.function(input_signature=signature)
    def served(x, peak):
        positive = tf.where(x > 0, x, -np.inf)
        return {
            "output": tf.reduce_sum(x, 1),
            "peak_next": tf.maximum(peak, tf.reduce_max(positive, 1)),
        }

    module.served = served
    tf.saved_model.save(module, str(path), signatures={"serving_default": served})
    shapes = {"x": [None, 2, 1], "peak": [None, 1]}
    card(
        Artifact.at(path),
        [("output", 1), ("peak_next", 1)],
        inputs=[{"name": k, "shape": v, "dtype": "float32"} for k, v in shapes.items()],
        states={"peak": "peak_next"},
        initial_states={"peak": "-inf"},
        head=None,
    )
    return path


class Server:
    """`keras-htaf serve` as a process of its own on a free port."""

    def __init__(self, *models, patience=180, **options):
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        arguments = [str(model) for model in models]
        for name, value in {"port": self.port, **options}.items():
            arguments += [f"--{name.replace('_', '-')}", str(value)]
        self.process = subprocess.Popen(
            [sys.executable, "-m", "keras_htaf_cli", "serve", *arguments],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            env={**os.environ, "PYTHONUNBUFFERED": "1"},
        )
        end = time.monotonic() + patience
        while not self._ready():
            if self.process.poll() is not None or time.monotonic() > end:
                self.process.kill()
                raise RuntimeError(self.process.communicate()[0])
            time.sleep(0.2)

    def _ready(self) -> bool:
        try:
            return self.request("GET", "/v2/health/ready", timeout=5)[0] == 200
        except (OSError, http.client.HTTPException):
            return False

    def request(self, method, path, body=None, headers=None, timeout=30):
        """Status, body (as JSON has it, else bytes) and headers of the answer."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=timeout)
        try:
            if isinstance(body, dict):
                body = json.dumps(body)
            connection.request(method, path, body, headers or {})
            answer = connection.getresponse()
            content, found = answer.read(), dict(answer.getheaders())
        finally:
            connection.close()
        if found.get("content-type") == "application/json":
            content = json.loads(content)
        return answer.status, content, found

    def predict(self, model, body, verb="predict", **options):
        return self.request("POST", f"/v1/models/{model}:{verb}", body, **options)

    def infer(self, model, body, headers=None):
        return self.request("POST", f"/v2/models/{model}/infer", body, headers)

    def input(self, model) -> str:
        """The name of a model's first input."""
        return self.request("GET", f"/v2/models/{model}")[1]["inputs"][0]["name"]

    def workers(self) -> list[int]:
        """Children that serve, by their ids."""
        tasks = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children").read_text()
        return [
            int(pid)
            for pid in tasks.split()
            if "spawn_main" in Path(f"/proc/{pid}/cmdline").read_text()
        ]

    def stop(self, number=signal.SIGTERM, timeout=60) -> tuple[int, str]:
        """The exit status after a signal, and what was printed."""
        if self.process.poll() is None:
            self.process.send_signal(number)
        try:
            printed, _ = self.process.communicate(timeout=timeout)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.communicate()
            raise
        return self.process.returncode, printed

    def gone(self) -> bool:
        """Whether nobody listens any more."""
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", self.port), 1):
            return False
        return True
