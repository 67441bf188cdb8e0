"""What the tests of the data sets share."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest

from keras_htaf import datasets

_ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="session")
def data_dir():
    """The folder with prepared TFDS data; tests that need it are skipped without it."""
    pytest.importorskip("tensorflow_datasets")
    default = _ROOT.parent / "shared" / "tensorflow_datasets"
    folder = Path(os.environ.get("KERAS_HTAF_DATA_DIR", default))
    if not (folder / "mnist").is_dir():
        pytest.skip(f"no prepared data in {folder}")
    return folder


@pytest.fixture(scope="session")
def digits():
    return datasets.load("digits")


@pytest.fixture
def save(tmp_path):
    """Writes arrays to a new .npz file and returns its path."""

    def write(**arrays):
        path = tmp_path / "data.npz"
        np.savez(path, **arrays)
        return path

    return write


@pytest.fixture
def rng():
    return np.random.default_rng(7)


@pytest.fixture
def offline(monkeypatch):
    """A network that refuses every connection, also where the machine has one."""
    monkeypatch.setenv("https_proxy", "http://127.0.0.1:9")
    monkeypatch.setenv("no_proxy", "")
