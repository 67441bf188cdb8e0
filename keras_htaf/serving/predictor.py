"""The `kserve.Model` of an artifact, and what KServe asks about models."""

from __future__ import annotations

import asyncio
import threading
from dataclasses import dataclass

import numpy as np

from keras_htaf.serving import runners, v1, v2
from keras_htaf.serving.artifacts import Artifact
from keras_htaf.serving.batching import Batcher
from keras_htaf.serving.engine import DataPlane, Model, ModelRepository
from keras_htaf.serving.errors import Refused
from keras_htaf.serving.explaining import CONCEPTS, Explainer
from keras_htaf.serving.tensors import check
from keras_htaf_cli.serving import Options

_STUCK = 2
"""So many times the longest time for an answer, and a model counts as stuck."""


@dataclass
class Body:
    """A request as it came."""

    content: bytes
    headers: dict[str, str]
    protocol: str


@dataclass
class Call:
    """A request as the model needs it."""

    request: dict
    feeds: dict[str, np.ndarray]
    rows: int
    names: list[str]
    as_rows: int | None = None
    binary: set[str] | None = None
    """Outputs to send as bytes; None in TensorFlow Serving's protocol."""


class Predictor(Model):
    """A loaded artifact behind both protocols. KServe measures each of the stages.

    Args:
        artifact: What to load.
        options: Limits.
        threads: Of one computation.
        observe: Called with the rows of each computation.
    """

    def __init__(self, artifact: Artifact, options: Options, threads: int, observe):
        super().__init__(artifact.name, return_response_headers=True)
        self.artifact, self.options = artifact, options
        self.runner = runners.load(artifact, threads)
        self.runner.together &= options.batching
        self.batcher = Batcher(self.runner, options.max_batch, observe)
        self.explainer, self._missing = _explainer(artifact, self.runner)
        self._states = {spec.name for spec in self.runner.outputs if not spec.finite}
        self._explaining = asyncio.Semaphore(1)
        self.ready = True

    async def healthy(self) -> bool:
        """Whether it is loaded, and no computation has gone on for far too long."""
        return self.ready and self.batcher.busy_for() < _STUCK * self.options.timeout

    def get_input_types(self) -> list[dict]:
        """For the metadata of the Open Inference Protocol."""
        return [spec.describe() for spec in self.runner.inputs]

    def get_output_types(self) -> list[dict]:
        """For the metadata of the Open Inference Protocol."""
        return [spec.describe() for spec in self.runner.outputs]

    async def preprocess(self, payload: Body, headers=None) -> Call:
        """Checked arrays from the bytes of a request."""
        specs, signatures = self.runner.inputs, self.runner.signatures
        if payload.protocol == "v2":
            request, binary = v2.parse(payload.content, payload.headers)
            feeds = v2.decode(request, binary, specs)
            default = signatures[v1.DEFAULT]
            names, as_bytes = v2.wanted(request, self.runner.outputs, default)
            call = Call(request, feeds, 0, names, binary=as_bytes)
        else:
            request = v1.parse(payload.content)
            feeds, as_rows = v1.decode(request, specs, self.options.max_batch)
            call = Call(request, feeds, 0, v1.signature(request, signatures), as_rows)
        call.rows = check(specs, feeds, self.options.max_batch)
        return call

    async def predict(self, payload: Call, headers=None, response_headers=None) -> bytes:
        """The answer to a request."""
        outputs = await self.batcher(payload.feeds, payload.rows, payload.names)
        _finite(outputs, self._states & (payload.binary or set()))
        if payload.binary is None:
            response_headers["content-type"] = "application/json"
            return v1.encode(outputs, payload.as_rows)
        body, more = v2.encode(self.name, payload.request, outputs, payload.binary)
        response_headers.update(more)
        return body

    async def explain(self, payload: Call, headers=None) -> bytes:
        """Why each row is decided as it is."""
        if self.explainer is None:
            raise Refused(501, self._missing)
        if payload.rows > (most := self.options.max_explained):
            raise Refused(413, f"Received {payload.rows} rows. Expected up to {most} to explain.")
        outputs = await self.batcher(payload.feeds, payload.rows, [CONCEPTS])
        stop = threading.Event()
        async with self._explaining:  # Python's lock is shared: one at a time
            try:
                found = await asyncio.to_thread(
                    self.explainer, outputs[CONCEPTS], payload.request, stop
                )
            finally:
                stop.set()
        return v1.dump(found)


def _explainer(artifact: Artifact, runner) -> tuple[Explainer | None, str]:
    """What explains the model, or why nothing can."""
    card = artifact.card
    if card is None or not card.get("head"):
        return None, (
            f"Model {artifact.name!r} cannot be explained: it has no card with a concept layer and "
            "a linear head on its bits. Explanations are for models of keras_htaf.models.icbm, "
            "exported with their card."
        )
    if CONCEPTS not in {spec.name for spec in runner.outputs}:
        return None, (
            f"Model {artifact.name!r} cannot be explained: this artifact does not give its bits "
            f"({CONCEPTS!r}). Serve the SavedModel or the ONNX file."
        )
    if card.get("steps") == "smooth":
        return None, (
            f"Model {artifact.name!r} cannot be explained: it was exported with smooth steps, so "
            "it has no bits. Export it with exact ones."
        )
    try:
        signs = card["signs"] if "signs" in card else _signs(runner)
        return Explainer(card, signs), ""
    except (Refused, ValueError, KeyError, TypeError) as error:
        raise ValueError(
            f"The card of {str(artifact.path)!r} is damaged: {error!r}. Export the model again."
        ) from None


def _signs(runner) -> bool:
    """Whether concepts are -1 and 1 rather than 0 and 1, seen on noise; for cards without it."""
    random = np.random.default_rng(0)
    feeds = {
        spec.name: random.normal(size=spec.example(16).shape).astype(spec.dtype)
        for spec in runner.inputs
    }
    return bool((runner.run(feeds, [CONCEPTS])[CONCEPTS] < 0).any())


def _finite(outputs, free) -> None:
    """`Refused` where another output than those of `free`, states sent as bytes, is not finite."""
    for name, array in outputs.items():
        if name not in free and array.dtype.kind == "f" and not np.isfinite(array).all():
            raise Refused(
                500,
                f"The model's output {name!r} is NaN or infinite for this input. A stream's states "
                "may be so where they are sent as bytes.",
            )


class Repository(ModelRepository):
    """The models given at the start. Clients can neither load nor unload any."""

    def load(self, name: str) -> bool:
        """Refused, whatever it is."""
        raise KeyError(name)

    load_model = unload = load


class Plane(DataPlane):
    """KServe's way from a route to a model, with bodies left as they are."""

    def metadata(self) -> dict:
        """What the server is; clients cannot change its models."""
        return {**super().metadata(), "extensions": ["binary_tensor_data"]}

    def get_model_from_registry(self, name: str) -> Predictor:
        """The model, or `Refused`, which leaves no traceback in the log."""
        model = self.model_registry.get_model(name)
        if model is None:
            known = sorted(self.model_registry.get_models())
            raise Refused(404, f"There is no model {name[:80]!r}. Expected one of {known}.")
        return model

    async def get_model(self, name: str) -> Predictor:
        """The model; KServe's own would load one that is stuck again."""
        return self.get_model_from_registry(name)

    async def ready(self) -> bool:
        """True, or `Refused` with 503 unless all models are; KServe's own is always ready."""
        return all([await self.model_ready(name) for name in self.model_registry.get_models()])

    async def model_ready(self, model_name: str, disable_predictor_health_check=False) -> bool:
        """True, or `Refused` with 404 or 503."""
        if not await self.get_model_from_registry(model_name).healthy():
            raise Refused(503, f"Model {model_name!r} is not ready: it does not answer.")
        return True

    def decode(self, body, headers, protocol_version="v1", model_name=None):
        """The body as it came; the model parses it once it knows what it takes."""
        return Body(body, headers, protocol_version), {}

    def encode(self, model_name, response, headers, req_attributes):
        """The answer as it is."""
        return response, {}

    async def explain(self, model_name, request, headers=None):
        """As KServe's, but without the request's headers in the answer."""
        response, _ = await super().explain(model_name, request, dict(headers or {}))
        return response, {"content-type": "application/json"}
