"""The measurement of start-up times."""

import runpy
from pathlib import Path

import pytest
from support import BACKEND

TOOL = Path(__file__).parents[2] / "tools" / "bench" / "start_up.py"


@pytest.mark.skipif(BACKEND != "torch", reason="what is measured is a process of its own")
def test_start_up():
    tool = runpy.run_path(str(TOOL))
    seconds = tool["start"]()
    assert set(tool["LIMITS"]) < set(seconds)
    assert seconds["keras-htaf --help"] > seconds["an empty process"] > 0
    assert seconds["import keras"] > seconds["keras_htaf beyond keras"] > 0
