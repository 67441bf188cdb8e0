"""Exported models behind HTTP, on KServe's model server; loaded by `keras-htaf serve` only.

artifacts.py    an exported file or folder, its card and its checksum
errors.py       a request that is refused, with its status
tensors.py      numbers of a request, checked against what the model takes
v1.py, v2.py    the two protocols: TensorFlow Serving's and the Open Inference Protocol
runners.py      one way to run for each kind of artifact
batching.py     requests that wait are computed together
explaining.py   exact explanations of concept models, from their bits and the card's head
predictor.py    the `kserve.Model` of an artifact
gate.py         limits on bodies, time and requests in work, before KServe's app
connections.py  clients that do not finish their request, or do not read the answer
application.py  KServe's app with these models in it, for each worker process
server.py       the processes: start, replacement, end
manifest.py     an InferenceService for Kubernetes

KServe brings the routes of both protocols, health, metrics and the registry of models; Uvicorn the
processes and HTTP. What neither has is here: limits, deadlines, batching in the process, binary
tensors without Python lists, and refusals of what would let clients change what is served.
"""

from __future__ import annotations

from keras_htaf.serving.artifacts import Artifact
from keras_htaf.serving.manifest import manifest
from keras_htaf.serving.server import serve
from keras_htaf_cli.serving import Options

__all__ = ["Artifact", "Options", "manifest", "serve"]
