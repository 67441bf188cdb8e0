"""TensorFlow Datasets: reading without TensorFlow, preparing, and what is said if that fails."""

from __future__ import annotations

import subprocess
import sys
import time
from types import SimpleNamespace

import keras
import numpy as np
import pytest

from keras_htaf import datasets
from keras_htaf.datasets import prepared
from keras_htaf.datasets import tfds as room


@pytest.fixture(scope="module")
def mnist(data_dir):
    return datasets.load("mnist", data_dir)


def test_mnist_opens_with_its_parts(mnist):
    assert (len(mnist.train), len(mnist.validation), len(mnist.test)) == (54000, 6000, 10000)
    assert mnist.image_shape == (28, 28, 1)
    assert mnist.class_names == tuple("0123456789")
    rows = np.concatenate([mnist.train.rows, mnist.validation.rows])
    np.testing.assert_array_equal(np.sort(rows), np.arange(60000))


def test_cifar10_has_names_and_colours(data_dir):
    data = datasets.load("cifar10", data_dir, validation=0)
    assert data.validation is None
    assert data.image_shape == (32, 32, 3)
    assert data.class_names[:2] == ("airplane", "automobile")
    x, y = data.test.arrays(limit=200)
    assert x.shape == (200, 32, 32, 3)
    assert 0 <= x.min() < x.max() <= 1
    assert set(y) <= set(range(10))


def test_rows_are_those_of_tfds(data_dir, mnist):
    import tensorflow_datasets as tfds

    source = tfds.data_source("mnist", split="test", data_dir=data_dir, download=False)
    indices = np.array([9000, 0, 17])
    expected = source.__getitems__(indices.tolist())
    images = mnist.test.images(indices)
    np.testing.assert_array_equal(images, [record["image"] for record in expected])
    x, y = mnist.test.read(indices)
    np.testing.assert_array_equal(x, images.astype("float32") * np.float32(1 / 255))
    np.testing.assert_array_equal(y, [record["label"] for record in expected])


def test_each_image_is_decoded_once_if_all_fit(data_dir, monkeypatch):
    split = datasets.load("mnist", data_dir).test
    decoded = []
    decode = room.RecordSource._decode
    monkeypatch.setattr(
        room.RecordSource, "_decode", lambda self, rows: decoded.extend(rows) or decode(self, rows)
    )
    first = split.images([3, 1, 3])
    again = split.images([1, 2])
    assert decoded == [1, 3, 2]
    np.testing.assert_array_equal(first[1], again[0])


def test_large_sets_are_not_kept(data_dir, monkeypatch, mnist):
    monkeypatch.setattr(room, "_KEEP_BYTES", 1000)
    split = datasets.load("mnist", data_dir).test
    assert split.source._images is None
    for mine, kept in zip(split.arrays(limit=50), mnist.test.arrays(limit=50), strict=True):
        np.testing.assert_array_equal(mine, kept)


def test_labels_alone_agree_with_decoded_ones(data_dir, mnist):
    labels = datasets.load("mnist", data_dir).test.labels
    assert labels.dtype == np.int32
    assert len(labels) == 10000
    np.testing.assert_array_equal(labels[:300], mnist.test.arrays(limit=300)[1])


def test_seed_moves_only_the_validation_cut(data_dir, mnist):
    other = datasets.load("mnist", data_dir, seed=1)
    assert not np.array_equal(other.validation.rows, mnist.validation.rows)
    np.testing.assert_array_equal(other.test.rows, mnist.test.rows)


def test_batches_train(mnist):
    model = keras.Sequential(
        [keras.Input((28, 28, 1)), keras.layers.Flatten(), keras.layers.Dense(10)]
    )
    model.compile("sgd", keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    part = datasets.Split(mnist.train.source, mnist.train.rows[:200], mnist.preprocessing)
    history = model.fit(part.batches(50, shuffle=True, augment="shift_flip"), verbose=0)
    assert np.isfinite(history.history["loss"][0])


def test_importing_stays_light_and_reading_needs_no_tensorflow(data_dir):
    # keras imports the top of sklearn by itself, so look for what only the digits need.
    code = (
        "import sys\n"
        "from keras_htaf import datasets\n"
        "assert not {'sklearn.datasets', 'tensorflow_datasets'} & set(sys.modules)\n"
        "data = datasets.load('mnist', sys.argv[1])\n"
        "data.train.batches(8, shuffle=True)[0], data.test.arrays(limit=10)\n"
        "assert sys.argv[2] == 'tensorflow' or 'tensorflow' not in sys.modules\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(data_dir), keras.backend.backend()],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr


@pytest.mark.usefixtures("offline")
def test_offline_fails_at_once_and_says_what_to_do(tmp_path):
    pytest.importorskip("tensorflow_datasets")
    start = time.perf_counter()
    with pytest.raises(ConnectionError) as caught:
        datasets.load("fashion_mnist", tmp_path)
    assert time.perf_counter() - start < 1
    message = str(caught.value)
    for part in ("fashion_mnist", str(tmp_path), "no network", "array_record", '"digits"'):
        assert part in message


def test_without_downloads_only_the_disk_is_looked_at(tmp_path, monkeypatch):
    pytest.importorskip("tensorflow_datasets")
    tried = []
    monkeypatch.setattr(prepared, "prepare", lambda *args: tried.append(args))
    monkeypatch.setattr(prepared.network, "reachable", lambda: tried.append("network"))
    with pytest.raises(FileNotFoundError, match=r"'fashion_mnist' is not prepared in .*False"):
        datasets.load("fashion_mnist", tmp_path, download=False)
    assert not tried
    for wrong in (None, "no", 0):
        with pytest.raises(ValueError, match=r"download is .*expected True"):
            datasets.load("digits", download=wrong)


def test_what_is_on_disk_needs_no_download(data_dir):
    assert len(datasets.load("mnist", data_dir, download=False).test) == 10000


@pytest.mark.usefixtures("offline")
@pytest.mark.parametrize(("name", "close"), [("minst", "mnist"), ("digitz", "digits")])
def test_unknown_name_gives_close_matches(name, close, tmp_path):
    pytest.importorskip("tensorflow_datasets")
    with pytest.raises(ValueError, match=f"Unknown data set '{name}'.*'{close}'"):
        datasets.load(name, tmp_path)


@pytest.mark.parametrize("name", ["", "../mnist", "huggingface:mnist", "no such name"])
def test_odd_names_are_unknown(name, tmp_path):
    pytest.importorskip("tensorflow_datasets")
    with pytest.raises(ValueError, match="Unknown data set"):
        datasets.load(name, tmp_path)


def test_other_features_are_named(tmp_path):
    tfds = pytest.importorskip("tensorflow_datasets")
    sizes = tfds.features.FeaturesDict(
        {"image": tfds.features.Image(shape=(None, None, 3)), "label": tfds.features.Text()}
    )
    for features in (sizes, tfds.features.FeaturesDict({"text": tfds.features.Text()})):
        with pytest.raises(ValueError, match=r"(?s)has the features FeaturesDict.*expected an"):
            prepared._check_features("other", features)


class Records(list):
    def __getitems__(self, rows):
        return [self[row] for row in rows]


@pytest.mark.parametrize(
    ("labels", "sizes"),
    [
        ({"train": 1, "validation": 2, "test": -1}, [9, 1, 2]),
        ({"train": 1, "test": -1}, [7, 1, 2]),
        ({"train": 1, "validation": 2, "test": 0}, [9, 1, 3]),
    ],
)
def test_a_test_part_without_labels_is_passed_over(labels, sizes, monkeypatch):
    pytest.importorskip("tensorflow_datasets")
    counts = {"train": 10, "validation": 2, "test": 3}
    info = SimpleNamespace(
        features={
            "image": SimpleNamespace(shape=(2, 2, 1)),
            "label": SimpleNamespace(num_classes=3, names=["a", "b", "c"]),
        },
        splits={name: SimpleNamespace(num_examples=counts[name]) for name in labels},
    )

    def opened(split, decoders=None):
        record = {"image": np.zeros((2, 2, 1), np.uint8), "label": np.int64(labels[split])}
        return Records([record] * counts[split])

    builder = SimpleNamespace(name="withheld", info=info, as_data_source=opened)
    monkeypatch.setattr(room, "find", lambda *args, **kwargs: builder)
    data = datasets.load("withheld")
    assert [len(part) for part in (data.train, data.validation, data.test)] == sizes
    assert (data.test.labels >= 0).all()


SQUARES = """
import numpy as np
import tensorflow_datasets as tfds


class HtafSquares(tfds.core.GeneratorBasedBuilder):
    VERSION = tfds.core.Version("1.0.0")

    def _info(self):
        features = {
            "image": tfds.features.Image(shape=(6, 5, 3)),
            "label": tfds.features.Scalar(np.int64),
        }
        return tfds.core.DatasetInfo(builder=self, features=tfds.features.FeaturesDict(features))

    def _split_generators(self, dl_manager):
        return {"train": self._generate_examples()}

    def _generate_examples(self):
        for i in range(40):
            yield i, {"image": np.full((6, 5, 3), i, np.uint8), "label": i % 4}
"""


def test_preparing_writes_what_can_be_read(tmp_path, monkeypatch):
    """A data set that makes its own images: only the probe is told that there is a network."""
    pytest.importorskip("tensorflow_datasets")
    pytest.importorskip("tensorflow")
    package = tmp_path / "code" / "htaf_squares"
    package.mkdir(parents=True)
    (package / "__init__.py").write_text(SQUARES)
    monkeypatch.syspath_prepend(package.parent)
    monkeypatch.setenv("PYTHONPATH", str(package.parent))
    __import__("htaf_squares")  # Registers it here, and in the other process, by the same import:
    monkeypatch.setattr(prepared, "PREPARE", "import htaf_squares; " + prepared.PREPARE)
    monkeypatch.setattr(prepared.network, "reachable", lambda: True)

    data = datasets.load("htaf_squares", tmp_path / "data", normalize=None)

    assert list(tmp_path.glob("data/htaf_squares/1.0.0/*array_record*"))
    assert (data.image_shape, data.class_names) == ((6, 5, 3), tuple("0123"))
    assert [len(data.train), len(data.validation), len(data.test)] == [29, 3, 8]
    for part in (data.train, data.validation, data.test):
        x, y = part.arrays()
        np.testing.assert_array_equal(x[:, 0, 0, 0] % 4, y)


def test_a_failed_preparation_is_an_error(tmp_path, monkeypatch):
    pytest.importorskip("tensorflow")
    monkeypatch.setattr(prepared, "PREPARE", "raise SystemExit(3)")
    with pytest.raises(RuntimeError, match="exit status 3"):
        prepared.prepare("mnist", str(tmp_path))


def test_other_file_formats_are_refused(data_dir, tmp_path):
    folder = tmp_path / "mnist" / "3.0.1"
    folder.mkdir(parents=True)
    for name in ("dataset_info.json", "features.json"):
        text = (data_dir / "mnist" / "3.0.1" / name).read_text()
        (folder / name).write_text(text.replace("array_record", "tfrecord"))
    with pytest.raises(ValueError, match=r"as tfrecord.*expected array_record"):
        datasets.load("mnist", tmp_path)
