"""The benchmarks on images: what they train they keep under its key, and do not train again."""

import json
import runpy
import sys
from pathlib import Path

import keras
import pytest

BENCH = Path(__file__).parents[2] / "tools" / "bench"
BINARY = ["--width", "8", "--slopes", "HTAF", "float"]
STEPS = ["--width", "4", "--depth", "3", "--stages", "1", "--networks", "steps"]
SETTINGS = "mlp 8, digits, kernels ste_sign, 1 epochs, batch 128, rate 0.002, seed 0"
BACKEND = keras.config.backend()


@pytest.mark.parametrize(
    ("script", "arguments", "keys"),
    [
        (
            "binary",
            BINARY,
            {
                "HTAF": "HTAF(alpha=2.0, beta=0.5) (peak 0.5, annealed 2 to 16), " + SETTINGS,
                "float": "float, " + SETTINGS,
            },
        ),
        (
            "heaviside_images",
            STEPS,
            {
                "steps": f"steps-{BACKEND}-digits, depth 3, width 4, 1 stages, 1 epochs, batch 64, "
                "rate 0.002-s0"
            },
        ),
    ],
    ids=["binary", "heaviside_images"],
)
def test_it_runs_and_resumes(script, arguments, keys, tmp_path, monkeypatch, capsys):
    monkeypatch.syspath_prepend(BENCH)
    out = ["--epochs", "1", "--out", str(tmp_path / "new")]
    monkeypatch.setattr(sys, "argv", [script, *arguments, *out])

    def run():
        runpy.run_path(str(BENCH / f"{script}.py"), run_name="__main__")
        return capsys.readouterr().out

    first = run()
    (file,) = tmp_path.glob("new/*.jsonl")
    results = [json.loads(line) for line in file.read_text("utf-8").splitlines()]
    assert [result["key"] for result in results] == list(keys.values())
    for name, result in zip(keys, results, strict=True):
        assert f"| {name} |" in first
        assert f"| {result['test']:.2f} | {result['test']:.2f} |" in first
    again = run()
    assert "accuracy:" not in again  # of a training
    assert again.splitlines() == first.splitlines()[-len(again.splitlines()) :]
    assert len(file.read_text("utf-8").splitlines()) == len(keys)
    for table in tmp_path.glob("new/*.md"):
        assert again.endswith(table.read_text("utf-8"))
    assert not list(tmp_path.glob("new/*/*"))  # of what is kept while a training runs
