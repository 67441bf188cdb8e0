"""The commands that measure a model and that show its bits."""

from __future__ import annotations

import json
import re
import subprocess

import keras
import numpy as np
import pytest
from support import BACKEND
from typer.testing import CliRunner

import keras_htaf
from keras_htaf.cli import bench
from keras_htaf_cli.app import app

pytestmark = pytest.mark.filterwarnings("ignore:.*hardly moves latent")


def command(*arguments, code=0):
    """Run the command in this process; its output."""
    result = CliRunner().invoke(app, [str(a) for a in arguments], terminal_width=200)
    if result.exception and not isinstance(result.exception, SystemExit):
        raise result.exception
    assert result.exit_code == code, result.output
    return " ".join(result.output.split())


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    """A small network, smooth, and packed."""
    model = keras_htaf.models.binary_mlp((4, 4, 1), 3, width=37, depth=2)
    folder = tmp_path_factory.mktemp("bench")
    model.save(folder / "model.keras")
    keras_htaf.packed.pack(keras_htaf.harden(model)).save(folder / "model.khtaf")
    return folder


def test_inspect_shows_bits_of_layers(saved):
    from_keras, alone = command("inspect", saved), command("inspect", saved / "model.khtaf")
    assert alone in from_keras
    assert "kernel bits" in alone
    assert "layer2 product 1 (37,) 1" in alone


@pytest.mark.skipif(BACKEND != "torch", reason="starts processes that do not depend on it")
def test_contenders_are_measured_in_processes_of_their_own(saved, monkeypatch):
    monkeypatch.setattr(bench, "ROUNDS", 2)
    names = ["packed", "keras jax", "onnx int8"]
    monkeypatch.setitem(bench.CONTENDERS, "onnx int8", ("a_package_that_is_not_installed",))
    packed, other = bench.bench_file(saved / "model.keras", (3, 1), 1, 0.01, names)
    assert (packed.name, other.name) == ("packed", "keras jax")
    for result in (packed, other):
        assert list(result.wall) == [1, 3]
        assert all(len(times) >= 6 and min(times) > 0 for times in result.wall.values())
        assert result.peak[3] > result.before > 2**20
        assert result.start > 0
    assert packed.difference == 0
    assert other.difference < 1e-4
    assert 100 < packed.file_bytes < other.file_bytes


@pytest.mark.skipif(BACKEND != "torch", reason="starts processes that do not depend on it")
def test_bench_prints_a_table(saved, monkeypatch):
    monkeypatch.setenv("COLUMNS", "200")
    options = ("--batch", 1, "--seconds", 0.01)
    output = command("bench", saved / "model.khtaf", *options)
    assert "1 thread" in output
    row = " ".join(output.replace("│", " ").split())
    assert re.search(r" 1 packed ([\d.e+-]+ ){7}0 100 % ", row), row
    assert "onnx float32: a packed model has no Keras layers" in output


def test_bench_names_what_is_wrong(saved, tmp_path):
    (tmp_path / "broken.khtaf").write_text("{}")
    for arguments, message in (
        ((saved, "--only", "larq"), "['larq']"),
        ((saved, "--batch", 0), "positive"),
        ((saved, "--threads", 4096), "at most"),
        ((saved / "model.khtaf", "--only", "onnx int8"), "Nothing could be measured"),
        ((tmp_path / "broken.khtaf",), "is no packed model"),
        ((tmp_path / "none.khtaf",), "no packed model"),
    ):
        assert message in command("bench", *arguments, code=2)


def test_arguments_are_checked(saved):
    for arguments in (
        {"seconds": float("nan")},
        {"seconds": 0},
        {"threads": 0},
        {"batches": (1.5,)},
    ):
        with pytest.raises(ValueError, match="Received"):
            bench.bench_file(saved / "model.khtaf", **arguments)


def test_models_of_several_inputs_are_refused(tmp_path):
    inputs = [keras.Input((2,)), keras.Input((2,))]
    keras.Model(inputs, keras.layers.Add()(inputs)).save(tmp_path / "two.keras")
    with pytest.raises(ValueError, match="2 inputs and 1 outputs"):
        bench.bench_file(tmp_path / "two.keras")


DYING = """
import json, sys, time
print(json.dumps({"start": 0.5, "before": None}), flush=True)
for line in sys.stdin:
    asked = json.loads(line)
    if asked["batch"] > 1 and asked["seconds"]:
        DIES
    if asked["seconds"] is None:
        print(json.dumps({"outputs": [[0.0, 1.0, 0.0]] * asked["batch"]}), flush=True)
    else:
        print(json.dumps({"wall": [1.0], "cpu": [1.0], "peak": None}), flush=True)
"""


@pytest.mark.skipif(BACKEND != "torch", reason="starts processes that do not depend on it")
@pytest.mark.parametrize(
    ("dies", "names", "why"),
    [
        ("raise MemoryError", ("packed", "onnx int8"), "onnx int8 ended: MemoryError"),
        ("time.sleep(60)", ("onnx int8",), "onnx int8 gave no answer in 4.002 s"),
    ],
)
def test_the_others_go_on_when_a_contender_dies(saved, tmp_path, monkeypatch, dies, names, why):
    script, start = tmp_path / "dying.py", subprocess.Popen
    script.write_text(DYING.replace("DIES", dies))

    def either(command, **options):
        dying = json.loads(command[-1])["kind"] == "onnx"
        return start([*command[:2], script if dying else command[2], command[3]], **options)

    monkeypatch.setattr(bench.subprocess, "Popen", either)
    if "sleep" in dies:
        monkeypatch.setattr(bench, "PATIENCE", 4.0)
        monkeypatch.setattr(bench, "ROUNDS", 1)
    files = dict.fromkeys(names, saved / "model.khtaf")
    results, failed = bench.measure(files, (4, 4, 1), (1, 2), 1, 0.002)
    assert [(result.name, list(result.wall)) for result in results] == [
        (name, [1, 2]) for name in names if name == "packed"
    ]
    assert failed == {"onnx int8": why}


def test_the_largest_difference_and_the_least_agreement_are_kept():
    result, wanted = bench.Result("int8"), np.array([[0.0, 1.0], [1.0, 0.0]])
    bench._compare(result, np.array([[0.5, 0.0], [1.0, 0.0]]), wanted)
    bench._compare(result, wanted, wanted)
    assert (result.difference, result.equal) == (1.0, 0.5)
    bench._compare(result, wanted * np.nan, wanted)
    assert np.isnan(result.difference)


def test_a_contender_that_fails_says_why(saved):
    files = {"packed": saved / "model.keras"}
    results, failed = bench.measure(files, (4, 4, 1), (1,), 1, 0.01)
    assert results == []
    assert "is no packed model" in failed["packed"]
