"""`keras-htaf explain` as a user meets it."""

import json

import keras
import numpy as np
import pytest
from typer.testing import CliRunner

from keras_htaf.cli import runfile
from keras_htaf.cli.app import app
from keras_htaf.cli.settings import Settings
from keras_htaf.datasets import Preprocessing
from keras_htaf.interpret.names import write_names
from keras_htaf.models import icbm, small_cnn


def command(*arguments, code=0):
    result = CliRunner().invoke(app, ["explain", *map(str, arguments)])
    if result.exception and not isinstance(result.exception, SystemExit):
        raise result.exception
    assert result.exit_code == code, result.output
    return " ".join(result.output.split())


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """The folder of a run on own data, whose network was not trained."""
    folder = tmp_path_factory.mktemp("run")
    rng = np.random.default_rng(0)
    own = folder / "own.npz"
    np.savez(own, x=rng.integers(0, 256, (90, 8, 8, 1), dtype="uint8"), y=np.arange(90) % 3)
    icbm(small_cnn((8, 8, 1), width=4, stages=1), 4, 3).save(folder / "model.keras")
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
