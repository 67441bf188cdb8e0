"""The processes: start, replacement, end."""

from __future__ import annotations

import importlib.util
import json
import math
import os
import signal
import socket
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

from keras_htaf.serving.application import REPLACEMENT, STARTUP_FAILURE, VARIABLE, describe
from keras_htaf.serving.artifacts import Artifact
from keras_htaf_cli.serving import Options

_PATIENCE = 120
"""Seconds for a worker to show that it lives; imports and loading may take many."""
_MOST_CONNECTIONS = 4096
_NEEDS = ("kserve", "uvicorn", "httptools", "orjson")
_SHORT = 100
"""So many numbers may stand in a line to try."""


def serve(
    artifacts: Sequence[Artifact],
    options: Options | None = None,
    announce: Callable[[str], object] = print,
) -> int:
    """Serve exported models until SIGTERM or SIGINT.

    On SIGTERM no new connection is taken, requests in work are answered within `options.grace`
    seconds, and the rest is given up. A worker that dies is replaced; with one process there is
    nobody to do that, and the whole ends as the worker did.

    Args:
        artifacts: What to serve, with different names.
        options: Limits; default `Options()`.
        announce: Receives a few lines: the address, and a request to try.

    Returns:
        The exit status: 0 after a signal, 3 if the models could not be loaded.

    Raises:
        ValueError: If names occur twice, or an artifact is not what its card says.
        OSError: If the port is taken.
        ImportError: If the extra "serve" is not installed.

    Example:

    >>> from keras_htaf.serving import Artifact, Options
    >>> status = serve([Artifact.at("digits.khtaf")], Options(port=9000))  # doctest: +SKIP
    >>> serve([])
    Traceback (most recent call last):
        ...
    ValueError: Received models []. Expected different names: give --name.
    """
    options = options or Options()
    names = [artifact.name for artifact in artifacts]
    if not names or len(set(names)) < len(names):
        raise ValueError(f"Received models {names}. Expected different names: give --name.")
    if lacking := [each for each in _NEEDS if importlib.util.find_spec(each) is None]:
        raise ImportError(f'Serving needs {", ".join(lacking)}: pip install "keras-htaf[serve]"')
    import uvicorn

    from keras_htaf.serving.connections import Connection

    for artifact in artifacts:
        if not artifact.verify():
            announce(f"{artifact.path} has no card: its files cannot be checked, nor explained.")
    listening = _bound(options.host, options.port)
    host, port = listening.getsockname()[:2]
    url = f"http://{f'[{host}]' if ':' in host else host}:{port}"
    Connection.seconds = options.read_timeout
    config = uvicorn.Config(
        "keras_htaf.serving.application:create",
        factory=True,
        workers=options.workers,
        http=Connection,
        ws="none",
        access_log=False,
        log_level="warning",
        server_header=False,
        proxy_headers=False,
        limit_concurrency=max(_MOST_CONNECTIONS, 4 * options.concurrency),
        timeout_graceful_shutdown=max(1, round(options.grace)),
        timeout_worker_healthcheck=_PATIENCE,
    )
    for artifact in artifacts:
        announce(f"{artifact.name}: {artifact.path} ({artifact.format})")
    announce(f"serving at {url}, ready once {url}/v2/health/ready answers; try")
    announce(f"  {_try(url, artifacts[0])}")
    with listening, _set(VARIABLE, describe(list(artifacts), options)):
        return (_many if options.workers > 1 else _one)(config, listening)


def _one(config, listening) -> int:
    """All in this process."""
    import uvicorn

    server = uvicorn.Server(config)

    def ended(*_):
        # Uvicorn repeats the signal after a clean end; before its start it is not listening yet.
        if not server.started:
            sys.exit(0)

    kept = {each: signal.signal(each, ended) for each in (signal.SIGTERM, signal.SIGINT)}
    try:
        server.run([listening])
    except SystemExit as error:
        return error.code if isinstance(error.code, int) else STARTUP_FAILURE
    finally:
        for each, handler in kept.items():
            signal.signal(each, handler)
    return 0


def _many(config, listening) -> int:
    """Workers, replaced by Uvicorn's supervisor where they die."""
    from uvicorn.supervisors import Multiprocess

    class Supervisor(Multiprocess):
        def init_processes(self) -> None:
            super().init_processes()
            self._hang_up()
            os.environ[REPLACEMENT] = "1"

        def keep_subprocess_alive(self) -> None:
            super().keep_subprocess_alive()
            self._hang_up()

        def _hang_up(self) -> None:
            """Close our copies of the workers' ends, or who waits for one sees no end of it."""
            for process in self.processes:
                process.child_conn.close()

    with (
        tempfile.TemporaryDirectory(prefix="keras-htaf-metrics-") as folder,
        _set("PROMETHEUS_MULTIPROC_DIR", folder),
    ):
        try:
            supervisor = Supervisor(config, [listening])
            supervisor.run()
        finally:
            os.environ.pop(REPLACEMENT, None)
    failed = any(process.exitcode == STARTUP_FAILURE for process in supervisor.processes)
    return STARTUP_FAILURE if failed else 0


@contextmanager
def _set(variable: str, value: str) -> Iterator[None]:
    """A variable of the environment for as long as this lasts; then it is what it was."""
    before = os.environ.get(variable)
    os.environ[variable] = value
    try:
        yield
    finally:
        if before is None:
            del os.environ[variable]
        else:
            os.environ[variable] = before


def _bound(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    found = socket.socket(family)
    found.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        found.bind((host, port))
    except OSError as error:
        found.close()
        raise OSError(f"Cannot listen on {host}:{port} ({error.strerror or error}).") from None
    found.set_inheritable(True)
    return found


def _try(url: str, artifact: Artifact) -> str:
    """A request of zeros as a line for the shell; where inputs are not known, one for them."""
    address = f"{url}/v1/models/{artifact.name}:predict"
    inputs = (artifact.card or {}).get("inputs")
    if not inputs:
        return f"curl {url}/v2/models/{artifact.name}"
    shapes = {each["name"]: [1 if n is None else n for n in each["shape"][1:]] for each in inputs}
    if sum(math.prod(shape) for shape in shapes.values()) <= _SHORT:
        rows = {name: _zeros(shape) for name, shape in shapes.items()}
        row = rows if len(rows) > 1 else next(iter(rows.values()))
        return f"curl {address} -d '{json.dumps({'instances': [row]}, separators=(',', ':'))}'"
    zeros = ", ".join(f"'{name}': numpy.zeros({shape}).tolist()" for name, shape in shapes.items())
    program = f"import json, numpy; print(json.dumps({{'instances': [{{{zeros}}}]}}))"
    return f'python3 -c "{program}" | curl {address} -d @-'


def _zeros(shape):
    return [_zeros(shape[1:]) for _ in range(shape[0])] if shape else 0
