"""SavedModels from every backend, run by plain TensorFlow."""

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import keras
import numpy as np
import pytest
from support import BACKEND, gradient, tensor

from keras_htaf import harden, soften
from keras_htaf.datasets.preprocessing import Preprocessing
from keras_htaf.export import export
from keras_htaf.export.writers import saved_model
from keras_htaf.layers import HTAF, Heaviside, Sign
from keras_htaf.models import (
    binary_mlp,
    binary_resnet,
    binary_vgg,
    deep_heaviside_network,
    icbm,
)

random = np.random.default_rng(0)
RAW = random.integers(0, 17, size=(40, 8, 8, 1)).astype("float32")
X = random.normal(size=(40, 6)).astype("float32")
BROUGHT_TO_UNIT = Preprocessing(scale=1 / 16, offset=-0.5)


def seeded(model):
    weights = np.random.default_rng(1)
    model.set_weights([w + np.abs(weights.normal(0, 0.3, w.shape)) for w in model.get_weights()])
    return model


def dense_model():
    inputs = keras.Input((6,))
    x = HTAF(3.0, per_channel=True)(keras.layers.Dense(8)(inputs))
    x = Sign("atan", forward="smooth")(keras.layers.Dense(8)(x - 0.5))
    x = Heaviside("sigmoid", forward="smooth")(keras.layers.Dense(8)(x))
    return seeded(keras.Model(inputs, keras.layers.Dense(3)(x - 0.5)))


def image_model():
    return seeded(icbm(num_concepts=16, num_classes=4, input_shape=(8, 8, 1)))


BUILDERS = {
    "mlp": lambda shape: binary_mlp(shape, 3, width=16, depth=2),
    "vgg": lambda shape: binary_vgg(shape, 3, filters=(4, 4)),
    "bireal": lambda shape: binary_resnet(shape, 3, width=4),
    "react": lambda shape: binary_resnet(
        shape, 3, width=4, block="react", kernel_quantizer="magnitude_aware_sign"
    ),
    "deep": lambda shape: deep_heaviside_network(shape, 3, kind="convolutional", depth=3, width=4),
}
IMAGES = random.normal(size=(40, 8, 8, 1)).astype("float32")


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    """Name -> (the model as exported, its inputs, what plain TensorFlow gives)."""
    pytest.importorskip("tensorflow")
    folder = tmp_path_factory.mktemp("exported")
    dense, image = dense_model(), image_model()
    export(dense, folder / "hard", verify=False)
    export(dense, folder / "smooth", smooth=True)  # verified; the others below, by hand
    export(image, folder / "image", preprocessing=BROUGHT_TO_UNIT.layer(), verify=False)
    inputs = {"hard": X, "smooth": X, "image": RAW}
    built = {name: build(IMAGES.shape[1:]) for name, build in BUILDERS.items()}
    for name, model in built.items():
        export(model, folder / name, bits=False, verify=False)
        inputs[name] = IMAGES
    for name, x in inputs.items():
        np.savez(folder / f"{name}.npz", x=x)
    script = Path(__file__).with_name("plain_tensorflow.py")
    environment = {k: v for k, v in os.environ.items() if k != "KERAS_BACKEND"}
    done = subprocess.run(
        [sys.executable, script, folder],
        env=environment,
        capture_output=True,
        text=True,
        timeout=280,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    models = {"hard": harden(dense), "smooth": soften(dense), "image": harden(image)}
    models |= {name: harden(model) for name, model in built.items()}
    inputs["image"] = BROUGHT_TO_UNIT(RAW)
    return {
        name: (models[name], x, np.load(folder / f"{name}.out.npz")) for name, x in inputs.items()
    }


@pytest.mark.parametrize("name", ["hard", "smooth", "image", *BUILDERS])
@pytest.mark.parametrize("batch", ["all", "served", "batch1", "batch3", "batch17"])
def test_same_outputs_without_keras(exported, name, batch):
    model, x, found = exported[name]
    expected = model.predict(x, verbose=0)
    # float32 holds seven digits: of logits near 50 no two orders of summation agree to 1e-5.
    np.testing.assert_allclose(found[batch], expected, atol=1e-5, rtol=1e-6)
    np.testing.assert_array_equal(found[batch].argmax(1), expected.argmax(1))


def test_hard_and_smooth_differ(exported):
    assert np.abs(exported["hard"][2]["all"] - exported["smooth"][2]["all"]).max() > 1e-2


@pytest.mark.parametrize("name", ["hard", "smooth", "image", *BUILDERS])
def test_forward_pass_does_not_insist_on_xla(exported, name):
    assert exported[name][2]["xla"].tolist() == []


@pytest.mark.parametrize("name", ["hard", "smooth"])
def test_gradient_in_plain_tensorflow(exported, name):
    model, x, found = exported[name]
    if "gradient" not in found:
        pytest.skip(f"TensorFlow takes no gradient: {found['no_gradient']}")
    expected = gradient(lambda x: model(x, training=False), tensor(x))
    assert np.abs(expected).max() > 1e-3
    np.testing.assert_allclose(found["gradient"], expected, atol=1e-5, rtol=1e-3)


@pytest.fixture
def old_artifact(tmp_path):
    path = tmp_path / "artifact"
    (path / "variables").mkdir(parents=True)
    (path / "saved_model.pb").write_text("old")
    return path


def contents(folder):
    return sorted(str(p.relative_to(folder)) for p in folder.rglob("*"))


def test_nothing_is_half_written(tmp_path, old_artifact, monkeypatch):
    """A writer that fails after its first file leaves the old artifact and nothing else."""
    before = contents(tmp_path)

    def failing(program, target):
        target.mkdir()
        (target / "saved_model.pb").write_text("half")
        raise OSError("disk full")

    monkeypatch.setattr(saved_model, "write", failing)
    if BACKEND == "torch":  # the second process is not patched, but cannot know this layer
        model = keras.Sequential([keras.Input((2,)), OnlyHere(), HTAF()])
        expected = pytest.raises(RuntimeError, match="must be exported under KERAS_BACKEND")
    else:
        model = keras.Sequential([keras.Input((2,)), HTAF()])
        expected = pytest.raises(OSError, match="disk full")
    with expected:
        export(model, old_artifact)
    assert contents(tmp_path) == before
    assert (old_artifact / "saved_model.pb").read_text() == "old"


@keras.saving.register_keras_serializable("test_saved_model")
class OnlyHere(keras.layers.Layer):
    def call(self, x):
        return x


@pytest.mark.skipif(BACKEND == "torch", reason="covered, at the price of another process")
def test_no_folder_can_be_made(tmp_path):
    (tmp_path / "file").write_text("here")
    with pytest.raises(OSError, match="file"):
        export(keras.Sequential([keras.Input((2,)), HTAF()]), tmp_path / "file" / "artifact")
    assert (tmp_path / "file").read_text() == "here"


@pytest.mark.skipif(BACKEND != "tensorflow", reason="the rule is the same, the others are slower")
def test_old_artifact_is_replaced(tmp_path, old_artifact):
    model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(2)])  # no steps: fine
    export(model, old_artifact, verify=False)
    assert (old_artifact / "saved_model.pb").read_bytes() != b"old"
    assert [p.name for p in tmp_path.iterdir()] == ["artifact"]


@pytest.mark.parametrize("other", ["file", "folder"])
def test_other_things_are_not_replaced(tmp_path, other):
    path = tmp_path / "thesis"
    (path if other == "file" else path / "chapter").parent.mkdir(exist_ok=True)
    (path if other == "file" else path / "chapter").write_text("years of work")
    before = contents(tmp_path)
    with pytest.raises(ValueError, match="exists and is no SavedModel"):
        export(keras.Sequential([keras.Input((2,)), HTAF()]), path)
    assert contents(tmp_path) == before


def test_errors(tmp_path, monkeypatch):
    model = keras.Sequential([keras.Input((2,)), HTAF()])
    with pytest.raises(ValueError, match=r"format='coreml'\. Expected one of \['tf_saved_model', "):
        export(model, tmp_path / "x", format="coreml")
    with pytest.raises(ValueError, match="Expected a built"):
        export(keras.Sequential([HTAF()]), tmp_path / "x")
    with pytest.raises(ValueError, match="Expected a built"):
        export("model.keras", tmp_path / "x")
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ImportError, match=r"pip install"):
        export(model, tmp_path / "x")
    assert list(tmp_path.iterdir()) == []
