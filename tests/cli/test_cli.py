"""The command as a user meets it: a run, its files, an interruption, and every clear error."""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import keras
import numpy as np
import pytest
from typer.testing import CliRunner

import keras_htaf
from keras_htaf.export import card
from keras_htaf_cli.app import app

ROOT = Path(__file__).parents[2]
SMALL = ["--width", "4", "--concepts", "8", "--batch-size", "256"]


def command(*arguments, code=0):
    """Run the command in this process; its output."""
    result = CliRunner().invoke(app, [str(a) for a in arguments])
    if result.exception and not isinstance(result.exception, SystemExit):
        raise result.exception
    assert result.exit_code == code, result.output
    return " ".join(result.output.split())


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A small finished run."""
    out = tmp_path_factory.mktemp("run")
    command("train", "icbm", "--epochs", 2, "--out", out, "--alpha", 2, 8, *SMALL)
    return out


def test_a_run_writes_everything(finished):
    names = {path.name for path in finished.iterdir()}
    assert names == {
        "model.keras",
        "dense.keras",
        "metrics.json",
        "run.json",
        "predictions.npz",
        "curves.png",
        "concepts.png",
        "checkpoints",
    }
    metrics = json.loads((finished / "metrics.json").read_text())
    assert {"dense", "icbm_smooth", "icbm_hard", "random_bits", "gap"} <= set(metrics)
    assert metrics["gap"] == pytest.approx(metrics["icbm_smooth"] - metrics["icbm_hard"])
    assert len(metrics["history"]["icbm"]["hard_accuracy"]) == 2
    sharpness = keras_htaf.load_model(finished / "model.keras").get_layer("concepts").sharpness
    assert float(keras.ops.convert_to_numpy(sharpness)) == 8.0


def test_predictions_are_those_of_the_exact_network(finished):
    model = keras_htaf.harden(keras_htaf.load_model(finished / "model.keras"))
    with np.load(finished / "predictions.npz") as file:
        raw, logits = file["raw"], file["logits"]
    np.testing.assert_allclose(model.predict(raw / 16.0, verbose=0), logits, atol=1e-5)


def test_evaluate(finished):
    text = command("evaluate", finished / "model.keras")
    metrics = json.loads((finished / "metrics.json").read_text())
    assert f"{metrics['icbm_hard']:.2%}" in text
    assert f"{metrics['icbm_smooth']:.2%}" in text


def test_export_is_identical_in_plain_tensorflow(finished, tmp_path):
    text = command("export", finished / "model.keras", tmp_path / "saved_model")
    assert "concepts" in text
    metrics = json.loads((finished / "metrics.json").read_text())
    assert card.find(tmp_path / "saved_model")["metrics"]["exact"] == metrics["icbm_hard"]
    check = [sys.executable, str(ROOT / "tools/check_saved_model.py"), tmp_path / "saved_model"]
    done = subprocess.run(
        [*check, finished / "predictions.npz"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "359 of 359 predictions identical" in done.stdout


def test_interrupted_and_resumed_is_as_uninterrupted(tmp_path):
    arguments = ["train", "icbm", *SMALL, "--epochs", "3"]
    entry = [sys.executable, "-m", "keras_htaf_cli"]
    process = subprocess.Popen(
        [*entry, *arguments, "--out", str(tmp_path / "interrupted")],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )
    deadline = time.monotonic() + 120
    while not (tmp_path / "interrupted/model.keras").exists():
        assert process.poll() is None, process.stderr.read()
        assert time.monotonic() < deadline
        time.sleep(0.02)
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=60)
    assert process.returncode != 0
    keras_htaf.load_model(tmp_path / "interrupted/model.keras")  # usable as it is
    assert not (tmp_path / "interrupted/metrics.json").exists()

    command("train", "icbm", "--out", tmp_path / "interrupted", "--resume")  # its own settings
    command(*arguments, "--out", tmp_path / "whole")
    resumed, whole = (
        keras_htaf.load_model(tmp_path / name / "model.keras") for name in ("interrupted", "whole")
    )
    for a, b in zip(resumed.get_weights(), whole.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)
    histories = [
        json.loads((tmp_path / name / "metrics.json").read_text())["history"]["icbm"]
        for name in ("interrupted", "whole")
    ]
    assert histories[0]["sharpness"] == histories[1]["sharpness"]


def test_resume_wants_the_same_settings(finished):
    text = command(
        *("train", "icbm", "--resume", "--epochs", 3, "--out", finished, "--alpha", 2, 8),
        *SMALL,
        code=2,
    )
    assert "other settings: epochs=2. Give" in text


def contents(folder):
    return {p.relative_to(folder): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def test_resume_publishes_what_was_committed(finished, tmp_path):
    out = tmp_path / "run"
    shutil.copytree(finished, out)
    (out / "model.keras").unlink()
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    for name in ("model{}.keras", "metrics{}.json", "run{}.json", "curves{}.png"):
        (out / ("." + name.format(f".{ended.pid}"))).write_text("half of one")
    command("train", "icbm", "--resume", "--data", "digits", "--alpha", 2, 8, "--out", out)
    models = [keras_htaf.load_model(folder / "model.keras") for folder in (finished, out)]
    for one, other in zip(*(model.get_weights() for model in models), strict=True):
        np.testing.assert_array_equal(one, other)
    assert {path.name for path in out.iterdir()} == {path.name for path in finished.iterdir()}
    before, after = (
        json.loads((f / "metrics.json").read_text())["icbm_hard"] for f in (finished, out)
    )
    assert before == after


def test_evaluate_uses_the_preprocessing_of_the_training(tmp_path):
    arguments = ("--epochs", 1, "--normalize", "standard", "--seed", 3, *SMALL)
    command("train", "icbm", "--out", tmp_path, *arguments)
    metrics = json.loads((tmp_path / "metrics.json").read_text())
    text = command("evaluate", tmp_path / "model.keras")
    assert f"hard accuracy │ {metrics['icbm_hard']:.2%}" in text
    assert f"accuracy │ {metrics['dense']:.2%}" in command("evaluate", tmp_path / "dense.keras")
    assert "no steps" in command("export", tmp_path / "dense.keras", tmp_path / "dense_model")


def test_a_run_is_not_replaced_unasked(finished):
    before = contents(finished)
    text = command("train", "icbm", "--out", finished, *SMALL, code=2)
    assert "--resume" in text
    assert "--overwrite" in text
    assert contents(finished) == before


def test_a_run_is_replaced_if_asked(tmp_path):
    (tmp_path / "run.json").write_text("{}")
    (tmp_path / "metrics.json").write_text("of another run")
    command("train", "icbm", "--out", tmp_path, "--overwrite", "--epochs", 1, *SMALL)
    assert "icbm_hard" in json.loads((tmp_path / "metrics.json").read_text())
    assert "hard accuracy" in command("evaluate", tmp_path)


def test_a_training_that_diverges_keeps_the_last_good_model(tmp_path):
    arguments = ("--epochs", 3, "--learning-rate", 1e30, *SMALL)
    assert "diverged" in command("train", "icbm", "--out", tmp_path, *arguments, code=2)
    assert not (tmp_path / "metrics.json").exists()
    for file in tmp_path.glob("*.keras"):
        model = keras_htaf.load_model(file)
        assert all(np.isfinite(w).all() for w in model.get_weights())


def test_images_of_two_channels(tmp_path):
    rng = np.random.default_rng(0)
    np.savez(tmp_path / "own.npz", x=rng.random((60, 8, 8, 2), "float32"), y=np.arange(60) % 3)
    out = tmp_path / "out"
    command(*("train", "icbm", "--data", tmp_path / "own.npz", "--out", out, "--epochs", 1), *SMALL)
    assert (out / "concepts.png").exists()


def test_export_does_not_replace_a_foreign_folder(finished, tmp_path):
    (tmp_path / "thesis.txt").write_text("years of work")
    text = command("export", finished / "model.keras", tmp_path, code=2)
    assert "is no SavedModel" in text
    assert contents(tmp_path) == {Path("thesis.txt"): b"years of work"}


def test_the_suffix_says_the_format(finished, tmp_path):
    text = command("export", finished, tmp_path / "model.khtaf")
    assert "(packed;" in text
    text = command("export", finished, tmp_path / "b.onnx", "--format", "tf_saved_model", code=2)
    assert "format 'onnx'" in text


def test_resume_on_another_backend(finished, tmp_path):
    out = tmp_path / "run"
    shutil.copytree(finished, out)
    file = out / "checkpoints/progress.json"
    content = json.loads(file.read_text())
    assert content["backend"] == keras.config.backend()
    file.write_text(json.dumps({**content, "backend": "other"}))
    text = command("train", "icbm", "--resume", "--out", out, code=2)
    assert "KERAS_BACKEND=other" in text


@pytest.mark.parametrize("name", ["run.json", "checkpoints/progress.json"])
@pytest.mark.parametrize("text", ["{", "[]", '{"settings": {}, "stages": {"icbm": 1}}'])
def test_damaged_run_files(finished, tmp_path, name, text):
    out = tmp_path / "run"
    shutil.copytree(finished, out)
    (out / name).write_text(text)
    if name == "run.json":
        answer = command("evaluate", out / "model.keras", code=2)
    else:
        answer = command("train", "icbm", "--resume", "--out", out, *SMALL, code=2)
    assert "damaged" in answer or "other settings" in answer


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--data", "mnits"], "mnist"),
        (["--data", "absent.npz"], "absent.npz"),
        (["--alpha", "0", "8"], "alpha_start"),
        (["--beta", "-1"], "beta"),
        (["--learning-rate", "nan"], "learning_rate"),
        (["--augment", "spin"], "spin"),
        (["--normalize", "half"], "half"),
        (["--concept-dropout", "1"], "concept_dropout"),
    ],
)
def test_bad_arguments_leave_everything_as_it_was(finished, tmp_path, arguments, words):
    assert words in command("train", "icbm", "--out", tmp_path / "out", *arguments, *SMALL, code=2)
    assert not list(tmp_path.iterdir())
    before = contents(finished)
    for how in ([], ["--resume"], ["--overwrite"]):
        command("train", "icbm", "--out", finished, *arguments, *how, *SMALL, code=2)
    assert contents(finished) == before


def test_unwritable_folder(tmp_path):
    (tmp_path / "file").write_text("in the way")
    text = command("train", "icbm", "--out", tmp_path / "file" / "out", code=2)
    assert "Cannot write into" in text


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda x, y: (np.where(np.arange(x.size).reshape(x.shape) == 70, np.nan, x), y), "NaN"),
        (lambda x, y: (x, y - 1), "label"),
        (lambda x, y: (x, y + 1), "numbered from 0"),
        (lambda x, y: (x[:, :, 0, 0], y), "shape"),
        (lambda x, y: (x[:-1], y), "label"),
    ],
)
def test_bad_images(tmp_path, change, words):
    rng = np.random.default_rng(0)
    x, y = change(rng.random((60, 8, 8, 1), "float32"), np.arange(60) % 3)
    np.savez(tmp_path / "own.npz", x=x, y=y)
    text = command(
        "train", "icbm", "--data", tmp_path / "own.npz", "--out", tmp_path / "out", code=2
    )
    assert words in text
    assert not list(tmp_path.rglob("*.keras"))


def test_evaluate_on_images_of_another_shape(finished, tmp_path):
    rng = np.random.default_rng(0)
    np.savez(tmp_path / "own.npz", x=rng.random((60, 9, 9, 1), "float32"), y=np.arange(60) % 10)
    text = command("evaluate", finished / "model.keras", "--data", tmp_path / "own.npz", code=2)
    assert "(8, 8, 1)" in text
    assert "(9, 9, 1)" in text


@pytest.mark.parametrize("content", [None, b"", b"PK\x03\x04 cut short"])
def test_broken_model_file(tmp_path, content):
    file = tmp_path / "model.keras"
    if content is not None:
        file.write_bytes(content)
    assert "model.keras" in command("evaluate", file, code=2)
    assert "model.keras" in command("export", file, tmp_path / "saved_model", code=2)
    assert not (tmp_path / "saved_model").exists()


def test_export_of_an_unknown_format(finished, tmp_path):
    arguments = (finished / "model.keras", tmp_path / "x", "--format", "coreml")
    assert "tf_saved_model" in command("export", *arguments, code=2)
