"""One server for all tests of this folder that need one."""

import keras
import numpy as np
import pytest
import serving_case as case

import keras_htaf

LIMITS = {
    "max_batch": 8,
    "max_explained": 3,
    "max_body": 0.05,
    "timeout": 1.5,
    "read_timeout": 1.0,
    "concurrency": 4,
    "grace": 5,
}


@pytest.fixture(scope="session")
def models(tmp_path_factory):
    """Artifacts made without Keras: a concept model twice, one that takes its time, a stream."""
    folder = tmp_path_factory.mktemp("models")
    return (
        case.icbm_onnx(folder / "graph.onnx"),
        case.icbm_saved_model(folder / "icbm"),
        case.slow_saved_model(folder / "slow"),
        case.peak_saved_model(folder / "peak"),
    )


@pytest.fixture(scope="session")
def exported(tmp_path_factory):
    """Keras models and what `export` made of them, by name."""
    folder = tmp_path_factory.mktemp("exported")
    keras.utils.set_random_seed(3)
    backbone = keras.Sequential([keras.Input((8, 8, 1)), keras.layers.Flatten()])
    concepts = keras_htaf.models.icbm(backbone, num_concepts=5, num_classes=3)
    packed = keras_htaf.models.binary_mlp((16,), 3, width=16, depth=2)
    spiking = keras_htaf.models.spiking_mlp((6, 4), 2, encoding=None, width=8)
    streamed = keras_htaf.models.streaming(spiking, chunk=2)
    found = {"concepts": concepts, "packed": packed, "stream": streamed}
    paths = [folder / "concepts", folder / "packed.khtaf", folder / "stream"]
    formats = ("tf_saved_model", "packed", "tf_saved_model")
    for model, path, format in zip(found.values(), paths, formats, strict=True):
        keras_htaf.export.export(model, path, format, verify=False)
    return {**found, "whole": spiking}, paths


@pytest.fixture(scope="session")
def server(models, exported):
    found = case.Server(*models, *exported[1], **LIMITS)
    assert np.all([found.request("GET", f"/v2/models/{path.stem}")[0] == 200 for path in models])
    yield found
    status, printed = found.stop()
    assert status == 0, printed
    assert found.gone()
    assert "Traceback" not in printed, printed
