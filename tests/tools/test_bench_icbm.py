"""The benchmark of concept models: it runs, resumes, and reports what it measured."""

import json
import sys
from pathlib import Path

import keras
import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).parents[2] / "tools" / "bench"))

import icbm
from icbm_networks import BACKBONES

RUN = ["--epochs", "1", "--images", "128", "--test-images", "64", "--concepts", "8"]


@pytest.mark.parametrize(
    ("name", "shape"),
    [
        ("small_cnn", (8, 8, 1)),
        ("resnet", (28, 28, 1)),
        ("mobilenet", (8, 8, 1)),
        ("mobilenet", (28, 28, 1)),
        ("vit", (32, 32, 3)),
    ],
)
def test_each_backbone_gives_maps_of_a_model_that_can_be_rebuilt(name, shape):
    backbone = BACKBONES[name](shape)
    assert len(backbone.output_shape) == 4
    assert min(backbone.output_shape[1:3]) >= 4
    again = keras.Model.from_config(backbone.get_config())
    assert again.count_params() == backbone.count_params() < 150_000


def test_it_runs_resumes_and_reports(tmp_path, capsys):
    command = ["run", *RUN, "--data", "shapes", "--backbones", "small_cnn", "--out", str(tmp_path)]
    icbm.main(command)
    assert "dense" in capsys.readouterr().out
    icbm.main(command)
    assert capsys.readouterr().out == ""
    (file,) = tmp_path.glob("*.jsonl")
    (result,) = [json.loads(line) for line in file.read_text("utf-8").splitlines()]
    assert result["gap"] == pytest.approx(result["smooth"] - result["hard"])
    assert result["necs"] == [5]
    assert len(result["random_pixels"]) == 2
    assert np.isfinite(result["effective_bits"])
    icbm.main(["report", "--out", str(tmp_path)])
    text = (tmp_path / "report.md").read_text("utf-8")
    assert f"| shapes | small_cnn | {result['dense']:.2f} | {result['smooth']:.2f} |" in text
    assert "| small_cnn | per class |" in text
    assert "| small_cnn: random bits of pixels |" in text.split("## Purity")[1]
    assert "circle" in text


def test_nothing_there_and_an_unknown_backbone_are_said(tmp_path):
    with pytest.raises(SystemExit, match="No results"):
        icbm.main(["report", "--out", str(tmp_path)])
    with pytest.raises(SystemExit, match="No backbone"):
        icbm.main(["run", "--backbones", "alexnet", "--out", str(tmp_path)])
