"""`keras-htaf train icbm --distribute`."""

from __future__ import annotations

import json

import keras
import numpy as np
import pytest

from keras_htaf.cli import devices, experiment
from keras_htaf.cli.progress import Progress
from keras_htaf_cli.settings import Settings

SMALL = Settings(epochs=2, concepts=6, batch_size=400, width=4, alpha_end=8.0)


@pytest.mark.parametrize("wrong", ["0", "-2", "two", "2.0", "²"])
def test_what_it_refuses(wrong, tmp_path):
    with pytest.raises(ValueError, match="Expected auto, data, model or a number"):
        experiment.run(SMALL, tmp_path / "run", distribute=wrong)
    assert not (tmp_path / "run").exists()


def test_one_device_is_no_distribution():
    assert devices.processes(None) == devices.processes("1") == 1
    assert devices.across(None) is None
    assert devices.across("1") is None


def test_kernels_are_divided_over_several_devices(monkeypatch):
    if keras.config.backend() != "jax":
        with pytest.raises(ValueError, match=r"on the JAX backend only.*--distribute data"):
            devices.processes("model")
        return
    monkeypatch.setattr(devices.distribution, "device_count", lambda: 1)
    with pytest.raises(ValueError, match="one device"):
        devices.across("model")


def test_another_process_writes_elsewhere(tmp_path):
    class Other:
        chief = False
        waits = 0

        def barrier(self):
            self.waits += 1

    (tmp_path / "run" / "kept").mkdir(parents=True)
    (tmp_path / "run" / "kept" / "state").write_text("1")
    (tmp_path / "run" / "kept" / ".state.12").write_text("half")
    other = Other()
    with devices.folder_of(other, tmp_path / "run", "kept") as spare:
        assert (spare / "kept" / "state").read_text() == "1"
        assert not (spare / "kept" / ".state.12").exists()
        assert tmp_path not in spare.parents
        assert other.waits == 1
    assert not spare.exists()


@pytest.mark.parametrize(("rank", "said"), [("0", "error: no"), ("3", "error in process 3: no")])
def test_the_failure_of_any_process_is_told(rank, said, monkeypatch, capsys):
    def fails(message):
        raise ValueError(message)

    monkeypatch.setenv("RANK", rank)
    with pytest.raises(SystemExit):
        devices._told(fails, ["no"])
    assert capsys.readouterr().err == f"{said}\n"


@pytest.mark.skipif(keras.config.backend() != "torch", reason="torch starts processes by itself")
def test_a_run_is_resumed_on_other_devices(tmp_path, monkeypatch):
    whole = experiment.run(SMALL, tmp_path / "whole")
    fit = Progress.fit

    def interrupted(progress, *arguments, after_epoch, **options):
        epochs = []

        def stop(model):  # no callback: a resumed run must have those of the first
            after_epoch(model)
            epochs.append(len(epochs))
            if len(epochs) == 2:  # before this epoch's checkpoint
                raise KeyboardInterrupt

        return fit(progress, *arguments, after_epoch=stop, **options)

    with monkeypatch.context() as patch:
        patch.setattr(Progress, "fit", interrupted)
        with pytest.raises(KeyboardInterrupt):
            experiment.run(SMALL, tmp_path / "run")
    resumed = experiment.run(SMALL, tmp_path / "run", resume=True, distribute="2")
    assert json.loads((tmp_path / "run" / "metrics.json").read_text())["history"]
    for stage in ("icbm", "dense"):
        before = json.loads((tmp_path / "whole" / "metrics.json").read_text())["history"][stage]
        for key, values in resumed["history"][stage].items():
            np.testing.assert_allclose(values, before[key], rtol=0, atol=2e-3)
    assert abs(resumed["icbm_hard"] - whole["icbm_hard"]) < 0.02
