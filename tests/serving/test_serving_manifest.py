"""The InferenceService and the command that writes it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from keras_htaf.serving import Artifact, Options, manifest
from keras_htaf.serving.manifest import text

ARTIFACT = Artifact("digits", Path("runs/demo/saved_model"), "tf_saved_model")


def test_manifest_fits_the_schema_of_kserve():
    import kubernetes.client as kubernetes
    import yaml

    from keras_htaf.serving.engine import kserve

    options = Options(timeout=5.0, max_batch=64, batching=False, workers=2)
    service = manifest(
        [ARTIFACT], image="registry/image:1", storage="s3://bucket/models", options=options
    )
    read = yaml.safe_load(text(service))
    assert read == service
    fits(read, "V1beta1InferenceService", (kserve, kubernetes))
    container = read["spec"]["predictor"]["containers"][0]
    assert container["args"] == [
        *("serve", "/mnt/models/saved_model", "--name", "digits", "--host", "0.0.0.0"),
        *("--port", "8080", "--workers", "2", "--threads", "1"),
        *("--max-batch", "64", "--timeout", "5", "--no-batching"),
    ]
    broken = json.loads(json.dumps(read))
    broken["spec"]["predictor"]["containers"][0]["image"] = 3
    with pytest.raises(AssertionError):
        fits(broken, "V1beta1InferenceService", (kserve, kubernetes))


def fits(value, kind: str, packages) -> None:
    """Whether JSON is of a type of the OpenAPI schema that the packages were generated from."""
    simple = {"str": str, "int": int, "bool": bool, "float": (int, float), "object": object}
    if kind in simple:
        assert isinstance(value, simple[kind]), (value, kind)
        assert kind == "bool" or kind == "object" or not isinstance(value, bool)
    elif kind.lower().startswith("list["):
        assert isinstance(value, list)
        for each in value:
            fits(each, kind[5:-1], packages)
    elif kind.lower().startswith("dict"):
        assert isinstance(value, dict)
        of = kind[5:-1].split(", ")[1]
        for key, each in value.items():
            assert isinstance(key, str)
            fits(each, "str" if of == "ResourceQuantity" else of, packages)
    else:
        model = next(getattr(p, kind) for p in packages if hasattr(p, kind))
        names = {key: name for name, key in model.attribute_map.items()}
        assert set(value) <= set(names), (set(value) - set(names), kind)
        for key, each in value.items():
            fits(each, model.openapi_types[names[key]], packages)
        model(**{names[key]: each for key, each in value.items()})  # what is required


@pytest.mark.parametrize(
    "wrong",
    [
        {"name": "Digits_1"},
        {"name": "1a"},
        {"storage": "folder"},
        {"replicas": (2, 1)},
        {"replicas": (0, 0)},
        {"cpu": "many"},
        {"cpu": "0"},
    ],
)
def test_bad_manifests(wrong):
    with pytest.raises(ValueError, match=next(iter(wrong))):
        manifest([ARTIFACT], **{"image": "x", "storage": "s3://x", **wrong})


@pytest.mark.parametrize(
    ("cpu", "more", "threads"),
    [("4", {}, "4"), ("2500m", {"workers": 2}, "1"), ("0.5", {}, "1"), ("4", {"threads": 3}, "3")],
)
def test_threads_of_a_manifest(cpu, more, threads):
    service = manifest([ARTIFACT], image="x", storage="s3://x", cpu=cpu, options=Options(**more))
    arguments = service["spec"]["predictor"]["containers"][0]["args"]
    assert arguments[arguments.index("--threads") + 1] == threads


def test_artifacts_of_one_name_have_one_place():
    paths = [Path("runs") / name / "saved_model" for name in ("a", "b")]
    models = [Artifact(path.parent.name, path, "tf_saved_model") for path in paths]
    with pytest.raises(ValueError, match="Rename them"):
        manifest(models, image="x", storage="s3://x")


def test_command_line(tmp_path):
    pytest.importorskip("typer")
    from typer.testing import CliRunner

    from keras_htaf_cli.app import app

    file = tmp_path / "model.onnx"
    run = CliRunner().invoke
    found = run(app, ["serve", str(file)])
    assert (found.exit_code, "There is no" in found.output) == (2, True)
    file.write_bytes(b"bytes")
    for arguments, words in (
        (["--name", "a", "--name", "b"], "2 times --name"),
        (["--timeout", "0"], "timeout"),
        (["--manifest", "x.yaml"], "--image"),
        (["--image", "x"], "--manifest"),
        (["--storage", "s3://x"], "--manifest"),
    ):
        found = run(app, ["serve", str(file), *arguments])
        assert (found.exit_code, words in found.output) == (2, True), found.output
    out = tmp_path / "service.yaml"
    more = ["--manifest", str(out), "--image", "image", "--storage", "pvc://claim/models"]
    found = run(app, ["serve", str(file), *more, "--concurrency", "8"])
    assert found.exit_code == 0, found.output
    assert "--concurrency" in out.read_text()
