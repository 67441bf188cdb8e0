"""An InferenceService, by which KServe runs the server on Kubernetes."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import fields, replace

from keras_htaf.serving.artifacts import Artifact
from keras_htaf_cli.serving import Options

MOUNT = "/mnt/models"
"""Where KServe puts what it fetched from the storage."""
PORT = 8080

_LABEL = re.compile(r"[a-z]([a-z0-9-]{0,61}[a-z0-9])?")
_OWN = ("host", "port")


def manifest(
    artifacts: Sequence[Artifact],
    *,
    image: str,
    storage: str,
    name: str | None = None,
    options: Options | None = None,
    replicas: tuple[int, int] = (1, 1),
    cpu: str = "1",
    memory: str = "2Gi",
) -> dict:
    """An InferenceService (serving.kserve.io/v1beta1) with this server as its predictor.

    Args:
        artifacts: What to serve; only names and the last parts of paths are used.
        image: A container image whose entry point is `keras-htaf`, see examples/serving/Dockerfile.
        storage: Where KServe fetches the folder that holds the artifacts, with their cards, from:
            an address such as "s3://bucket/models" or "pvc://claim/models".
        name: Of the service, default that of the first model; lower-case letters, digits and "-".
        options: Limits, as for `serve`; host and port are the container's, and so are the threads
            unless they are given: the whole cores of `cpu`, shared by the workers.
        replicas: Fewest and most pods.
        cpu: Of a pod, as Kubernetes writes it.
        memory: Likewise.

    Returns:
        The resource, which `kubectl apply` takes as JSON or YAML.

    Raises:
        ValueError: If names do not fit, or there is no model.

    Example:

    >>> from pathlib import Path
    >>> from keras_htaf.serving import Artifact
    >>> digits = Artifact("digits", Path("runs/demo/saved_model"), "tf_saved_model")
    >>> found = manifest([digits], image="registry/keras-htaf:1", storage="pvc://models/demo")
    >>> found["spec"]["predictor"]["containers"][0]["args"][:3]
    ['serve', '/mnt/models/saved_model', '--name']
    """
    options = options or Options()
    if options.threads is None:
        options = replace(options, threads=max(1, _cores(cpu) // options.workers))
    names = [artifact.name for artifact in artifacts]
    if not names or len(set(names)) < len(names):
        raise ValueError(f"Received models {names}. Expected at least one, with different names.")
    name = re.sub("[^a-z0-9-]", "-", names[0].lower()) if name is None else name
    if not _LABEL.fullmatch(name):
        raise ValueError(
            f"Received the name {name!r}. Expected lower-case letters, digits and '-', up to 63, a "
            "letter first, as Kubernetes has it."
        )
    folders = [artifact.path.name for artifact in artifacts]
    if len(set(folders)) < len(folders):
        raise ValueError(
            f"Received files and folders of the names {folders}: below {MOUNT} they would be one. "
            "Rename them, such as runs/a/saved_model to runs/a/digits."
        )
    fewest, most = replicas
    if not 0 <= fewest <= most or most < 1:
        raise ValueError(f"Received replicas={replicas}. Expected the fewest and the most pods.")
    if "://" not in storage:
        raise ValueError(f"Received storage={storage!r}. Expected an address such as s3://....")
    resources = {"cpu": cpu, "memory": memory}
    container = {
        "name": "kserve-container",
        "image": image,
        "args": _arguments(artifacts, options),
        "env": [{"name": "STORAGE_URI", "value": storage}],
        "ports": [{"containerPort": PORT, "protocol": "TCP"}],
        "resources": {"requests": dict(resources), "limits": dict(resources)},
        # Loading takes a while; then a model that does not answer takes its pod out of service.
        "startupProbe": _probe("/v2/health/ready", 5, 60),
        "readinessProbe": _probe("/v2/health/ready", 5, 3),
        "livenessProbe": _probe("/v2/health/live", 10, 6),
        "securityContext": {
            "allowPrivilegeEscalation": False,
            "capabilities": {"drop": ["ALL"]},
            "runAsNonRoot": True,
        },
    }
    predictor = {
        "minReplicas": fewest,
        "maxReplicas": most,
        "timeout": round(options.timeout + options.read_timeout),
        "terminationGracePeriodSeconds": round(options.grace) + 10,
        "containers": [container],
    }
    return {
        "apiVersion": "serving.kserve.io/v1beta1",
        "kind": "InferenceService",
        "metadata": {"name": name},
        "spec": {"predictor": predictor},
    }


def text(service: dict) -> str:
    """An InferenceService as YAML.

    Raises:
        ImportError: If PyYAML, which comes with KServe, is not installed.
    """
    try:
        import yaml
    except ModuleNotFoundError as error:
        raise ImportError(
            f'A manifest needs the server\'s packages ({error}): pip install "keras-htaf[serve]"'
        ) from None
    return yaml.safe_dump(service, sort_keys=False)


def _cores(cpu: str) -> int:
    """The whole cores of a quantity as Kubernetes writes it: "2", "1.5" or "500m"."""
    found = re.fullmatch(r"(\d+(?:\.\d+)?)(m?)", cpu)
    if found is None or not float(found[1]):
        raise ValueError(f"Received cpu={cpu!r}. Expected cores such as '2', '0.5' or '500m'.")
    return int(float(found[1]) / (1000 if found[2] else 1))


def _arguments(artifacts, options) -> list[str]:
    found = ["serve"]
    found += [f"{MOUNT}/{artifact.path.name}" for artifact in artifacts]
    for artifact in artifacts:
        found += ["--name", artifact.name]
    found += ["--host", "0.0.0.0", "--port", str(PORT)]
    for field in fields(Options):
        value = getattr(options, field.name)
        if field.name in _OWN or value == field.default:
            continue
        option = field.name.replace("_", "-")
        if isinstance(value, bool):
            found.append(f"--{'' if value else 'no-'}{option}")
        else:
            found += [f"--{option}", f"{value:g}" if isinstance(value, float) else str(value)]
    return found


def _probe(path: str, period: int, failures: int) -> dict:
    return {
        "httpGet": {"path": path, "port": PORT},
        "periodSeconds": period,
        "timeoutSeconds": 5,
        "failureThreshold": failures,
    }
