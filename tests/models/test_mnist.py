"""The accuracy that the results page states, within the epochs it states."""

import json
import os
from pathlib import Path

import pytest

from keras_htaf.cli.experiment import run
from keras_htaf_cli.settings import Settings

DATA = os.environ.get(
    "KERAS_HTAF_DATA_DIR", str(Path(__file__).parents[3] / "shared" / "tensorflow_datasets")
)


@pytest.mark.slow
@pytest.mark.timeout(3600)
@pytest.mark.skipif(not Path(DATA, "mnist").is_dir(), reason="MNIST is not prepared")
def test_mnist_in_five_epochs(tmp_path):
    run(Settings(data="mnist", data_dir=DATA, epochs=5), tmp_path)
    metrics = json.loads((tmp_path / "metrics.json").read_text())
    assert metrics["icbm_hard"] >= 0.988
    assert metrics["gap"] <= 0.003
