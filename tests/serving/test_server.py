"""A real server process: both protocols, all limits, and its end.

The server is a process of its own, which is the same under each of Keras's backends: one will do.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import struct
import threading
import time

import keras
import numpy as np
import pytest
import serving_case as case

from keras_htaf.interpret import Codes
from keras_htaf.interpret.explanations import explain

pytestmark = pytest.mark.skipif(
    keras.config.backend() != "tensorflow", reason="a process of its own, the same under each"
)


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    folder = tmp_path_factory.mktemp("models")
    return (
        case.icbm_onnx(folder / "graph.onnx"),
        case.icbm_saved_model(folder / "icbm"),
        case.slow_saved_model(folder / "slow"),
    )


LIMITS = {"max_batch": 8, "max_body": 0.05, "timeout": 1.5, "read_timeout": 1.0, "concurrency": 4}


@pytest.fixture(scope="module")
def server(models):
    found = case.Server(*models, max_explained=3, grace=5, **LIMITS)
    yield found
    status, printed = found.stop()
    assert status == 0, printed
    assert found.gone()
    assert "Traceback" not in printed, printed


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
    described = server.request("GET", "/v2/models/icbm")[1]
    assert described["inputs"] == [{"name": "image", "datatype": "FP32", "shape": [-1, 4, 4, 1]}]
    assert {each["name"] for each in described["outputs"]} == {
        "logits",
        "probabilities",
        "concepts",
    }
    for path in ("/v2/models/other", "/v1/models/other", "/v2/models/other/ready"):
        status, answer, _ = server.request("GET", path)
        assert status == 404
    assert server.predict("other", {"instances": [1]})[0] == 404
    assert server.infer("..%2f..%2fetc", {"inputs": []})[0] == 404
    for verb in ("load", "unload"):
        status, answer, _ = server.request("POST", f"/v2/repository/models/icbm/{verb}")
        assert status == 403
    assert server.request("GET", "/v2/models/icbm/ready")[0] == 200


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


ROW = np.zeros(case.PIXELS).tolist()


@pytest.mark.parametrize(
    ("body", "status", "words"),
    [
        (b"", 400, "no JSON"),
        (b"{", 400, "no JSON"),
        (b"\xff", 400, "no JSON"),
        (b"[" * 5000, 400, "no JSON"),
        (b"[]", 400, "no JSON object"),
        (b'{"instances": [NaN]}', 400, "no JSON"),
        ({}, 400, "instances"),
        ({"instances": [ROW], "inputs": [ROW]}, 400, "either"),
        ({"instances": []}, 400, "at least one"),
        ({"instances": "rows"}, 400, "list"),
        ({"instances": [1.0]}, 400, "received shape (1,), expected (batch, 4, 4, 1)"),
        ({"instances": [[ROW]]}, 400, "shape"),
        ({"instances": [ROW, [1]]}, 400, "different lengths"),
        ({"instances": [["a"]]}, 400, "else than numbers"),
        ({"instances": [[None]]}, 400, "else than numbers"),
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


def test_a_result_that_is_no_number(server):
    status, answer, _ = server.predict("slow", {"instances": [[-1]]})
    assert (status, "NaN" in answer["error"]) == (500, True)


def test_large_bodies(server):
    begin = time.monotonic()
    for size in (60_000, 10**6):
        status, answer, headers = server.predict("icbm", b" " * size)
        assert (status, headers["connection"]) == (413, "close")
    declared = (
        b"POST /v1/models/icbm:predict HTTP/1.1\r\nHost: x\r\nContent-Length: 1000000000000\r\n\r\n"
    )
    assert raw(server, declared).startswith(b"HTTP/1.1 413")
    chunked = (
        b"POST /v1/models/icbm:predict HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"
    )
    assert raw(server, chunked + (b"8000\r\n" + b" " * 0x8000 + b"\r\n") * 20).startswith(
        b"HTTP/1.1 413"
    )
    assert time.monotonic() - begin < 5


def raw(server, *parts, wait=0.0, patience=10) -> bytes:
    """What comes back, to the end, for bytes that are sent with pauses."""
    with socket.create_connection(("127.0.0.1", server.port), patience) as connection:
        found = b""
        try:
            for part in parts:
                connection.sendall(part)
                time.sleep(wait)
            while block := connection.recv(65536):
                found += block
        except ConnectionError:
            pass
        return found


def test_slow_clients(server):
    head = b"POST /v1/models/icbm:predict HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n"
    begin = time.monotonic()
    answers = {}

    def ask(name, *parts):
        answers[name] = raw(server, *parts, wait=0.3)

    slow = {
        "body": (head, b"{", b'"'),
        "nothing": (),
        "headers": (b"GET / HTTP/1.1\r\n", b"H", b"o"),
    }
    threads = [threading.Thread(target=ask, args=(k, *parts)) for k, parts in slow.items()]
    for thread in threads:
        thread.start()
    assert server.request("GET", "/v2/health/live")[0] == 200
    for thread in threads:
        thread.join()
    assert {name: answer[:12] for name, answer in answers.items()} == dict.fromkeys(
        slow, b"HTTP/1.1 408"
    )
    assert time.monotonic() - begin < 6
    assert raw(server, b"nonsense\r\n\r\n").startswith(b"HTTP/1.1 400")
    assert raw(server, head).startswith(b"HTTP/1.1 408")


def test_slow_models_and_many_requests(server):
    answers = []

    def ask(seconds):
        answers.append(server.predict("slow", {"instances": [[seconds]]}))

    threads = [threading.Thread(target=ask, args=(2.2,)) for _ in range(7)]
    for thread in threads:
        thread.start()
    time.sleep(0.3)
    # Health, metrics and the other models' turn do not wait for it.
    begin = time.monotonic()
    assert server.request("GET", "/v2/health/ready")[0] == 200
    assert server.request("GET", "/metrics")[0] == 200
    assert time.monotonic() - begin < 0.5
    for thread in threads:
        thread.join()
    statuses = sorted(status for status, _, _ in answers)
    assert statuses == [503] * 3 + [504] * 4
    assert {headers.get("retry-after") for status, _, headers in answers if status == 503} == {"1"}
    assert server.predict("icbm", {"instances": [ROW]})[0] == 200
    # What was given up before its turn is not computed: the model is free soon.
    time.sleep(1)
    begin = time.monotonic()
    assert server.predict("slow", {"instances": [[0.1]]})[0] == 200
    assert time.monotonic() - begin < 1.5


def test_waiting_requests_are_computed_together(server):
    def rows():
        text = server.request("GET", "/metrics")[1].decode()
        lines = dict(line.rsplit(" ", 1) for line in text.splitlines() if "slow" in line)
        return [
            float(lines[f'keras_htaf_batch_rows_{what}{{model="slow"}}'])
            for what in ("count", "sum")
        ]

    before, answers = rows(), {}

    def ask(seconds):
        answers[seconds] = server.predict("slow", {"instances": [[seconds]]})

    threads = [threading.Thread(target=ask, args=(s,)) for s in (0.6, 0.125, 0.25, 0.375)]
    threads[0].start()
    time.sleep(0.2)
    for thread in threads[1:]:
        thread.start()
    for thread in threads:
        thread.join()
    for seconds, (status, answer, _) in answers.items():
        assert (status, answer["predictions"][0][0]) == (200, pytest.approx(seconds))
    count, total = np.subtract(rows(), before)
    assert (count, total) == (2, 4)


def test_clients_that_leave(server):
    body = json.dumps({"instances": [[0.3]]}).encode()
    head = (
        f"POST /v1/models/slow:predict HTTP/1.1\r\nHost: x\r\nContent-Length: {len(body)}\r\n\r\n"
    )
    for sent in (head.encode() + body, head.encode() + body[:5]):
        for _ in range(5):
            connection = socket.create_connection(("127.0.0.1", server.port), 5)
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            connection.sendall(sent)
            connection.close()
    time.sleep(0.5)
    for _ in range(5):
        assert server.predict("icbm", {"instances": [ROW]})[0] == 200


def test_nothing_leaks(server):
    def used():
        return len(os.listdir(f"/proc/{server.process.pid}/fd"))

    time.sleep(0.3)
    before = used()
    for _ in range(40):
        server.predict("icbm", {"instances": [ROW]})
        server.predict("icbm", b"{")
    time.sleep(0.3)
    assert used() <= before + 1


def test_metrics(server):
    server.predict("graph", {"instances": [ROW]})
    text = server.request("GET", "/metrics")[1].decode()
    wanted = 'keras_htaf_requests_total{model="graph",status="200",verb="predict"}'
    for start in (wanted, 'request_predict_seconds_count{model_name="graph"}'):
        assert start in text
    assert 'model="unknown"' in text
    assert "other" not in text


def test_workers_are_replaced_and_requests_in_work_are_answered(models):
    server = case.Server(*models, workers=2, grace=10)
    try:
        first, second = server.workers()
        os.kill(first, signal.SIGKILL)
        alive = []
        for _ in range(20):  # the other one serves on
            alive.append(server.predict("icbm", {"instances": [ROW]})[0])
        assert alive == [200] * 20
        end = time.monotonic() + 60
        while len(found := set(server.workers()) - {first}) < 2:
            assert time.monotonic() < end
            time.sleep(0.2)
        assert second in found
        text = server.request("GET", "/metrics")[1].decode()
        (line,) = [each for each in text.splitlines() if each.startswith("keras_htaf_requests_t")]
        assert float(line.split()[-1]) == 20  # of all workers together

        answers = []
        thread = threading.Thread(
            target=lambda: answers.append(server.predict("slow", {"instances": [[2.0]]}))
        )
        thread.start()
        time.sleep(0.5)
        begin = time.monotonic()
        status, printed = server.stop()
        thread.join()
        assert status == 0, printed
        assert time.monotonic() - begin < 20
        assert answers[0][0] == 200
        assert server.gone()
        for pid in found:
            assert not os.path.exists(f"/proc/{pid}")
    finally:
        server.stop(signal.SIGKILL)
