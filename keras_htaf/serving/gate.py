"""Limits on bodies, time and requests in work, as ASGI before KServe's app."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable
from time import perf_counter

import orjson

from keras_htaf.serving import v2
from keras_htaf.serving.errors import Refused
from keras_htaf_cli.serving import Options

_MODEL = re.compile(r"/v[12]/models/([^/:]+)(?:/versions/[^/]+)?[/:](predict|explain|infer)")
_HELD = 16
"""So many of the largest bodies may be in memory, complete or not."""
_MORE = {405: (b"allow", b"POST"), 503: (b"retry-after", b"1")}
"""Headers that belong to a status."""
_SKIPPED = 64
"""So many times the largest body is read, and dropped: many a client reads only after it wrote."""


class Gate:
    """What a POST passes before KServe's app sees it; all else goes straight through.

    It reads the whole body in bounded time (408) and size (413), lets no more than a number of
    requests in (503), and answers for the app when that takes too long (504). An Open Inference
    body goes on as bytes, so that it is parsed once, where the model is known.

    Args:
        app: KServe's.
        options: Limits.
        models: Names; for metrics, which must not grow by what clients make up.
        count: Called with model, verb, status and seconds for each request.
    """

    def __init__(self, app, options: Options, models: set[str], count: Callable):
        self.app, self.options, self.models, self.count = app, options, models, count
        self.active = self.held = 0

    async def __call__(self, scope, receive, send) -> None:
        """One connection's request, as ASGI has it."""
        if scope["type"] != "http" or scope["method"] != "POST":
            send = _last(send) if _with_body(scope) else send
            if scope["type"] == "http" and (asked := _MODEL.fullmatch(scope["path"])):
                await _refuse(send, Refused(405, f"Expected a POST with a body to {asked[2]}."))
            else:
                await self.app(scope, receive, send)
            return
        begin, answer = perf_counter(), _Answer(send)
        match = _MODEL.fullmatch(scope["path"])
        body: bytes | None = None
        try:
            body = await self._read(scope, receive)
            await self._pass(scope, body, receive, answer)
        except Refused as refused:
            if answer.started:
                raise
            # Without a body, the rest of it may still be on its way.
            await _refuse(_last(answer) if body is None else answer, refused)
        except ConnectionResetError:  # the client is gone: nobody to answer
            return
        finally:
            if body is not None:
                self.held -= len(body)
            if match is not None:
                model = match[1] if match[1] in self.models else "unknown"
                self.count(model, match[2], answer.status, perf_counter() - begin)

    async def _read(self, scope, receive) -> bytes:
        """The body; counted in `held` until it is answered."""
        most, size = self.options.max_bytes, 0
        parts: list[bytes] = []
        headers = dict(scope["headers"])
        declared = headers.get(b"content-length", b"0")
        patient = b"expect" in headers  # it asks before it sends
        if declared.isdigit() and int(declared[:20]) > (1 if patient else _SKIPPED) * most:
            raise self._large()
        try:
            async with asyncio.timeout(self.options.read_timeout):
                while True:
                    message = await receive()
                    if message["type"] == "http.disconnect":
                        raise ConnectionResetError
                    part = message.get("body", b"")
                    size += len(part)
                    if size > _SKIPPED * most:
                        raise self._large()
                    if size > most:
                        self.held -= sum(map(len, parts))
                        parts = []
                    elif self.held + len(part) > _HELD * most:
                        raise _busy("Too many large requests are being received.")
                    else:
                        parts.append(part)
                        self.held += len(part)
                    if not message.get("more_body"):
                        break
            if size > most:
                raise self._large()
        except BaseException as error:
            self.held -= sum(map(len, parts))
            if isinstance(error, TimeoutError):
                if size > most:
                    raise self._large() from None
                raise Refused(
                    408, f"The request did not come within {self.options.read_timeout:g} seconds."
                ) from None
            raise
        return b"".join(parts)

    async def _pass(self, scope, body, receive, answer) -> None:
        if self.active >= self.options.concurrency:
            raise _busy(f"{self.active} requests are in work. Expected fewer: try again.")
        self.active += 1
        try:
            async with asyncio.timeout(self.options.timeout):
                await self.app(_as_bytes(scope), _replay(body, receive), answer)
        except TimeoutError:
            raise Refused(
                504, f"The model did not answer within {self.options.timeout:g} seconds."
            ) from None
        finally:
            self.active -= 1

    def _large(self) -> Refused:
        return Refused(
            413, f"The body has more than {self.options.max_bytes} bytes. Send several requests."
        )


class _Answer:
    """What the app sends, with headers that KServe leaves out."""

    def __init__(self, send):
        self._send, self._start = send, None
        self.started, self.status = False, 0

    async def __call__(self, message) -> None:
        if message["type"] == "http.response.start":
            self._start = message
            return
        if self._start is not None:
            start, self._start = self._start, None
            headers = list(start.get("headers", []))
            names = {name.lower() for name, _ in headers}
            if b"content-type" not in names:
                binary = v2.LENGTH.encode() in names
                kind = b"application/octet-stream" if binary else b"application/json"
                headers.append((b"content-type", kind))
            if not message.get("more_body") and b"content-length" not in names:
                headers.append((b"content-length", b"%d" % len(message.get("body", b""))))
            self.started, self.status = True, start["status"]
            await self._send({**start, "headers": headers})
        await self._send(message)


def _with_body(scope) -> bool:
    headers = dict(scope.get("headers", ()))
    return b"transfer-encoding" in headers or headers.get(b"content-length", b"0") != b"0"


def _last(send):
    """A `send` after whose answer the connection is closed."""

    async def closing(message):
        if message["type"] == "http.response.start":
            headers = [*message.get("headers", []), (b"connection", b"close")]
            message = {**message, "headers": headers}
        await send(message)

    return closing


def _as_bytes(scope) -> dict:
    """The scope with a type of content that FastAPI leaves to us."""
    if not scope["path"].startswith("/v2/"):
        return scope
    headers = [(k, v) for k, v in scope["headers"] if k != b"content-type"]
    return {**scope, "headers": [*headers, (b"content-type", b"application/octet-stream")]}


def _replay(body, receive):
    """A `receive` that gives the body, then what comes after it."""
    pending = [{"type": "http.request", "body": body, "more_body": False}]

    async def replayed():
        return pending.pop() if pending else await receive()

    return replayed


def _busy(message: str) -> Refused:
    return Refused(503, message)


async def _refuse(send, refused: Refused) -> None:
    body = orjson.dumps({"error": str(refused)})
    headers = [(b"content-type", b"application/json")]
    if refused.status in _MORE:
        headers.append(_MORE[refused.status])
    await send({"type": "http.response.start", "status": refused.status, "headers": headers})
    await send({"type": "http.response.body", "body": body})
