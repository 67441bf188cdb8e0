"""On several devices a training goes as on one: measured in a process that has such devices."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import keras
import numpy as np
import pytest
import steps

import keras_htaf

BACKEND = keras.config.backend()


@pytest.fixture(scope="module")
def several(tmp_path_factory):
    """Folder with what several devices gave."""
    folder = tmp_path_factory.mktemp("several")
    script = Path(__file__).parent / "several.py"
    done = subprocess.run(
        [sys.executable, str(script), str(folder)],
        capture_output=True,
        text=True,
        timeout=280,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-4000:]
    return folder


@pytest.fixture(scope="module")
def alone(tmp_path_factory):
    """The training on one device."""
    file = tmp_path_factory.mktemp("alone") / "run.json"
    steps.train("one", 1, file)
    return json.loads(file.read_text()), np.load(file.with_suffix(".npz"))


WAYS = {"jax": [("data", 4), ("model", 2)], "tensorflow": [("data", 2)], "torch": [("data", 2)]}


@pytest.mark.parametrize(("how", "count"), WAYS[BACKEND])
def test_each_step_has_the_loss_of_one_device(alone, several, how, count):
    run, weights = alone
    file = several / f"{how}.json"
    other = json.loads(file.read_text())
    assert other["count"] == count
    assert steps.IMAGES % steps.BATCH
    assert len(other["losses"]) == len(run["losses"]) >= steps.STEPS
    np.testing.assert_allclose(other["losses"], run["losses"], rtol=0, atol=1e-4)
    assert other["spread"] == 0
    assert set(other["history"]) == set(run["history"]) >= {"sharpness", "gap", "accuracy"}
    for key, values in run["history"].items():
        np.testing.assert_allclose(other["history"][key], values, rtol=0, atol=1e-2)
    # What ModelCheckpoint wrote is a model for one device.
    model = keras_htaf.load_model(file.with_suffix(".keras"))
    ends = np.load(file.with_suffix(".npz"))
    for variable, path in zip(model.weights, ends.files, strict=True):
        np.testing.assert_array_equal(keras.ops.convert_to_numpy(variable), ends[path])
        np.testing.assert_allclose(ends[path], weights[path], rtol=0, atol=5e-3)


def test_other_trainings(several):
    """Binary kernels, masks, sample weights, penalties, validation, float16, dropout."""
    report = json.loads((several / "variants.json").read_text())
    for name in {"binary", "masked", "regularized"} & set(report):
        assert report[name]["history"] < 1e-4, name
        assert report[name]["weights"] < 1e-4, name
    for name, found in report.items():
        assert found["spread"] == 0, name
        assert found["finite"], name
        assert found["epochs"][0] == found["epochs"][1], name


def test_a_resumed_training_is_the_uninterrupted_one(several):
    report = json.loads((several / "seam.json").read_text())
    assert report["epochs"] == {"whole": 4, "resumed": 4, "finished": 0}  # of the data
    for name in ("resumed", "finished"):
        assert report["histories"][name] == report["histories"]["whole"], name
        assert report["weights"][name] == 0, name


@pytest.mark.skipif(BACKEND != "torch", reason="only torch has ranks")
def test_what_ranks_refuse(several):
    assert (several / "refused").exists()
