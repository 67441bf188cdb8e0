"""What a server bears: size, time, numbers, clients that leave, and its own end."""

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

pytestmark = pytest.mark.skipif(
    keras.config.backend() != "tensorflow", reason="a process of its own, the same under each"
)

ROW = np.zeros(case.PIXELS).tolist()
HEAD = "POST /v1/models/{}:predict HTTP/1.1\r\nHost: x\r\n{}\r\n\r\n"


def test_a_result_that_is_no_number(server):
    status, answer, _ = server.predict("slow", {"instances": [[-1]]})
    assert (status, "NaN" in answer["error"]) == (500, True)


def test_large_bodies(server):
    begin = time.monotonic()
    for size in (60_000, 10**6):
        status, _, headers = server.predict("icbm", b" " * size)
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
    head = HEAD.format("icbm", "Content-Length: 100").encode()
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


def test_clients_that_send_on_after_their_answer(server):
    begin = time.monotonic()
    head = "{} /v2/health/live HTTP/1.1\r\nHost: x\r\n{}\r\n"
    for method, status in (("GET", b"200"), ("PUT", b"405")):  # answered before their bodies
        ask = head.format(method, "Content-Length: 100\r\n").encode()
        answer = raw(server, ask, b"x", wait=0.2)
        assert answer.startswith(b"HTTP/1.1 " + status)
        assert b"connection: close" in answer
    answer = raw(server, head.format("GET", "").encode(), *[b"\r\n"] * 2, wait=0.25)
    assert answer.startswith(b"HTTP/1.1 200")
    assert time.monotonic() - begin < 4.5  # Uvicorn would close idle ones after 5


def test_a_model_that_is_stuck_is_not_ready(server):
    def ready():
        paths = ("/v2/health/ready", "/v2/models/slow/ready", "/v2/models/icbm/ready")
        return [server.request("GET", path)[0] for path in paths]

    def wait_for(expected):
        end = time.monotonic() + 10
        while ready() != expected:
            assert time.monotonic() < end
            time.sleep(0.1)

    assert server.predict("slow", {"instances": [[4.5]]})[0] == 504
    assert ready() == [200, 200, 200]
    wait_for([503, 503, 200])  # from twice the timeout on
    wait_for([200, 200, 200])


def test_clients_that_do_not_read(server):
    ask = b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n"
    with socket.socket() as connection:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)  # which is full soon
        connection.connect(("127.0.0.1", server.port))
        connection.setblocking(False)
        sent, end = 0, time.monotonic() + 20
        while time.monotonic() < end:  # no longer than the server bears it
            try:
                sent += connection.send(ask * 100)
            except BlockingIOError:
                time.sleep(0.05)
            except ConnectionError:
                break
        else:
            pytest.fail(f"the server still takes requests after {sent} bytes of them")
    assert server.request("GET", "/v2/health/live")[0] == 200


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
    assert total == 4
    assert count < 4


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
    assert server.predict("other", {"instances": [ROW]})[0] == 404
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
        end = time.monotonic() + 150
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
