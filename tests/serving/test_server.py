"""A real server process: both protocols, explanations, and what it refuses."""

from __future__ import annotations

import json
import runpy
import sys
import urllib.error
from pathlib import Path

import keras
import numpy as np
import pytest
import serving_case as case

import keras_htaf
from keras_htaf.export import card as cards
from keras_htaf.interpret import Codes
from keras_htaf.interpret.explanations import explain

pytestmark = pytest.mark.skipif(
    keras.config.backend() != "tensorflow", reason="a process of its own, the same under each"
)


ROOT = Path(__file__).parents[2]
ROW = np.zeros(case.PIXELS).tolist()


def tensor(x=case.IMAGES, **more):
    return {
        "name": "image",
        "shape": list(x.shape),
        "datatype": "FP32",
        "data": x.ravel().tolist(),
        **more,
    }


def binary(x=case.IMAGES, size=None, length=None, **more):
    """Body and headers of a request with bytes behind its JSON."""
    each = {"name": "image", "shape": list(x.shape), "datatype": "FP32"}
    each["parameters"] = {"binary_data_size": x.nbytes if size is None else size}
    text = json.dumps({"inputs": [each], **more}).encode()
    header = str(len(text) if length is None else length)
    return text + x.tobytes(), {"Inference-Header-Content-Length": header}


def array(answer, name):
    (found,) = [each for each in answer["outputs"] if each["name"] == name]
    return np.array(found["data"], "float32").reshape(found["shape"])


@pytest.mark.parametrize("name", ["graph", "icbm"])
def test_both_protocols_give_what_the_model_gives(server, name):
    expected = case.logits(case.IMAGES)
    status, answer, headers = server.predict(name, {"instances": case.IMAGES.tolist()})
    assert (status, headers["content-type"]) == (200, "application/json")
    rows = answer["predictions"]
    assert [set(row) for row in rows] == [{"logits", "probabilities"}] * len(case.IMAGES)
    v1 = np.array([row["logits"] for row in rows], "float32")
    np.testing.assert_allclose(v1, expected, rtol=1e-5, atol=1e-6)
    named = {"instances": [{"image": x.tolist()} for x in case.IMAGES]}
    assert server.predict(name, named)[1] == answer
    body = {"inputs": {"image": case.IMAGES.tolist()}, "signature_name": "bits"}
    columns = server.predict(name, body)[1]["outputs"]
    np.testing.assert_array_equal(np.array(columns["logits"], "float32"), v1)
    np.testing.assert_array_equal(columns["concepts"], case.concepts(case.IMAGES))

    status, answer, _ = server.infer(name, {"id": "a", "inputs": [tensor()]})
    assert (status, answer["id"], answer["model_name"]) == (200, "a", name)
    assert [each["name"] for each in answer["outputs"]] == ["logits", "probabilities"]
    np.testing.assert_array_equal(array(answer, "logits"), v1)

    asked = [{"name": "concepts", "parameters": {"binary_data": True}}, {"name": "logits"}]
    status, answer, headers = server.infer(name, *binary(outputs=asked))
    length = int(headers["inference-header-content-length"])
    assert (status, headers["content-type"]) == (200, "application/octet-stream")
    bits = np.frombuffer(answer[length:], "<f4").reshape(-1, case.BITS)
    np.testing.assert_array_equal(bits, case.concepts(case.IMAGES))
    np.testing.assert_array_equal(array(json.loads(answer[:length]), "logits"), v1)


def test_what_there_is(server):
    for path in ("/", "/v2/health/live", "/v2/health/ready", "/v2/models/icbm/ready", "/v1/models"):
        assert server.request("GET", path)[0] == 200
    assert server.request("GET", "/v2")[1]["extensions"] == ["binary_tensor_data"]
    described = server.request("GET", "/v2/models/icbm")[1]
    assert described["inputs"] == [{"name": "image", "datatype": "FP32", "shape": [-1, 4, 4, 1]}]
    assert {each["name"] for each in described["outputs"]} == {
        "logits",
        "probabilities",
        "concepts",
    }
    for path in ("/v2/models/other", "/v1/models/other", "/v2/models/other/ready"):
        status, _, _ = server.request("GET", path)
        assert status == 404
    assert server.predict("other", {"instances": [1]})[0] == 404
    assert server.infer("..%2f..%2fetc", {"inputs": []})[0] == 404
    for verb in ("load", "unload"):
        status, _, _ = server.request("POST", f"/v2/repository/models/icbm/{verb}")
        assert status == 403
    assert server.request("GET", "/v2/models/icbm/ready")[0] == 200


@pytest.mark.parametrize("verb", ["predict", "explain"])
def test_a_request_without_a_body(server, verb):
    status, answer, headers = server.request("GET", f"/v1/models/graph:{verb}")
    assert (status, headers["allow"]) == (405, "POST")
    assert "POST" in answer["error"]


def test_explanations_are_those_of_interpret(server):
    codes = Codes(case.concepts(case.IMAGES), case.KERNEL, case.BIAS)
    usage = codes.usage.tolist()
    for name in ("graph", "icbm"):
        body = {"instances": case.IMAGES[:3].tolist(), "usage": usage}
        status, answer, _ = server.predict(name, body, verb="explain")
        assert status == 200
        assert answer["classes"] == ["cat", "dog", "owl"]
        assert answer["usage"] == {"source": "request", "values": usage}
        for i, found in enumerate(answer["explanations"]):
            wanted = explain(codes, i)
            assert found["decision"] == wanted.decision
            assert found["rival"] == wanted.rival
            assert found["class"] == answer["classes"][wanted.decision]
            assert found["margin"] == wanted.logits[wanted.decision] - wanted.logits[wanted.rival]
            np.testing.assert_array_equal(found["bits"], wanted.bits)
            np.testing.assert_array_equal(found["logits"], wanted.logits)
            np.testing.assert_array_equal(found["expected"], wanted.expected)
            np.testing.assert_array_equal(found["shapley"], wanted.contributions)
            np.testing.assert_array_equal(found["sufficient"]["bits"], wanted.sufficient.bits)
            assert found["sufficient"]["minimum"] == wanted.sufficient.minimum
            np.testing.assert_array_equal(found["flips"]["bits"], wanted.counterfactual.flips)
            assert found["flips"]["decision"] == wanted.counterfactual.decision
    one = server.predict("graph", {"instances": case.IMAGES[:1].tolist()}, verb="explain")[1]
    assert one["usage"] == {"source": "half", "values": [0.5] * case.BITS}


def test_what_cannot_be_explained(server):
    status, answer, _ = server.predict("slow", {"instances": [[0]]}, verb="explain")
    assert status == 501
    assert "cannot be explained" in answer["error"]
    images = case.IMAGES.tolist()
    for body, expected in (
        ({"instances": images}, 413),
        ({"instances": images[:1], "usage": [0.5]}, 400),
        ({"instances": images[:1], "usage": [2] * case.BITS}, 400),
        ({"instances": images[:1], "usage": "x"}, 400),
        ({"instances": images[:1], "nodes": -1}, 400),
    ):
        assert server.predict("icbm", body, verb="explain")[0] == expected


@pytest.mark.parametrize(
    ("body", "status", "words"),
    [
        (b"", 400, "no JSON"),
        (b"{", 400, "no JSON"),
        (b"\xff", 400, "no JSON"),
        (b"[" * 5000, 400, "no JSON"),
        (b"[]", 400, "no JSON object"),
        (b'{"instances": [NaN]}', 400, "JSON has no NaN or Infinity"),
        ({}, 400, "instances"),
        ({"instances": [ROW], "inputs": [ROW]}, 400, "either"),
        ({"instances": []}, 400, "at least one"),
        ({"instances": "rows"}, 400, "list"),
        ({"instances": [1.0]}, 400, "received shape (1,), expected (batch, 4, 4, 1)"),
        ({"instances": [[ROW]]}, 400, "shape"),
        ({"instances": [ROW, [1]]}, 400, "different lengths"),
        ({"instances": [["a"]]}, 400, "else than numbers"),
        ({"instances": [[None]]}, 400, "else than numbers"),
        ({"instances": ["a" * 40_000, *[""] * 7]}, 400, "else than numbers"),
        ({"instances": [[ROW, "a"]]}, 400, "else than numbers"),
        ({"instances": [10**400]}, 400, ""),
        ({"instances": [[[[1e39]] * 4] * 4]}, 400, "too large"),
        ({"instances": [{"picture": ROW}]}, 400, "Received inputs ['picture']"),
        ({"instances": [{"image": ROW}, ROW]}, 400, "different inputs"),
        ({"instances": [ROW], "signature_name": "other"}, 400, "serving_default"),
        ({"instances": [ROW], "signature_name": [1]}, 400, "signature_name"),
        ({"instances": [ROW] * 9}, 413, "up to 8"),
        ({"inputs": []}, 400, "shape"),
    ],
)
def test_bad_bodies_of_the_first_protocol(server, body, status, words):
    for name in ("graph", "icbm"):
        found, answer, _ = server.predict(name, body)
        assert (found, words in answer["error"]) == (status, True), answer


@pytest.mark.parametrize(
    "inputs",
    [
        None,
        [],
        [1],
        [{}],
        [tensor(name="picture")],
        [tensor(), tensor()],
        [tensor(shape=[5, 16])],
        [tensor(shape=[-5, 4, 4, 1])],
        [tensor(shape="x")],
        [tensor(shape=[0, 4, 4, 1], data=[])],
        [tensor(shape=[0, 2**63], data=[])],
        [tensor(data=[1.0])],
        [tensor(data=["a"])],
        [tensor(datatype="STRING")],
        [tensor(datatype=None)],
        [tensor(parameters=[])],
        [{"name": "image", "shape": [1, 4, 4, 1], "datatype": "FP32"}],
    ],
)
def test_bad_bodies_of_the_second_protocol(server, inputs):
    status, answer, _ = server.infer("graph", {"inputs": inputs})
    assert (status, bool(answer["error"])) == (400, True), answer


def test_bad_binary_bodies(server):
    x = case.IMAGES
    nan, many = x.copy(), np.zeros((9, *case.PIXELS), "float32")
    nan[0, 0, 0, 0] = np.nan
    for (body, headers), expected in (
        (binary(nan), 400),
        (binary(np.full_like(x, np.inf)), 400),
        (binary(many), 413),
        (binary(size=4), 400),
        (binary(size=-1), 400),
        (binary(size=2**40), 400),
        (binary(length="x"), 400),
        (binary(length=10**9), 400),
        (binary(length="0" * 30), 400),
        (binary(outputs=[{"name": "other"}]), 400),
        (binary(outputs=1), 400),
    ):
        status, answer, _ = server.infer("icbm", body, headers)
        assert status == expected, answer
    body, headers = binary()
    assert server.infer("icbm", body + b"more", headers)[0] == 400


def test_an_exported_concept_model(server, exported):
    model = exported[0]["concepts"]
    x = np.random.default_rng(0).normal(size=(3, 8, 8, 1)).astype("float32")
    codes = keras_htaf.interpret.collect(model, x)
    status, answer, _ = server.predict("concepts", {"instances": x.tolist()})
    assert status == 200
    expected = keras_htaf.harden(model).predict(x, verbose=0)
    given = [row["logits"] for row in answer["predictions"]]
    np.testing.assert_allclose(given, expected, atol=1e-4)
    body = {"instances": x.tolist(), "usage": codes.usage.tolist()}
    status, answer, _ = server.predict("concepts", body, verb="explain")
    assert status == 200
    for i, found in enumerate(answer["explanations"]):
        wanted = explain(codes, i)
        np.testing.assert_array_equal(found["shapley"], wanted.contributions)
        np.testing.assert_array_equal(found["sufficient"]["bits"], wanted.sufficient.bits)


def test_a_packed_model(server, exported):
    x = np.random.default_rng(0).normal(size=(4, 16)).astype("float32")
    status, answer, _ = server.predict("packed", {"instances": x.tolist()})
    expected = keras_htaf.harden(exported[0]["packed"]).predict(x, verbose=0)
    assert status == 200
    np.testing.assert_allclose(answer["predictions"], expected, atol=1e-5)
    body = {"inputs": [{**tensor(x), "name": server.input("packed")}]}
    status, second, _ = server.infer("packed", body)
    (output,) = second["outputs"]
    np.testing.assert_array_equal(
        np.array(output["data"]).reshape(output["shape"]), answer["predictions"]
    )
    assert server.predict("packed", {"instances": x[:1].tolist()}, verb="explain")[0] == 501


def test_streams_whose_state_the_client_keeps(server, exported, capsys, monkeypatch, tmp_path):
    client = runpy.run_path(str(ROOT / "examples" / "serving" / "stream_client.py"))
    sequences = np.random.default_rng(1).normal(0.5, 1, size=(3, 6, 4)).astype("float32")
    expected = keras_htaf.harden(exported[0]["whole"]).predict(sequences, verbose=0)
    url = f"http://127.0.0.1:{server.port}"
    pair, single = client["Stream"](url, "stream", 2), client["Stream"](url, "stream")
    assert pair.chunk == 2
    for begin in (0, 2, 4):  # in turn: the server keeps nothing
        first = pair(sequences[:2, begin : begin + 2])
        last = single(sequences[2:, begin : begin + 2])
    name = "logits" if "logits" in first else "output"
    found = np.concatenate([first[name], last[name]])
    np.testing.assert_allclose(found, expected, atol=1e-5)

    np.save(tmp_path / "one.npy", sequences[2])
    arguments = ["stream_client.py", url, "stream", str(tmp_path / "one.npy")]
    monkeypatch.setattr(sys, "argv", arguments)
    client["main"]()
    assert f"after 6 steps, {name}: {found[2].tolist()}" in capsys.readouterr().out


def test_streams_whose_state_begins_with_infinity(server, models, capsys, monkeypatch, tmp_path):
    client = runpy.run_path(str(ROOT / "examples" / "serving" / "stream_client.py"))
    url = f"http://127.0.0.1:{server.port}"
    stream = client["Stream"](url, "peak", 2, {"peak": "-inf"})
    pieces = np.array([[[[-1], [-2]], [[3], [4]]], [[[-5], [1]], [[2], [-3]]]], "float32")
    for x, peaks in zip(pieces, ([-np.inf, 4], [1, 4]), strict=True):
        np.testing.assert_array_equal(stream(x)["output"], x.sum(1))
        np.testing.assert_array_equal(stream.states["peak"], np.reshape(peaks, (2, 1)))
    with pytest.raises(ValueError, match="other"):
        client["Stream"](url, "peak", first={"other": 0})
    with pytest.raises(urllib.error.HTTPError, match="400"):  # only states may be so
        stream(np.full_like(pieces[0], -np.inf))

    np.save(tmp_path / "one.npy", -np.arange(5, dtype="float32")[:, None])
    card = cards.places(models[-1])[0]
    arguments = [url, "peak", str(tmp_path / "one.npy"), "--card", str(card)]
    monkeypatch.setattr(sys, "argv", ["stream_client.py", *arguments])
    with pytest.raises(SystemExit, match="The last 1 of 5 steps"):
        client["main"]()
    printed = capsys.readouterr().out
    assert "after 4 steps, output: [-5.0]" in printed
