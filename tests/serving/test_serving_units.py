"""The parts of serving that need no server."""

from __future__ import annotations

import asyncio
import json
import threading
from pathlib import Path

import keras
import numpy as np
import pytest
import serving_case as case

from keras_htaf.interpret import Codes
from keras_htaf.interpret.explanations import explain
from keras_htaf.serving import Artifact, Options, manifest, serve, v1
from keras_htaf.serving.batching import Batcher
from keras_htaf.serving.errors import Refused
from keras_htaf.serving.explaining import Explainer
from keras_htaf.serving.manifest import text
from keras_htaf.serving.tensors import Spec, check, from_lists

pytestmark = pytest.mark.skipif(
    keras.config.backend() != "torch", reason="nothing here depends on the backend"
)


@pytest.mark.parametrize(
    "wrong",
    [
        {"port": 70000},
        {"port": -1},
        {"workers": 0},
        {"threads": 0},
        {"max_batch": 1.5},
        {"timeout": float("nan")},
        {"timeout": 0.0},
        {"max_body": -1.0},
        {"concurrency": True},
    ],
)
def test_options(wrong):
    with pytest.raises(ValueError, match=next(iter(wrong))):
        Options(**wrong)


def test_artifacts(tmp_path):
    file = tmp_path / "model.onnx"
    with pytest.raises(FileNotFoundError, match="There is no"):
        Artifact.at(file)
    file.write_bytes(b"bytes")
    assert Artifact.at(file).name == "model"
    assert not Artifact.at(file).verify()
    for name in ("", "a/b", "..", "a b", "x" * 80):
        with pytest.raises(ValueError, match="Expected letters"):
            Artifact.at(file, name)
    (tmp_path / "folder").mkdir()
    for path in (tmp_path / "folder", tmp_path / "model.keras"):
        path.exists() or path.write_bytes(b"")
        with pytest.raises(ValueError, match="cannot be served"):
            Artifact.at(path)
    (tmp_path / "demo" / "saved_model").mkdir(parents=True)
    (tmp_path / "demo" / "saved_model" / "saved_model.pb").touch()
    assert Artifact.at(tmp_path / "demo" / "saved_model").name == "demo"


def test_what_was_changed_is_not_loaded(tmp_path):
    file = tmp_path / "model.onnx"
    file.write_bytes(b"bytes")
    case.card(Artifact.at(file), case.OUTPUTS)
    assert Artifact.at(file).verify()
    file.write_bytes(b"other")
    with pytest.raises(ValueError, match="not what its card"):
        serve([Artifact.at(file)], Options(port=0))
    with pytest.raises(ValueError, match="different names"):
        serve([Artifact.at(file)] * 2, Options(port=0))


@pytest.mark.parametrize(
    ("dtype", "value", "expected"),
    [
        ("float32", [1, 2.5], [1, 2.5]),
        ("float16", [1e6], None),
        ("float32", [True, False], [1, 0]),
        ("int32", [1.0, -2], [1, -2]),
        ("int32", [1.5], None),
        ("int8", [200], None),
        ("uint8", [-1], None),
        ("uint8", [255], [255]),
        ("int64", [2**63], None),
        ("uint64", [2**64 - 1], [2**64 - 1]),
        ("int32", [1e300], None),
        ("bool", [0, 1, True], [0, 1, 1]),
        ("bool", [2], None),
        ("float32", ["1"], None),
        ("float32", [None], None),
        ("float32", [{}], None),
        ("float32", [[1], [1, 2]], None),
    ],
)
def test_numbers_of_a_type(dtype, value, expected):
    spec = Spec("x", (None,), dtype)
    if expected is None:
        with pytest.raises(Refused) as refused:
            from_lists(spec, value)
        assert refused.value.status == 400
    else:
        found = from_lists(spec, value)
        assert (found.dtype, found.tolist()) == (dtype, expected)


def test_rows_of_several_inputs():
    specs = [Spec("x", (None, 2), "float32"), Spec("state", (None, 3), "float32")]
    feeds = {"x": np.zeros((4, 2)), "state": np.zeros((4, 3))}
    assert check(specs, feeds, 4) == 4
    for wrong, status in (
        ({**feeds, "state": np.zeros((3, 3))}, 400),
        ({**feeds, "state": np.zeros((4, 2))}, 400),
        ({"x": feeds["x"]}, 400),
        ({**feeds, "more": feeds["x"]}, 400),
        ({name: np.zeros((0, 3)) for name in feeds}, 400),
    ):
        with pytest.raises(Refused) as refused:
            check(specs, wrong, 4)
        assert refused.value.status == status
    with pytest.raises(Refused, match="up to 3"):
        check(specs, feeds, 3)
    with pytest.raises(Refused, match="several inputs"):
        v1.decode({"instances": [1]}, specs)
    rows = {"instances": [{"x": [1, 2], "state": [1, 2, 3]}] * 2}
    assert v1.decode(rows, specs)[0]["state"].shape == (2, 3)


class Recorder:
    """A model that adds 1, and keeps what it was given; it waits for `go`."""

    together = True

    def __init__(self):
        self.calls, self.go = [], threading.Event()

    def run(self, feeds, names):
        assert self.go.wait(10)
        if "broken" in names:
            raise RuntimeError("broken")
        self.calls.append(len(feeds["x"]))
        return {name: feeds["x"] + 1 for name in names}


def test_batches():
    async def scenario():
        model, rows = Recorder(), []
        batcher = Batcher(model, 4, rows.append)
        arrays = [np.full((n, 2), float(n)) for n in (1, 2, 2, 3, 1)]
        tasks = [asyncio.create_task(batcher({"x": x}, len(x), ("y",))) for x in arrays]
        other = asyncio.create_task(batcher({"x": np.zeros((1, 5))}, 1, ("y", "z")))
        given_up = asyncio.create_task(batcher({"x": np.zeros((4, 2))}, 4, ("y",)))
        failing = asyncio.create_task(batcher({"x": np.zeros((1, 2))}, 1, ("broken",)))
        await asyncio.sleep(0.05)
        assert batcher.busy_for() > 0
        given_up.cancel()
        model.go.set()
        for x, task in zip(arrays, tasks, strict=True):
            np.testing.assert_array_equal((await task)["y"], x + 1)
        assert set(await other) == {"y", "z"}
        with pytest.raises(RuntimeError, match="broken"):
            await failing
        await asyncio.sleep(0)
        assert batcher.busy_for() == 0
        return model.calls

    # The first alone, as it came; then as many as fit, in their order; what was given up, never.
    assert asyncio.run(scenario()) == [1, 4, 4, 1]


def test_explanations_of_signs_and_of_a_single_logit():
    bits = np.array([[1, 0, 1], [0, 1, 1]], bool)
    kernel, bias = np.array([[1.0, -2.0], [0.5, 0.25], [-1.0, 3.0]]), np.array([0.5, -0.25])
    card = {"head": {"kernel": kernel.tolist(), "bias": bias.tolist()}}
    found = Explainer(card, signs=True)(2.0 * bits - 1, {}, threading.Event())
    for i, each in enumerate(found["explanations"]):
        np.testing.assert_array_equal(each["logits"], (2 * bits[i] - 1) @ kernel + bias)
    card = {"head": {"kernel": kernel[:, :1].tolist(), "bias": bias[:1].tolist()}}
    found = Explainer(card)(bits, {"usage": bits.mean(0).tolist()}, threading.Event())
    codes = Codes(bits, np.c_[0 * kernel[:, 0], kernel[:, 0]], [0, bias[0]])
    for i, each in enumerate(found["explanations"]):
        np.testing.assert_array_equal(each["shapley"], explain(codes, i).contributions)
    stopped = threading.Event()
    stopped.set()
    assert Explainer(card)(bits, {}, stopped)["explanations"] == []


ARTIFACT = Artifact("digits", Path("runs/demo/saved_model"), "tf_saved_model")


def test_manifest_fits_the_schema_of_kserve():
    from keras_htaf.serving.application import own_arguments

    with own_arguments():
        import kserve
    import kubernetes.client as kubernetes
    import yaml

    options = Options(timeout=5.0, max_batch=64, batching=False, workers=2)
    service = manifest(
        [ARTIFACT], image="registry/image:1", storage="s3://bucket/models", options=options
    )
    read = yaml.safe_load(text(service))
    assert read == service
    fits(read, "V1beta1InferenceService", (kserve, kubernetes))
    container = read["spec"]["predictor"]["containers"][0]
    assert container["args"] == [
        *("serve", "/mnt/models/saved_model", "--name", "digits", "--host", "0.0.0.0"),
        *("--port", "8080", "--workers", "2", "--max-batch", "64", "--timeout", "5"),
        "--no-batching",
    ]
    broken = json.loads(json.dumps(read))
    broken["spec"]["predictor"]["containers"][0]["image"] = 3
    with pytest.raises(AssertionError):
        fits(broken, "V1beta1InferenceService", (kserve, kubernetes))


def fits(value, kind: str, packages) -> None:
    """Whether JSON is of a type of the OpenAPI schema that the packages were generated from."""
    simple = {"str": str, "int": int, "bool": bool, "float": (int, float), "object": object}
    if kind in simple:
        assert isinstance(value, simple[kind]), (value, kind)
        assert kind == "bool" or kind == "object" or not isinstance(value, bool)
    elif kind.lower().startswith("list["):
        assert isinstance(value, list)
        for each in value:
            fits(each, kind[5:-1], packages)
    elif kind.lower().startswith("dict"):
        assert isinstance(value, dict)
        of = kind[5:-1].split(", ")[1]
        for key, each in value.items():
            assert isinstance(key, str)
            fits(each, "str" if of == "ResourceQuantity" else of, packages)
    else:
        model = next(getattr(p, kind) for p in packages if hasattr(p, kind))
        names = {key: name for name, key in model.attribute_map.items()}
        assert set(value) <= set(names), (set(value) - set(names), kind)
        for key, each in value.items():
            fits(each, model.openapi_types[names[key]], packages)
        model(**{names[key]: each for key, each in value.items()})  # what is required


@pytest.mark.parametrize(
    "wrong",
    [
        {"name": "Digits_1"},
        {"name": "1a"},
        {"storage": "folder"},
        {"replicas": (2, 1)},
        {"replicas": (0, 0)},
    ],
)
def test_bad_manifests(wrong):
    with pytest.raises(ValueError, match=next(iter(wrong))):
        manifest([ARTIFACT], **{"image": "x", "storage": "s3://x", **wrong})


def test_command_line(tmp_path):
    pytest.importorskip("typer")
    from typer.testing import CliRunner

    from keras_htaf_cli.app import app

    file = tmp_path / "model.onnx"
    run = CliRunner().invoke
    found = run(app, ["serve", str(file)])
    assert (found.exit_code, "There is no" in found.output) == (2, True)
    file.write_bytes(b"bytes")
    for arguments, words in (
        (["--name", "a", "--name", "b"], "2 times --name"),
        (["--timeout", "0"], "timeout"),
        (["--manifest", "x.yaml"], "--image"),
    ):
        found = run(app, ["serve", str(file), *arguments])
        assert (found.exit_code, words in found.output) == (2, True), found.output
    out = tmp_path / "service.yaml"
    more = ["--manifest", str(out), "--image", "image", "--storage", "pvc://claim/models"]
    found = run(app, ["serve", str(file), *more, "--concurrency", "8"])
    assert found.exit_code == 0, found.output
    assert "--concurrency" in out.read_text()
