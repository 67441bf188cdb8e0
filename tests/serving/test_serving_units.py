"""The parts of serving that need no server."""

from __future__ import annotations

import asyncio
import json
import os
import threading
from pathlib import Path
from types import SimpleNamespace

import keras
import numpy as np
import pytest
import serving_case as case

import keras_htaf
from keras_htaf.interpret import Codes
from keras_htaf.interpret.explanations import explain
from keras_htaf.serving import Artifact, Options, application, runners, serve, server, v1
from keras_htaf.serving.batching import Batcher
from keras_htaf.serving.errors import Refused
from keras_htaf.serving.explaining import Explainer
from keras_htaf.serving.gate import Gate
from keras_htaf.serving.tensors import Spec, cast, check, from_lists


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
        ("float32", [1, [2]], None),
        ("float32", ["a" * 10**6, *[""] * 10**5], None),  # 400 GB, were numpy asked
        ("float32", json.loads("[" * 50 + "1" + "]" * 50), None),
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
        v1.decode({"instances": [1]}, specs, 4)
    with pytest.raises(Refused, match="up to 1"):  # before it looks at them
        v1.decode({"instances": ["a", "b"]}, specs[:1], 1)
    rows = {"instances": [{"x": [1, 2], "state": [1, 2, 3]}] * 2}
    feeds, count = v1.decode(rows, specs, 2)
    assert (feeds["state"].shape, count) == ((2, 3), 2)
    assert v1.decode({"inputs": feeds["x"].tolist()}, specs[:1], 2)[1] is None


def test_outputs_by_row():
    by_row, other = np.zeros((2, 3)), np.arange(3.0)
    assert json.loads(v1.encode({"a": by_row, "b": by_row}, 2))["predictions"][1].keys() == {
        "a",
        "b",
    }
    assert json.loads(v1.encode({"a": by_row, "b": other}, None))["outputs"]["b"] == [0, 1, 2]
    for outputs in ({"b": other}, {"a": by_row, "b": other}, {"a": by_row, "b": np.array(1.0)}):
        with pytest.raises(Refused, match="output 'b'") as refused:
            v1.encode(outputs, 2)
        assert refused.value.status == 500


def test_states_may_be_infinite():
    state, other = Spec("x", (None,), "float32", finite=False), Spec("x", (None,), "float32")
    given = np.array([-np.inf, np.nan, 1.0])
    np.testing.assert_array_equal(cast(state, given), given.astype("float32"))
    for spec, wrong in ((other, given), (state, np.array([1e300]))):
        with pytest.raises(Refused, match="NaN or infinity"):
            cast(spec, wrong)


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


def test_cores_of_a_group(tmp_path):
    own, root = tmp_path / "own", tmp_path / "groups"
    (root / "pod" / "container").mkdir(parents=True)
    own.write_text("0::/pod/container\n")
    found = application.cores(root, own)
    assert found == application.cores(root, tmp_path / "none")
    (root / "pod" / "container" / "cpu.max").write_text("max 100000\n")
    assert application.cores(root, own) == found
    (root / "pod" / "cpu.max").write_text("150000 100000\n")
    assert application.cores(root, own) == 1
    (root / "cpu.max").write_text("50000 100000\n")
    assert application.cores(root, own) == 1


def test_a_worker_loads_what_was_there_at_the_start(tmp_path, monkeypatch, capsys):
    file = tmp_path / "model.onnx"
    file.write_bytes(b"bytes")
    case.card(Artifact.at(file), case.OUTPUTS)
    told = application.describe([Artifact.at(file)], Options())
    monkeypatch.setenv(application.VARIABLE, told)
    monkeypatch.setattr(application, "_PAUSE", 0)
    monkeypatch.setattr(application, "build", lambda *_: "app")
    assert application.create() == "app"
    case.card(Artifact.at(file), case.OUTPUTS, classes=["a", "b", "c"])
    for changed in (b"bytes", b"other"):  # the card alone; both of them, which fit
        file.write_bytes(changed)
        case.card(Artifact.at(file), case.OUTPUTS, classes=["a", "b", "c"])
        with pytest.raises(SystemExit) as end:
            application.create()
        assert end.value.code == application.STARTUP_FAILURE
        assert "not what it was at the start" in capsys.readouterr().err
    monkeypatch.setenv(application.REPLACEMENT, "1")  # the others serve on
    with pytest.raises(SystemExit) as end:
        application.create()
    assert end.value.code == 1


def test_cards_of_concept_models():
    from keras_htaf.serving.predictor import _explainer

    def found(**more):
        head = {"kernel": case.KERNEL.tolist(), "bias": case.BIAS.tolist()}
        artifact = SimpleNamespace(name="m", path=Path("m.onnx"), card={"head": head, **more})
        return _explainer(artifact, SimpleNamespace(outputs=[Spec("concepts", (None, 6), "bool")]))

    for signs in (False, True):  # no run, no guess
        explainer, _ = found(signs=signs)
        bits = np.ones((1, 6))
        (each,) = explainer(bits, {"nodes": 0}, threading.Event())["explanations"]
        np.testing.assert_allclose(each["logits"], case.KERNEL.sum(0) + case.BIAS, atol=1e-5)
        (each,) = explainer(bits * 0 - 1, {"nodes": 0}, threading.Event())["explanations"]
        expected = case.BIAS - signs * case.KERNEL.sum(0)
        np.testing.assert_allclose(each["logits"], expected, atol=1e-5)
    for wrong in ({"usage": [2]}, {"usage": "x"}, {"head": {"kernel": [[1.0]]}}):
        with pytest.raises(ValueError, match="damaged"):
            found(**{"signs": False, **wrong})


def test_what_is_served_is_what_the_card_says():
    names = ["a", "b", "concepts"]
    assert runners._signatures(names, {"served": ["a", "b"]}) == {
        "serving_default": ["a", "b"],
        "bits": names,
    }
    guessed = runners._signatures(["output", "concepts"], {"states": None})
    assert guessed["serving_default"] == ["output"]
    for wrong in ([], ["c"], "a"):
        with pytest.raises(ValueError, match="Export it again"):
            runners._signatures(names, {"served": wrong})


@pytest.mark.parametrize("names", [("a", "b"), ("output", "aux")])
def test_several_outputs_are_served_without_bits(tmp_path, names):
    inputs = keras.Input((3,), name="x")
    bits = keras_htaf.layers.Heaviside(name="step")(keras.layers.Dense(4)(inputs))
    model = keras.Model(inputs, [keras.layers.Dense(2, name=name)(bits) for name in names])
    keras_htaf.export.export(model, tmp_path / "model.onnx", "onnx", verify=False)
    runner = runners.load(Artifact.at(tmp_path / "model.onnx"), 1)
    assert runner.signatures == {"serving_default": [*names], "bits": [*names, "step"]}


def test_threads_that_are_fixed_stay():
    def fixed(_):
        raise RuntimeError("Intra op parallelism cannot be modified after initialization.")

    def broken(_):
        raise RuntimeError("broken")

    free = SimpleNamespace(set_inter_op_parallelism_threads=lambda _: None)
    free.set_intra_op_parallelism_threads = fixed
    with pytest.warns(UserWarning, match="threads=3 does not apply"):
        runners._set_threads(free, 3)
    free.set_intra_op_parallelism_threads = broken
    with pytest.raises(RuntimeError, match="broken"):
        runners._set_threads(free, 3)


@pytest.mark.parametrize("before", [None, "/their/own"])
def test_the_environment_is_put_back(before, monkeypatch):
    variable, seen = "PROMETHEUS_MULTIPROC_DIR", []
    monkeypatch.delenv(variable, raising=False)
    if before is not None:
        monkeypatch.setenv(variable, before)

    class Supervisor:
        processes = ()

        def __init__(self, *_):
            pass

        def run(self):
            seen.append(os.environ[variable])

    monkeypatch.setattr("uvicorn.supervisors.Multiprocess", Supervisor)
    assert server._many(None, None) == 0
    assert "keras-htaf-metrics-" in seen[0]
    assert os.environ.get(variable) == before


def test_answers_before_the_end_of_a_body_are_the_last():
    async def scenario(method, held=0):
        sent, headers = [], [(b"content-length", b"10")]

        async def app(scope, receive, send):
            await send({"type": "http.response.start", "status": 200, "headers": []})
            await send({"type": "http.response.body", "body": b""})

        async def receive():
            return {"type": "http.request", "body": b"x" * 5, "more_body": True}

        async def send(message):
            sent.append(message)

        gate = Gate(app, Options(), set(), lambda *_: None)
        gate.held = held
        scope = {"type": "http", "method": method, "path": "/", "headers": headers}
        await gate(scope, receive, send)
        return sent[0]["status"], (b"connection", b"close") in sent[0]["headers"]

    assert asyncio.run(scenario("GET")) == (200, True)
    assert asyncio.run(scenario("POST", 2**40)) == (503, True)
