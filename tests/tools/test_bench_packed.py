"""The benchmarks of packed networks: their tables, and a start without Keras."""

import runpy
from pathlib import Path

import numpy as np
import pytest
from support import BACKEND

import keras_htaf
from keras_htaf import packed
from keras_htaf.cli.bench import Result

BENCH = Path(__file__).parents[2] / "tools" / "bench"
pytestmark = pytest.mark.skipif(BACKEND != "torch", reason="has nothing to do with Keras")


def result(name, seconds):
    wall = {1: [seconds, 3 * seconds], 64: [seconds]}
    return Result(name, 10**6, 0.5, None, wall, wall, {1: None, 64: 2 * 10**6}, 0.25, 0.5)


def test_times_are_those_of_the_packed_model():
    rows = runpy.run_path(str(BENCH / "packed_models.py"))["rows"]
    both = [result("onnx int8", 0.002), result("packed", 0.001)]
    lines = list(rows(both, 1, "float", 4 * 10**6))
    assert lines[0] == (
        "| float | 1 | 1 | onnx int8 | 2 | 4 | 2 | 2 | 1 (4) |  () | 0.50 | 0.25 | 50 % |"
    )
    assert "| nan |" in next(rows(both[:1], 1, "float", 4 * 10**6))


def test_a_start_without_keras(tmp_path):
    model = keras_htaf.models.binary_mlp((4,), 2, width=8, depth=2)
    packed.pack(keras_htaf.harden(model)).save(tmp_path / "model.khtaf")
    tool = runpy.run_path(str(BENCH / "packed_start.py"))
    seconds = tool["start"](tmp_path / "model.khtaf")
    assert seconds.shape == (2, 3)
    assert (np.diff(seconds[0]) > 0).all()
    assert (seconds > 0).all()
