"""The stability study: its slopes are matched, and it runs, resumes and reports."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from keras_htaf.callbacks import AnnealSharpness
from keras_htaf.hardening import step_layers
from keras_htaf.models import deep_heaviside_network

BENCH = Path(__file__).parents[2] / "tools" / "bench"
RESULTS = Path(__file__).parents[2] / "docs" / "results"
sys.path.insert(0, str(BENCH))

from stability_plan import SLOPES, parts  # noqa: E402 (it lies in the folder just added)
from stability_report import Results, report, sections  # noqa: E402


@pytest.mark.parametrize("name", [name for name in SLOPES if name != "default"])
@pytest.mark.parametrize("peak", [0.33, 0.5, 2.0])
def test_slopes_are_matched_in_peak_and_area(name, peak):
    slope = SLOPES[name]
    assert slope.area == pytest.approx(1.0)
    # What a callback sets while the object keeps its own sharpness.
    matched = slope.sharpness_for(peak)
    assert float(slope.derivative(0.0, matched)) == pytest.approx(peak, rel=1e-5)


def test_the_default_slope_is_the_recipe():
    (run, *_) = parts(1)["recipe"]
    assert run.peaks == AnnealSharpness().peak
    (step, _) = step_layers(deep_heaviside_network((4,), 2, depth=2, width=4))
    assert step.surrogate.peak == run.peaks[0]
    ends = [SLOPES[run.slope].sharpness_for(peak) for peak in run.peaks]
    assert ends == pytest.approx([step.surrogate.sharpness, 16.0])


def test_every_part_has_its_seeds():
    for name, runs in parts(5).items():
        assert len({run.key for run in runs}) == len(runs), name
    assert sum(run.slope == "default" and run.depth == 12 for run in parts(5)["recipe"]) == 34


def test_it_runs_resumes_and_reports(tmp_path):
    command = [sys.executable, BENCH / "stability.py", "run", "--quick", "--jobs", "1"]
    command += ["--seeds", "1", "--part", "gap", "--out", tmp_path]
    first = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    (file,) = tmp_path.glob("*.jsonl")
    results = [json.loads(line) for line in file.read_text().splitlines()]
    assert [f"{i + 1}/{len(results)}" for i in range(len(results))] == first.splitlines()[1:-1]
    assert first.splitlines()[-1].endswith(f"stability.py report --out {tmp_path}")
    assert all(np.isfinite(result["loss"]) for result in results)
    assert {result["forward"] for result in results} == {"hard", "smooth"}
    again = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    assert f"{len(results)} of them are in" in again
    assert len(file.read_text().splitlines()) == len(results)
    (path,) = report(tmp_path)
    assert path.read_text().startswith(
        "### Runs that are in none of these tables\n\n- HTAF, depth 3"
    )


def test_report(tmp_path):
    base = dict(
        depth=12, width=128, normalization="batch", skip=None, forward="hard", peaks=[0.33, 2.0],
        rate=2e-3, gain=1.0, calibrated=False, closing=None, epochs=4, images=6400, train=99.0,
        label_smoothing=0.0, diagnosed=False,
    )  # fmt: skip
    runs = [
        {**base, "key": f"{slope}{seed}", "slope": slope, "seed": seed, "hard": 90.0 + seed + more}
        for slope, more in (("HTAF", 1.0), ("ATan", 0.0))
        for seed in range(3)
    ]
    (tmp_path / "mnist-jax.jsonl").write_text("".join(json.dumps(run) + "\n" for run in runs))
    assert Results(tmp_path / "mnist-jax.jsonl").cell(slope="HTAF") == "92.00 ± 1.00"
    report(tmp_path)
    text = (tmp_path / "report-mnist-jax.md").read_text()
    assert "| HTAF |  |  | 92.00 ± 1.00 |" in text
    assert "| Erf |" not in text
    assert "none of these tables" not in text


def test_report_of_nothing(tmp_path):
    command = [sys.executable, BENCH / "stability.py", "report", "--out", tmp_path]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 1
    assert "No results (*.jsonl) in" in done.stderr


def test_the_page_has_the_tables_of_the_results():
    """Each row of the report on JAX; the page has the recipe's with labels not smoothed apart."""
    page = (RESULTS / "stability.md").read_text(encoding="utf-8").splitlines()
    text = "\n".join(sections(Results(RESULTS / "stability" / "mnist-jax.jsonl")))
    rows = [row.replace(", labels not smoothed", "") for row in text.splitlines() if " ± " in row]
    assert len(rows) > 80
    assert not set(rows) - set(page)
