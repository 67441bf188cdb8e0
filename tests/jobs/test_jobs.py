"""Jobs on a local cluster of two workers: the numbers of one process."""

from __future__ import annotations

import os
import runpy
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import keras
import numpy as np
import pytest

from keras_htaf import datasets, interpret, jobs, models
from keras_htaf.files import write_json
from keras_htaf.jobs import results, running, sources, tasks

pytest.importorskip("ray.data")
parquet = pytest.importorskip("pyarrow.parquet")

pytestmark = pytest.mark.skipif(
    keras.config.backend() != "torch", reason="each worker imports its backend; torch is soonest"
)
EXAMPLE = Path(__file__).parents[2] / "examples" / "concepts_on_ray.py"
SIZE = {"batch_size": 32, "workers": 2}


@pytest.fixture(scope="module")
def ray():
    """A cluster of this machine with room for two workers."""
    import ray

    # Sockets lie in it, whose paths may have a hundred characters: too few for pytest's folder.
    folder = tempfile.mkdtemp(prefix="r")
    patch = pytest.MonkeyPatch()
    patch.setenv("RAY_TMPDIR", folder)
    patch.setenv("RAY_USAGE_STATS_ENABLED", "0")
    patch.setenv("RAY_worker_niceness", "0")  # else anything else that runs holds the workers up
    # Workers find these missing: Keras imports what there is of them, a third of a worker's time.
    for name in ("tensorflow", "sklearn", "matplotlib"):
        Path(folder, f"{name}.py").write_text("raise ImportError(__name__)")
    patch.setenv("PYTHONPATH", folder, prepend=os.pathsep)
    ray.init(
        num_cpus=2,
        include_dashboard=False,
        log_to_driver=False,
        object_store_memory=100 * 2**20,
    )
    ray.data.DataContext.get_current().enable_progress_bars = False
    yield ray
    ray.shutdown()
    patch.undo()
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="module")
def digits():
    return datasets.load("digits")


@pytest.fixture(scope="module")
def model(digits):
    keras.utils.set_random_seed(2)
    return models.icbm(models.small_cnn(digits.image_shape, width=4), num_concepts=11)


def assert_same(found, expected):
    for name in ("bits", "labels", "z", "smooth", "weights", "bias"):
        mine, theirs = getattr(found, name), getattr(expected, name)
        np.testing.assert_array_equal(mine, theirs, err_msg=name)
    assert found.concept_names == expected.concept_names
    assert found.class_names == expected.class_names


def test_an_analysis_is_that_of_one_process(ray, tmp_path, monkeypatch):
    folder, ended = tmp_path / "bits", subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    (tmp_path / f".bits.{ended.pid}").mkdir()  # as a job that was killed leaves it
    monkeypatch.setattr(sys, "argv", [str(EXAMPLE), "--folder", str(folder), "--epochs", "2"])
    scope = runpy.run_path(str(EXAMPLE), run_name="__main__")
    model, data, analysis = (scope[name] for name in ("model", "data", "analysis"))
    expected = interpret.analyze(model, *data.test.arrays(), batch_size=64)
    assert_same(analysis.codes, expected.codes)
    assert analysis.health.to_dict() == expected.health.to_dict()
    assert analysis.code.to_dict() == expected.code.to_dict()
    assert analysis.certified.to_dict() == expected.certified.to_dict()
    np.testing.assert_array_equal(analysis.flip_radii, expected.flip_radii)
    assert analysis.summary() == expected.summary()
    again = jobs.load(folder)
    assert_same(again.codes(), expected.codes)
    assert again.column("bits").shape == (len(data.test), 2)
    assert len(list(folder.glob("*.parquet"))) > 1
    assert [path.name for path in tmp_path.iterdir()] == ["bits"]
    next(folder.glob("*.parquet")).unlink()
    with pytest.raises(ValueError, match=r"rows, .* different, of 359 images"):
        jobs.load(folder).codes()


@pytest.mark.slow
def test_predictions_on_ray(ray, model, digits, tmp_path):
    model.save(tmp_path / "model.keras")
    found = jobs.predict(tmp_path / "model.keras", digits.test, path=tmp_path / "found", **SIZE)
    x, y = digits.test.arrays()
    expected = model.predict(x, batch_size=32, verbose=0)
    np.testing.assert_array_equal(found.column("output"), expected)
    np.testing.assert_array_equal(found.column("decision"), expected.argmax(axis=1))
    np.testing.assert_array_equal(found.column("label"), y)


@pytest.mark.slow
def test_a_dataset_of_rays_own(ray, model, digits, tmp_path):
    x, y = digits.test.arrays(limit=50)
    rows = [{"picture": image, "class": int(label)} for image, label in zip(x, y, strict=True)]
    data, names = ray.data.from_items(rows), ("picture", "class")
    found = jobs.bits(model, data, path=tmp_path / "bits", columns=names, **SIZE)
    codes, expected = found.codes(), interpret.collect(model, x, y, batch_size=32)
    order, theirs = (np.lexsort([c.labels, *c.bits.T]) for c in (codes, expected))
    np.testing.assert_array_equal(codes.bits[order], expected.bits[theirs])
    np.testing.assert_array_equal(codes.labels[order], expected.labels[theirs])
    assert codes.z is None


@pytest.mark.slow
def test_what_is_wrong_in_a_worker_is_said_here(ray, model, digits, tmp_path):
    x, y = digits.test.arrays(limit=40)
    x[35] = np.nan
    with pytest.raises(ValueError, match=r"The concept logits of x\[3\] are NaN or infinite"):
        jobs.bits(model, x, y, path=tmp_path / "bits", **SIZE)
    assert not list(tmp_path.iterdir())


def test_what_a_worker_said_is_found_in_rays_words():
    def work(text):
        raise RuntimeError(text)

    text = "ray::Worker\n  raise\nValueError: this was received,\nthat expected\n\nThe above ..."
    with pytest.raises(ValueError, match=r"^this was received,\nthat expected$"):
        running.in_words(lambda: work(text))
    with pytest.raises(RuntimeError, match="no memory"):
        running.in_words(lambda: work("no memory"))


CORES, WITH_GPU = {"CPU": 16.0}, {"CPU": 16.0, "GPU": 1.0}


@pytest.mark.parametrize(
    ("machines", "cpus", "gpus", "reading", "workers"),
    [
        ([CORES], 1, 0, False, 16),
        ([CORES], 0.5, 0, False, 32),
        ([{"CPU": 1.0}], 0.1, 0, False, 10),
        ([CORES], 3, 0, False, 5),
        ([CORES], 0, 0, False, 16),
        ([WITH_GPU], 1, 1, False, 1),
        ([WITH_GPU], 0.5, 0.25, False, 4),
        ([WITH_GPU], 0, 0.5, False, 2),
        ([WITH_GPU, CORES, {"CPU": 2.0, "GPU": 8.0}], 1, 1, False, 3),
        ([{"CPU": 3.0}, {"CPU": 3.0}], 2, 0, False, 2),
        ([CORES], 1, 0, True, 15),
        ([CORES], 3, 0, True, 5),  # of which one core is left
        ([CORES], 0.5, 0, True, 30),
        ([{"CPU": 2.0}, {"CPU": 3.0}], 2, 0, True, 2),
        ([WITH_GPU], 1, 1, True, 1),
        ([{"CPU": 1.0}], 1, 0, True, 1),
    ],
)
def test_as_many_workers_as_there_is_room_for(machines, cpus, gpus, reading, workers):
    assert running.fitting(machines, cpus, gpus, reading=reading) == workers


def test_workers_without_room():
    message = r"cpus=1 and gpus=1 .*machines have \[\{'CPU': 16.0, 'GPU': 0\}\].*workers="
    with pytest.raises(ValueError, match=message):
        running.fitting([CORES], 1, 1, reading=False)
    with pytest.raises(ValueError, match="cpus=4"):
        running.fitting([{"CPU": 2.0}, {"CPU": 2.0}], 4, 0, reading=False)


def worker(ray, model, source, task):
    """One that works here."""
    references = ray.put(tasks.archive(model)), ray.put(source)
    return running.Worker(*references, task, keras.config.floatx())


def write(folder, tables, about):
    folder.mkdir()
    for i, table in enumerate(tables):
        parquet.write_table(table, folder / f"{i}.parquet")
    write_json(folder / results.ABOUT, about)
    return jobs.load(folder)


def test_what_workers_write_is_read_in_order(ray, model, digits, tmp_path):
    x, y = digits.test.arrays(limit=70)
    at_work = worker(ray, model, sources.Rows(x, y, 32), tasks.Predictions(True))
    batches = [at_work({"item": np.array([i])}) for i in (2, 0, 1)]
    about = {"job": "predict", "samples": 70, "output_shape": [10]}
    found = write(tmp_path / "found", batches, about)
    assert found.columns == ("row", "label", "output", "decision")
    expected = model.predict(x, batch_size=32, verbose=0)
    np.testing.assert_array_equal(found.column("output"), expected)
    np.testing.assert_array_equal(found.column("decision"), expected.argmax(axis=1))
    np.testing.assert_array_equal(found.column("label"), y)
    with pytest.raises(ValueError, match="no column 'bits', but"):
        found.column("bits")
    with pytest.raises(ValueError, match=r"Expected bits, as jobs\.bits"):
        found.codes()
    found = write(tmp_path / "twice", [batches[0], batches[1], batches[1]], about)
    with pytest.raises(ValueError, match="70 rows, 38 of them different, of 70 images"):
        found.column("label")


def test_columns_of_a_ray_dataset(ray, model, digits):
    x, y = digits.test.arrays(limit=9)
    at_work = worker(ray, model, sources.Columns("image", "class"), tasks.Bits(False, {}))
    table = at_work({"image": x, "class": y})
    assert table.column_names == ["label", "bits"]
    found = results._array(table["bits"].combine_chunks())
    np.testing.assert_array_equal(found, interpret.collect(model, x).packed)
    ragged = np.empty(2, object)
    ragged[:] = [x[0], x[0][:4]]
    with pytest.raises(ValueError, match=r"images of the shapes \[\(4, 8, 1\), \(8, 8, 1\)\]"):
        at_work({"image": ragged, "class": y[:2]})


def test_outputs_that_are_not_finite(ray, digits):
    model = keras.Sequential([keras.Input((8, 8, 1)), keras.layers.Flatten()])
    x, _ = digits.test.arrays(limit=3)
    x[1] = np.nan
    at_work = worker(ray, model, sources.Rows(x, None, 3), tasks.Predictions(True))
    with pytest.raises(ValueError, match="gives for image 1 of a batch is NaN or infinite"):
        at_work({"item": np.array([0])})


def test_wrong_arguments(ray, model, digits, tmp_path):
    x, y = digits.test.arrays(limit=4)
    (tmp_path / "mine.txt").write_text("not a job's")
    for arguments, message in (
        ((model, x, y), "holds something that no job wrote"),
        ((model, x, y[:3]), "4 images and 3 labels"),
        ((model, digits.test, y), "Received y beside a split"),
        ((model, "digits"), "Expected a split of"),
        ((3, x), "Received a model of type int"),
    ):
        with pytest.raises(ValueError, match=message):
            jobs.predict(*arguments, path=tmp_path)
    data = ray.data.from_items([{"picture": image} for image in x])
    for arguments, options, message in (
        ((model, data), {}, r"no column 'image', but \['picture'\]"),
        ((model, data, y), {}, "Received y beside a Ray Dataset"),
        ((model, x), {"concepts": "bits"}, "has no layer 'bits'"),
        ((model, x), {"batch_size": 0}, "batch_size=0"),
        ((model, x), {"workers": 0}, "workers=0"),
        ((model, x), {"cpus": -1}, "cpus=-1. Expected a number >= 0"),
        ((model, x), {"cpus": float("nan")}, "cpus=nan"),
        ((model, x), {"gpus": True}, "gpus=True"),
        ((model, x), {"gpus": "1"}, "gpus='1'"),
        ((model, x), {"gpus": 1e-5}, "gpus=1e-05"),
        ((model, x), {"gpus": 1}, "Received cpus=1 and gpus=1 for each worker"),
    ):
        with pytest.raises(ValueError, match=message):
            jobs.bits(*arguments, path=tmp_path / "bits", **options)
    with pytest.raises(ValueError, match="Received no labels"):
        jobs.analyze(model, x, path=tmp_path / "bits")
    with pytest.raises(ValueError, match="Received attributes beside a Ray Dataset"):
        jobs.analyze(
            model, data, attributes=np.ones((4, 1)), path=tmp_path, columns=("picture", "picture")
        )
    with pytest.raises(ValueError, match="outputs=False for a model whose outputs have shape"):
        jobs.predict(keras.Model(model.inputs, model.inputs), x, path=tmp_path, outputs=False)
    with pytest.raises(ValueError, match="holds no results of a job"):
        jobs.load(tmp_path)
    assert (tmp_path / "mine.txt").exists()
