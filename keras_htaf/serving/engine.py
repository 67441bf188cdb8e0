"""KServe, which parses the command line where it is imported; ours is not for it."""

from __future__ import annotations

import sys

_kept, sys.argv = sys.argv, sys.argv[:1]
try:
    import kserve
    from kserve import Model, ModelRepository
    from kserve.model_server import app
    from kserve.protocol.dataplane import DataPlane
    from kserve.protocol.model_repository_extension import ModelRepositoryExtension
    from kserve.protocol.rest.server import RESTServer
finally:
    sys.argv = _kept

__all__ = [
    "DataPlane",
    "Model",
    "ModelRepository",
    "ModelRepositoryExtension",
    "RESTServer",
    "app",
    "kserve",
]
