"""`keras-htaf explain` as a user meets it."""

import json
import shutil
import sys

import keras
import numpy as np
import pytest
from typer.testing import CliRunner

from keras_htaf.cli import runfile
from keras_htaf.datasets import Preprocessing
from keras_htaf.interpret import collect
from keras_htaf.interpret.names import write_names
from keras_htaf.models import icbm, small_cnn
from keras_htaf_cli.app import app
from keras_htaf_cli.settings import Settings


def command(*arguments, code=0):
    result = CliRunner().invoke(app, ["explain", *map(str, arguments)])
    if result.exception and not isinstance(result.exception, SystemExit):
        raise result.exception
    assert result.exit_code == code, result.output
    return " ".join(result.output.split())


def shift_bits(model, by):
    norm = model.get_layer("concept_norm")
    gamma, beta, mean, variance = norm.get_weights()
    norm.set_weights([gamma, beta + by, mean, variance])


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """The folder of a run on own data, whose network was not trained; its bits vary."""
    folder = tmp_path_factory.mktemp("run")
    rng = np.random.default_rng(0)
    own = folder / "own.npz"
    x, y = rng.integers(0, 256, (90, 8, 8, 1), dtype="uint8"), np.arange(90) % 3
    np.savez(own, x=x, y=y)
    model = icbm(small_cnn((8, 8, 1), width=4, stages=1), 4, 3)
    shift_bits(model, -np.median(collect(model, x / 255).z, axis=0))
    model.save(folder / "model.keras")
    runfile.write(folder, Settings(data=str(own)), Preprocessing(1 / 255))
    history = {"smooth_accuracy": [0.3, 0.4], "hard_accuracy": [0.3, 0.3]}
    (folder / "metrics.json").write_text(json.dumps({"history": {"icbm": history}}))
    return folder


def test_a_run_is_explained(run, tmp_path):
    out = tmp_path / "report.html"
    text = command(run, "--out", out, "--pages", 2, "--images", 12, "--tables", tmp_path / "tables")
    assert "4 bits and a linear head decide" in text
    assert f"wrote {out}" in text
    html = out.read_text(encoding="utf-8")
    assert "Do exact bits cost anything?" in html
    assert "How few bits are enough?" in html
    assert {"bits.csv", "analysis.json", "nec.png"} <= {
        p.name for p in (tmp_path / "tables").iterdir()
    }


def test_bits_that_say_nothing_are_reported(run, tmp_path):
    model = keras.saving.load_model(run / "model.keras")
    shift_bits(model, -100)
    model.save(run / "dull.keras")
    out, tables = tmp_path / "report.html", tmp_path / "tables"
    options = ("--pages", 1, "--images", 6, "--tables", tables)
    text = command(run / "dull.keras", "--out", out, *options)
    assert "4 bits are never on" in text
    assert "no heads with few weights: All bits are the same" in text
    assert "without nec.png" in text
    assert "All bits are the same for all samples" in out.read_text(encoding="utf-8")
    assert {p.name for p in tables.glob("*.png")} == {"bits.png"}


@pytest.mark.parametrize("accuracy", [[0.3, 7], [0.3], "high"])
def test_a_damaged_history_stops_it_early(run, tmp_path, monkeypatch, accuracy):
    history = {"smooth_accuracy": [0.3, 0.4], "hard_accuracy": accuracy}
    shutil.copy(run / "model.keras", tmp_path)
    (tmp_path / "metrics.json").write_text(json.dumps({"history": {"icbm": history}}))
    monkeypatch.setattr("keras_htaf.cli.explanation.analyze", pytest.fail)
    text = command(tmp_path / "model.keras", "--out", tmp_path / "report.html", code=2)
    assert "metrics.json' is damaged" in text


def test_a_missing_package_is_missed_at_once(run, tmp_path, monkeypatch):
    monkeypatch.setattr("keras_htaf.cli.explanation.analyze", pytest.fail)
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    out = tmp_path / "report.html"
    text = command(run, "--out", out, "--tables", tmp_path / "tables", code=2)
    assert "The report needs matplotlib" in text


def test_names_beside_the_model_are_read(run, tmp_path):
    model = keras.saving.load_model(run / "model.keras")
    head = model.get_layer("head").get_weights()
    options = ("--pages", 1, "--images", 6, "--no-sparse")
    write_names(tmp_path / "mine.json", {1: "dark"}, *head)
    out = tmp_path / "report.html"
    command(run, "--out", out, "--names", tmp_path / "mine.json", *options)
    assert ">dark<" in out.read_text(encoding="utf-8")
    write_names(run / "names.json", {1: "beside"}, *head)
    command(run / "model.keras", "--out", out, *options)
    assert ">beside<" in out.read_text(encoding="utf-8")
    write_names(run / "names.json", {}, *[2 * w + 1 for w in head])
    assert "another model" in command(run, "--out", out, *options, code=2)
    (run / "names.json").unlink()


def test_clear_errors(run, tmp_path):
    out = tmp_path / "report.html"
    assert ".html file" in command(run, "--out", tmp_path / "report.pdf", code=2)
    assert "none.json" in command(run, "--out", out, "--names", tmp_path / "none.json", code=2)
    assert "shape (32, 32, 3)" in command(run, "--out", out, "--data", "shapes", code=2)
    dense = icbm(small_cnn((8, 8, 1), width=4, stages=1), 4, 3, activation="relu")
    dense.save(run / "dense.keras")
    assert "gives no bits" in command(run / "dense.keras", "--out", out, code=2)
    (tmp_path / "file").write_text("")
    assert "is not a folder" in command(run, "--out", tmp_path / "file/report.html", code=2)
    assert not out.exists()
