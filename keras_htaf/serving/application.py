"""KServe's app with these models in it, for each worker process."""

from __future__ import annotations

import gc
import json
import logging
import multiprocessing
import os
import signal
import sys
import threading
import time
import traceback
import warnings
from dataclasses import asdict
from pathlib import Path

from keras_htaf.serving.artifacts import Artifact
from keras_htaf_cli.serving import Options

VARIABLE = "KERAS_HTAF_SERVING"
"""How processes are told what to serve."""
REPLACEMENT = "KERAS_HTAF_SERVING_REPLACEMENT"
"""Set for the processes that come after the first."""
STARTUP_FAILURE = 3
"""Uvicorn's: a worker that ends so would end so again, and is not replaced."""
_PAUSE = 5.0


def describe(artifacts: list[Artifact], options: Options) -> str:
    """What `create` reads from the environment, checksums as of now among it."""
    models = [
        [artifact.name, str(artifact.path), artifact.format, artifact.fingerprint()]
        for artifact in artifacts
    ]
    return json.dumps({"models": models, "options": asdict(options)})


def create():
    """The app that a worker runs; ends the process where the models cannot be loaded.

    A replacement that cannot load them ends otherwise, so that the workers that could serve on; it
    takes its time, as it will be replaced too.
    """
    told = json.loads(os.environ[VARIABLE])
    _end_with_parent()
    try:
        artifacts = []
        for name, path, format, fingerprint in told["models"]:
            artifacts.append(Artifact(name, Path(path), format))
            if artifacts[-1].fingerprint() != fingerprint:
                raise ValueError(f"{path!r} is not what it was at the start. Start again.")
        app = build(artifacts, Options(**told["options"]))
    except Exception as error:
        if not isinstance(error, (ValueError, OSError, ImportError)):
            traceback.print_exc()
        print(f"error: {error}", file=sys.stderr, flush=True)
        if REPLACEMENT not in os.environ:
            _end(STARTUP_FAILURE)
        time.sleep(_PAUSE)
        _end(1)
    _settle()
    return app


def build(artifacts: list[Artifact], options: Options):
    """KServe's app behind the gate, with all models loaded.

    Args:
        artifacts: With different names.
        options: Limits.

    Raises:
        ImportError: If KServe or a runtime is not installed.
        ValueError: If an artifact is not what its card says, or does not run.
    """
    from fastapi import Response
    from fastapi.responses import JSONResponse
    from prometheus_client import CONTENT_TYPE_LATEST, generate_latest

    from keras_htaf.serving.engine import ModelRepositoryExtension, RESTServer, app
    from keras_htaf.serving.errors import Refused
    from keras_htaf.serving.gate import Gate
    from keras_htaf.serving.predictor import Plane, Predictor, Repository

    warnings.filterwarnings("ignore", message="ORJSONResponse is deprecated")  # KServe uses it
    logging.getLogger("kserve").setLevel(logging.WARNING)
    logging.getLogger("kserve.trace").setLevel(logging.WARNING)
    metrics = _Metrics()
    threads = options.threads or max(1, cores() // options.workers)
    repository = Repository()
    for artifact in artifacts:
        artifact.verify()
        observe = metrics.rows.labels(artifact.name).observe
        repository.update(Predictor(artifact, options, threads, observe))

    async def measured():
        return Response(generate_latest(metrics.registry()), media_type=CONTENT_TYPE_LATEST)

    async def refused(_, error: Refused):
        return JSONResponse({"error": str(error)}, error.status)

    async def missing(_, error: NotImplementedError):
        return JSONResponse({"error": str(error)}, 501)

    async def closed(model_name: str):
        raise Refused(403, f"Which models are served is decided at the start, not {model_name!r}.")

    # Ahead of KServe's own routes, of which the first that fits is taken.
    app.add_api_route("/metrics", measured, methods=["GET"])
    for verb in ("load", "unload"):
        app.add_api_route(f"/v2/repository/models/{{model_name}}/{verb}", closed, methods=["POST"])
    rest = RESTServer(
        "kserve.model_server:app",
        Plane(repository),
        ModelRepositoryExtension(repository),
        options.port,
    )
    rest.create_application()
    app.add_exception_handler(Refused, refused)
    app.add_exception_handler(NotImplementedError, missing)
    return Gate(app, options, set(repository.get_models()), metrics.count)


class _Metrics:
    """Counts and times beside those that KServe has of each stage."""

    def __init__(self):
        from prometheus_client import Counter, Histogram

        self.requests = Counter(
            "keras_htaf_requests", "Requests by their answer", ["model", "verb", "status"]
        )
        self.seconds = Histogram(
            "keras_htaf_request_seconds", "From the first byte to the answer", ["model", "verb"]
        )
        self.rows = Histogram(
            "keras_htaf_batch_rows",
            "Rows that were computed at once",
            ["model"],
            buckets=[2**n for n in range(13)],
        )

    def count(self, model: str, verb: str, status: int, seconds: float) -> None:
        """One request; status 0 if the client went away."""
        self.requests.labels(model, verb, status).inc()
        self.seconds.labels(model, verb).observe(seconds)

    def registry(self):
        """This process's numbers, or those of all workers together."""
        from prometheus_client import REGISTRY, CollectorRegistry, multiprocess

        if "PROMETHEUS_MULTIPROC_DIR" not in os.environ:
            return REGISTRY
        registry = CollectorRegistry()
        multiprocess.MultiProcessCollector(registry)
        return registry


def cores(root: Path = Path("/sys/fs/cgroup"), own: Path = Path("/proc/self/cgroup")) -> int:
    """The processor's cores that this process may use: its affinity, and its groups' quotas."""
    if hasattr(os, "sched_getaffinity"):
        found = len(os.sched_getaffinity(0))
    else:
        found = os.cpu_count() or 1
    try:
        (path,) = [
            line[3:].strip("/") for line in own.read_text().splitlines() if line[:3] == "0::"
        ]
    except (OSError, ValueError):
        return found
    for folder in (root / path, *(root / path).parents):
        try:
            quota, period = (folder / "cpu.max").read_text().split()
        except (OSError, ValueError):
            continue
        if quota != "max":
            found = min(found, int(quota) // int(period))
    return max(1, found)


def _settle() -> None:
    """What has been loaded lives as long as the process: Python need not look through it again.

    A collection goes through all that is not frozen, some million objects of Keras and TensorFlow,
    and nothing is answered meanwhile.
    """
    gc.collect()
    gc.freeze()


def _end(status: int) -> None:
    """Ends the process; a worker at once, as it answers the supervisor no more while it tidies up.

    The supervisor would wait for that answer, up to its patience, and take no signal meanwhile.
    """
    if multiprocessing.parent_process() is not None:
        os._exit(status)
    sys.exit(status)


def _end_with_parent() -> None:
    """A worker whose parent was killed would hold the port for ever."""
    parent = multiprocessing.parent_process()
    if parent is None:
        return

    def wait():
        parent.join()
        os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=wait, name="parent", daemon=True).start()
