"""What the `export` command knows of a model from the files beside it."""

import json

import keras
import numpy as np
import pytest
from keras import layers

from keras_htaf import datasets, load_model
from keras_htaf.cli import runfile
from keras_htaf.cli.exporting import export_file
from keras_htaf.datasets import Preprocessing, prepared
from keras_htaf.export import card
from keras_htaf.interpret import collect
from keras_htaf.models import icbm
from keras_htaf_cli.settings import Settings


@pytest.fixture
def run(tmp_path):
    model = icbm(num_concepts=4, num_classes=3, input_shape=(4, 4, 1))
    model.save(tmp_path / "model.keras")
    runfile.write(tmp_path, Settings(data="/home/me/own.npz"), Preprocessing(1 / 16, -0.5))
    metrics = {"icbm_smooth": 0.9, "icbm_hard": 0.8, "gap": 0.1, "test_images": 7, "dense": 0.95}
    (tmp_path / "metrics.json").write_text(json.dumps(metrics))
    (tmp_path / "names.json").write_text(json.dumps({"names": {"1": "striped"}}))
    return tmp_path


def test_card_of_a_run(run, capsys):
    result = export_file(run / "model.keras", run / "model.khtaf", "packed")
    assert result.equal
    printed = capsys.readouterr().out
    assert str(result) in printed
    assert "(packed; exact steps; raw pixels)" in printed
    found = card.find(run / "model.khtaf")
    assert found["data"] == "own.npz"
    assert found["metrics"] == {"smooth": 0.9, "exact": 0.8, "gap": 0.1, "test_images": 7}
    assert found["concepts"] == ["bit 0", "striped", "bit 2", "bit 3"]
    assert found["preprocessing"] == {"scale": 1 / 16, "offset": -0.5}


def test_usage_of_a_run(run, capsys):
    """Measured on the data that the run was of, where these are here."""
    export_file(run / "model.keras", run / "model.khtaf", "packed", verify=False)
    assert card.find(run / "model.khtaf")["usage"] is None
    assert "how often bits are on is not known" in capsys.readouterr().out
    x = np.random.default_rng(0).integers(0, 17, (12, 4, 4, 1)).astype("uint8")
    y = np.arange(12) % 3
    parts = {"x_train": x, "y_train": y, "x_test": x[:8], "y_test": y[:8]}
    np.savez(run / "own.npz", **parts)
    preprocessing = Preprocessing(1 / 16, -0.5)
    runfile.write(run, Settings(data=str(run / "own.npz")), preprocessing)
    export_file(run / "model.keras", run / "model.khtaf", "packed", verify=False)
    assert "measured on 8 test images of own.npz" in capsys.readouterr().out
    codes = collect(load_model(run / "model.keras"), preprocessing(x[:8]))
    np.testing.assert_allclose(card.find(run / "model.khtaf")["usage"], codes.usage, atol=1e-6)


def test_nothing_is_downloaded_for_the_usage(run, capsys, monkeypatch):
    pytest.importorskip("tensorflow_datasets")
    tried = []
    monkeypatch.setattr(prepared, "prepare", lambda *args: tried.append(args))
    monkeypatch.setattr(prepared.network, "reachable", lambda: True)
    settings = Settings(data="fashion_mnist", data_dir=str(run))
    runfile.write(run, settings, Preprocessing(1 / 16, -0.5))
    export_file(run / "model.keras", run / "model.khtaf", "packed", verify=False)
    assert not tried
    assert card.find(run / "model.khtaf")["usage"] is None
    assert "is not known: Data set 'fashion_mnist' is not prepared" in capsys.readouterr().out


def test_damaged_data_do_not_stop_an_export(run, capsys, monkeypatch):
    def damaged(*args, **options):
        raise RuntimeError("record 3 is damaged")

    monkeypatch.setattr(datasets, "load", damaged)
    export_file(run / "model.keras", run / "model.khtaf", "packed", verify=False)
    assert card.find(run / "model.khtaf")["usage"] is None
    assert "is not known: record 3 is damaged" in capsys.readouterr().out


def test_without_preprocessing_and_checks(run, capsys):
    options = {"preprocessing": False, "verify": False}
    assert export_file(run / "model.keras", run / "model.khtaf", "packed", **options) is None
    assert capsys.readouterr().out.endswith("(packed; exact steps; normalised pixels)\n")
    found = card.find(run / "model.khtaf")
    assert found["preprocessing"] is None
    assert found["verification"] is None
    assert np.isfinite(found["head"]["bias"]).all()


def test_damaged_metrics(run):
    (run / "metrics.json").write_text("{")
    with pytest.raises(ValueError, match="is damaged"):
        export_file(run / "model.keras", run / "model.khtaf", "packed")
    assert not (run / "model.khtaf").exists()


def test_names_that_are_not_a_baselines(run):
    """A dense network beside a concept model, with layers of the same names."""
    parts = [
        layers.Flatten(),
        layers.Dense(4, "relu", name="concepts"),
        layers.Dense(3, name="head"),
    ]
    keras.Sequential([keras.Input((4, 4, 1)), *parts]).save(run / "dense.keras")
    export_file(run / "dense.keras", run / "dense.khtaf", "packed", verify=False)
    found = card.find(run / "dense.khtaf")
    assert (found["concepts"], found["usage"]) == (None, None)
