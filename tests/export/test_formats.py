"""Each format that a backend writes by itself, one that travels; cards, and what they promise."""

import json
import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import keras
import numpy as np
import pytest
from support import BACKEND

import keras_htaf_packed
from keras_htaf import harden
from keras_htaf.datasets import Preprocessing
from keras_htaf.export import FORMATS, card, export, formats
from keras_htaf.models import icbm, initial_state, spiking_mlp, streaming

PLAIN = Path(__file__).with_name("plain_runtimes.py")
WRITTEN = {
    "tensorflow": ["tf_saved_model", "onnx", "openvino", "litert", "packed"],
    "jax": ["tf_saved_model", "onnx", "packed"],  # onnx by way of TensorFlow
    "torch": ["onnx", "openvino", "torch", "packed"],
}[BACKEND]
KNOWN = {
    "data": "digits",
    "metrics": {"smooth": 0.5, "exact": 0.4, "gap": 0.1},
    "classes": ["a", "b", "c"],
    "preprocessing": {"scale": 0.5, "offset": 0.0},
}
KEYS = [
    "format",
    "name",
    "kind",
    "created",
    "steps",
    "inputs",
    "outputs",
    "states",
    "initial_states",
    "served",
    "signatures",
    "classes",
    "concepts",
    "head",
    "signs",
    "usage",
    "preprocessing",
    "data",
    "metrics",
    "parameters",
    "bits",
    "size_bytes",
    "checksum",
    "versions",
    "backend",
    "verification",
    "load",
]


def apart(*arguments):
    """Run Python where neither KERAS_BACKEND nor this file's folder matters."""
    environment = {k: v for k, v in os.environ.items() if k != "KERAS_BACKEND"}
    environment["PYTHONPATH"] = str(Path(keras_htaf_packed.__file__).parents[1])
    done = subprocess.run(
        [sys.executable, "-P", *map(str, arguments)],
        env=environment,
        capture_output=True,
        text=True,
        timeout=280,
    )
    assert done.returncode == 0, done.stderr[-3000:]


def place(folder, format):
    return folder / f"{format}{FORMATS[format].suffix}"


def model_of_bits():
    model = icbm(num_concepts=6, num_classes=3, input_shape=(4, 4, 1))
    random = np.random.default_rng(1)
    model.set_weights([w + np.abs(random.normal(0, 0.3, w.shape)) for w in model.get_weights()])
    return model


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    """The folder, the model, and by the format what `export` returned."""
    for format in WRITTEN:
        for package in {FORMATS[format].runtime, *next(iter(FORMATS[format].routes.values()))}:
            pytest.importorskip(package)
    folder, model = tmp_path_factory.mktemp("formats"), model_of_bits()
    before = Preprocessing(0.5).layer()
    results = {
        format: export(model, place(folder, format), format, preprocessing=before, card=KNOWN)
        for format in WRITTEN
    }
    return folder, model, results


@pytest.fixture(scope="module")
def loaded(written):
    """By the format, what its card's five lines give for zeros, run without Keras."""
    folder = written[0]
    for format in WRITTEN:
        text = card.find(place(folder, format))["load"]
        (folder / f"{format}.py").write_text(text)
    apart(PLAIN, *(folder / f"{format}.py" for format in WRITTEN))
    return {format: dict(np.load(folder / f"{format}.npz")) for format in WRITTEN}


@pytest.mark.parametrize("format", WRITTEN)
def test_verified(written, format):
    result = written[2][format]
    assert result.equal
    assert result.largest < 1e-5
    assert result.samples == 16
    names = [row.output for row in result.rows]
    assert names == (["logits"] if format == "packed" else ["logits", "probabilities", "concepts"])
    assert all(name in str(result) for name in names)


@pytest.mark.parametrize("format", WRITTEN)
def test_five_lines(written, loaded, format):
    expected = harden(written[1]).predict(np.zeros((1, 4, 4, 1)), verbose=0)
    np.testing.assert_allclose(loaded[format]["logits"], expected, atol=1e-5)
    outputs = {"logits"} if format == "packed" else {"logits", "probabilities", "concepts"}
    if format == "tf_saved_model":
        outputs -= {"concepts"}  # which the signature `bits` gives
    assert set(loaded[format]) == outputs


@pytest.mark.parametrize("format", WRITTEN)
def test_card(written, format):
    folder, model, _ = written
    path = place(folder, format)
    found = card.find(path)
    assert list(found) == KEYS
    assert found["inputs"] == [{"name": "image", "shape": [None, 4, 4, 1], "dtype": "float32"}]
    assert (found["kind"], found["steps"], found["backend"]) == ("classifier", "exact", BACKEND)
    assert {key: found[key] for key in KNOWN} == KNOWN
    assert found["concepts"][:2] == ["bit 0", "bit 1"]
    assert found["size_bytes"] == sum(file.stat().st_size for file in card.files_of(path))
    assert found["checksum"]["sha256"] == card.checksum(card.files_of(path))
    assert found["verification"]["samples"] == 16
    kernel, bias = (np.array(found["head"][key]) for key in ("kernel", "bias"))
    np.testing.assert_allclose(kernel, model.get_layer("head").get_weights()[0], atol=1e-7)
    assert bias.shape == (3,)
    assert (found["signs"], found["usage"]) == (False, None)
    page = card.places(path)[1].read_text()
    assert "| exact | 0.4 |" in page
    assert found["load"] in page
    if format == "tf_saved_model":
        scores = ["logits", "probabilities"]
        assert found["signatures"] == {"serving_default": scores, "bits": [*scores, "concepts"]}
    else:
        assert found["signatures"] is None
    served = ["logits"] if format == "packed" else ["logits", "probabilities"]
    assert found["served"] == served
    assert card.find(path.with_name("other.onnx")) is None


def test_damaged_card(tmp_path):
    (tmp_path / "x.onnx.card.json").write_text(json.dumps({"format": "onnx"}))
    with pytest.raises(ValueError, match="is no model card"):
        card.find(tmp_path / "x.onnx")


@pytest.mark.skipif(BACKEND == "jax", reason="travels to TensorFlow: the same file")
def test_stream_in_onnx_is_the_whole(tmp_path):
    onnxruntime = pytest.importorskip("onnxruntime")
    options = {"encoding": None, "return_sequences": True, "width": 8, "neuron": "alif"}
    model = spiking_mlp((None, 5), 3, **options)
    random = np.random.default_rng(2)
    model.set_weights([w + np.abs(random.normal(0, 0.3, w.shape)) for w in model.get_weights()])
    stream, path = streaming(model, 2), tmp_path / "stream.onnx"
    export(stream, path, "onnx")
    x = (3 * random.normal(size=(3, 6, 5))).astype("float32")
    first = [keras.ops.convert_to_numpy(state) for state in initial_state(stream, 3)]
    states = card.find(path)["states"]
    kept = dict(zip(states, first, strict=True))
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    names, pieces = [y.name for y in session.get_outputs()], []
    for t in (0, 2, 4):
        made = dict(
            zip(names, session.run(names, {"inputs": x[:, t : t + 2], **kept}), strict=True)
        )
        kept = {before: made[after] for before, after in states.items()}
        pieces.append(made["output"])
    whole = model.predict(x, verbose=0)
    assert 0.05 < whole.mean() < 0.95
    np.testing.assert_array_equal(np.concatenate(pieces, 1), whole)


def test_missing_packages(tmp_path, monkeypatch):
    model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(2)])
    missing = set()
    there = formats.installed
    monkeypatch.setattr(formats, "installed", lambda name: name not in missing and there(name))
    missing |= {"tf2onnx", "onnxscript"}
    with pytest.raises(ImportError, match=r'pip install "keras-htaf\[onnx\]"'):
        export(model, tmp_path / "x.onnx", "onnx")
    missing |= {"onnxruntime"}
    missing -= {"tf2onnx", "onnxscript"}
    with pytest.raises(ImportError, match="onnxruntime"):
        export(model, tmp_path / "x.onnx", "onnx")
    missing |= {"tf2onnx"}
    assert formats.writer_of("onnx") == "torch"
    missing |= {"onnxscript"}
    missing -= {"tf2onnx"}
    assert formats.writer_of("onnx") == "tensorflow"
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("own", formats.BACKENDS)
@pytest.mark.parametrize("format", FORMATS)
def test_the_command_for_missing_packages_is_enough(format, own, monkeypatch):
    file = Path(__file__).parents[2] / "pyproject.toml"
    extras = tomllib.loads(file.read_text())["project"]["optional-dependencies"]
    there = {own, "keras_htaf_packed"}
    monkeypatch.setattr(formats, "installed", there.__contains__)
    monkeypatch.setattr(keras.config, "backend", lambda: own)
    try:
        formats.writer_of(format)
        formats.check_runtime(format)
    except ImportError as error:
        named = re.search(r'pip install "keras-htaf\[(.+)\]"', str(error)).group(1).split(",")
        packages = [re.match(r"[\w-]+", line).group() for name in named for line in extras[name]]
        there.update(package.replace("-", "_") for package in packages)
    assert formats.writer_of(format) in there
    formats.check_runtime(format)


@pytest.mark.parametrize(
    ("path", "format", "options", "message"),
    [
        ("x.bin", "onnx", {}, r"ends in \.onnx"),
        ("x.pt2", "torch", {"outputs": "scores"}, "outputs='scores'"),
        ("x.khtaf", "packed", {"samples": np.zeros((2, 3))}, r"Expected arrays of shapes .*2"),
        ("x.khtaf", "packed", {"samples": np.zeros((0, 2))}, "at least one sample"),
        ("x.khtaf", "packed", {"card": {"author": "me"}}, r"card=\['author'\]"),
    ],
)
def test_wrong_arguments(tmp_path, path, format, options, message):
    model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(2)])
    with pytest.raises(ValueError, match=message):
        export(model, tmp_path / path, format, **options)
    assert list(tmp_path.iterdir()) == []
