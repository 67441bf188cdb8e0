"""What a diagnosis advises, and how it is shown."""

import dataclasses
import json
import sys

import keras
import numpy as np
import pytest

import keras_htaf
from keras_htaf.diagnosis import Diagnosis, StepDiagnosis, diagnose
from keras_htaf.diagnosis.advice import advise

WELL = {
    "name": "step",
    "surrogate": "ATan",
    "forward": "smooth",
    "units": 10,
    "rms": 1.0,
    "reach": 2.0,
    "width": 3.0,
    "covered": 0.95,
    "passed": 0.5,
    "dead": 0.0,
    "always_on": 0.0,
    "gradient": 1.0,
    "softness": 0.5,
    "error": 0.1,
}
SCORES = {"gap": 0.02, "disagreement": 0.05}


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        (
            {"covered": 0.59, "passed": 0.08, "reach": 9.1},
            ["41 %", "(3 units, inputs reach 9.1)", "the sharpness"],
        ),
        ({"covered": 0.59, "passed": 0.08, "surrogate": "HTAF"}, ["lower beta or"]),
        ({"covered": 1.0, "passed": 0.98}, ["so narrow for the slope", "98 %"]),
        ({"rms": 0.0, "covered": 1.0, "passed": 1.0}, ["its inputs are all 0"]),
        (
            {"dead": 0.3},
            ["30 % of its 10 units are never on in these 1000 samples", "ActivityPenalty(keras_"],
        ),
        ({"always_on": 0.3}, ["always on"]),
        ({"gradient": 0.0051}, ["is 0.0051 of the last step's", "add skip connections, norm"]),
        ({"gradient": 0.0}, ["is 0 of the last step's"]),
        ({"gradient": 250.0}, ["is 250 times the last step's"]),
        ({"gradient": None}, ["no gradient of the loss arrives"]),
    ],
)
def test_advice(changes, expected):
    (sentence,) = advise([StepDiagnosis(**{**WELL, **changes})], {}, 1000)
    assert sentence.startswith("Step 'step': ")
    assert sentence.endswith(".")
    for part in expected:
        assert part in sentence


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"covered": 0.61, "passed": 0.08},
        {"covered": 0.3, "passed": 0.16},
        {"covered": 1.0, "passed": 0.96},
        {"covered": 1.0, "passed": 1.0, "width": np.inf},
        {"gradient": 0.011},
    ],
)
def test_no_advice(changes):
    assert advise([StepDiagnosis(**{**WELL, **changes})], {"gap": 0.004}, 1000) == []


def test_advice_on_the_worst_layer():
    rows = [StepDiagnosis(**{**WELL, "name": f"s{i}", "gradient": 10.0**-i}) for i in range(5)]
    (sentence,) = advise(rows, {}, 1000)
    assert sentence.startswith("Step 's4' (the worst of 2 such steps): the gradient")


def test_advice_on_a_few_samples():
    """Constant units and gaps are told from chance."""
    row = StepDiagnosis(**{**WELL, "dead": 0.5})
    assert len(advise([row], SCORES, 1000)) == 2
    assert advise([row], SCORES, 99) == []

    (sentence,) = advise([StepDiagnosis(**WELL)], {}, 31)
    assert sentence.startswith("Measured on 31 samples: batch normalisation")


@pytest.mark.parametrize(
    "changes",
    [{"covered": 0.5, "passed": 0.05}, {"dead": 0.3}, {"gradient": 1e-3}, {"gradient": 1e3}],
)
def test_no_circles(changes):
    """Who normalises is not told to; calibration is for slopes that do not fit their inputs."""
    row = StepDiagnosis(**{**WELL, **changes})
    for normalized in (False, True):
        (sentence,) = advise([row], {}, 1000, normalized)
        assert ("normalise before" in sentence) is not normalized
        assert ("calibrate" in sentence) == ("covered" in changes)


def test_a_single_sample_behind_normalisation():
    row = StepDiagnosis(**{**WELL, "rms": 0.0})
    few, zero = advise([row], {}, 1, normalized=True)
    assert "1 sample:" in few
    assert "behind batch normalisation for a single sample" in zero


def test_advice_on_scores():
    row = StepDiagnosis(**WELL)
    (sentence,) = advise([row], SCORES, 1000)
    assert "2.0 points" in sentence
    assert 'forward="hard"' in sentence
    errors = {"smooth_mean_squared_error": 1.0, "hard_mean_squared_error": 1.2}
    assert "from 1 to 1.2" in advise([row], errors, 1000)[0]
    assert advise([row], {**errors, "hard_mean_squared_error": 1.05}, 1000) == []
    # A network that trains with exact steps pays nothing for them.
    assert advise([StepDiagnosis(**{**WELL, "forward": "hard"})], SCORES, 1000) == []


def test_calibration_answers_the_advice():
    x, y = np.random.default_rng(0).normal(size=(40, 4)), np.arange(40) % 3
    keras.utils.set_random_seed(0)
    dense = keras.layers.Dense(16, kernel_initializer=keras.initializers.RandomNormal(stddev=10))
    step = keras_htaf.layers.Heaviside("triangle")
    model = keras.Sequential([keras.Input((4,)), dense, step, keras.layers.Dense(3)])
    assert "call keras_htaf.calibrate" in diagnose(model, x, y).advice[0]
    keras_htaf.calibrate(model, x)
    diagnosis = diagnose(model, x, y)
    assert diagnosis.advice == []
    assert "All is well" in str(diagnosis)


# ---------------------------------------------------------------------------- reports


def report(steps):
    rows = [
        StepDiagnosis(**{**WELL, "name": f"block_{i}/" + "deep/" * i + "step", "width": np.inf})
        for i in range(steps)
    ]
    return Diagnosis(
        "net",
        1000,
        "mse",
        SCORES | {"smooth_accuracy": 0.9, "hard_accuracy": 0.88},
        rows,
        ["Mend this."],
    )


def test_text_is_aligned():
    lines = str(report(3)).splitlines()
    assert lines[0].startswith(
        "Model 'net' on 1000 samples: accuracy 90.0 % with smooth steps, 88.0"
    )
    assert len({len(line) for line in lines[2:7]}) == 1
    assert lines[-1] == "- Mend this."


def test_the_gap_of_exact_steps_is_to_a_twin():
    diagnosis = report(2)
    hard = [StepDiagnosis(**{**WELL, "forward": "hard"})]
    assert "a gap of 2.0 points" in str(diagnosis)
    diagnosis = dataclasses.replace(diagnosis, layers=hard, advice=[])
    assert "accuracy 88.0 % with its exact steps (90.0 % if they were smooth)" in str(diagnosis)


def test_dict_is_json():
    found = report(1).to_dict()
    assert json.loads(json.dumps(found, allow_nan=False)) == found
    assert found["layers"][0]["width"] is None
    assert found["scores"]["gap"] == 0.02


@pytest.mark.parametrize("name", ["a.png", "new/a.svg", "plain"])
def test_plot(name, tmp_path):
    pytest.importorskip("matplotlib")
    report(3).plot(tmp_path / name)
    assert [p.name for p in tmp_path.rglob("*") if p.is_file()] == [name.split("/")[-1]]
    start = b"<?xml" if name.endswith("svg") else b"\x89PNG"
    assert (tmp_path / name).read_bytes().startswith(start)


def test_plot_without_gradient(tmp_path):
    pytest.importorskip("matplotlib")
    rows = [StepDiagnosis(**{**WELL, "gradient": g}) for g in (None, 0.0)]
    Diagnosis("net", 10, "mse", {}, rows, []).plot(tmp_path / "a.png")


def test_plot_needs_matplotlib(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    with pytest.raises(ImportError, match=r'pip install "keras-htaf\[cli\]"'):
        report(1).plot(tmp_path / "a.png")
