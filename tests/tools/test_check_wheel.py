"""What is released: the wheel's files and metadata (`make wheel` installs and uses it)."""

import re
import runpy
import tomllib
from pathlib import Path

import pytest
from support import BACKEND

import keras_htaf

ROOT = Path(__file__).parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))

pytestmark = pytest.mark.skipif(BACKEND != "torch", reason="has nothing to do with Keras")


def test_the_version_is_in_one_place():
    assert "version" not in PROJECT["project"]
    assert PROJECT["tool"]["hatch"]["version"]["path"] == "keras_htaf/__init__.py"
    files = [*ROOT.glob("keras_htaf*/**/*.py"), ROOT / "pyproject.toml"]
    holders = [f for f in files if f'"{keras_htaf.__version__}"' in f.read_text(encoding="utf-8")]
    assert holders == [ROOT / "keras_htaf/__init__.py"]


def test_extras_that_errors_name_are_there():
    extras = set(PROJECT["project"]["optional-dependencies"])
    for file in ROOT.glob("keras_htaf*/**/*.py"):
        named = re.findall(r"keras-htaf\[(\w+)\]", file.read_text(encoding="utf-8"))
        assert set(named) <= extras, file


def test_direct_dependencies_are_pinned():
    pinned = re.findall(r"^([\w-]+)==", (ROOT / "constraints.txt").read_text(), re.MULTILINE)
    extras = PROJECT["project"]["optional-dependencies"].values()
    every = [*PROJECT["project"]["dependencies"], *(one for extra in extras for one in extra)]
    names = {re.match(r"[\w-]+", one)[0].lower() for one in every} - {"keras-htaf"}
    assert names <= set(pinned)


def test_wheel(tmp_path, monkeypatch):
    hatchling = pytest.importorskip("hatchling.builders.wheel")
    monkeypatch.chdir(tmp_path)
    (wheel,) = hatchling.WheelBuilder(str(ROOT)).build(directory=str(tmp_path))
    tool = runpy.run_path(str(ROOT / "tools" / "check_wheel.py"))
    assert " extras" in tool["check_contents"](Path(wheel))
