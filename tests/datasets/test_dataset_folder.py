"""Folders of image files, and images that are brought to one size."""

from __future__ import annotations

import pickle
import shutil

import numpy as np
import pytest

from keras_htaf import datasets
from keras_htaf.datasets import prepared
from keras_htaf.datasets.resizing import fitted

Image = pytest.importorskip("PIL.Image")

COLOURS = {"blue": (0, 0, 255), "red": (255, 0, 0)}


@pytest.fixture
def folder(tmp_path):
    """Five images of each colour, each of another size."""

    def fill(root):
        for name, colour in COLOURS.items():
            (root / name).mkdir(parents=True)
            for i in range(5):
                Image.new("RGB", (6 + i, 8), colour).save(root / name / f"{i}.png")
            (root / name / "notes.txt").write_text("no image")
        return root

    return fill


def is_right(split):
    x, y = split.arrays()
    return np.array_equal(x[:, 0, 0, [2, 0]].argmax(axis=1), y)


def test_a_folder_of_classes_is_cut(folder, tmp_path):
    data = datasets.load(folder(tmp_path / "images"), image_size=(8, 4), validation=0.25)
    assert (data.class_names, data.image_shape) == (("blue", "red"), (8, 4, 3))
    assert [len(part) for part in (data.train, data.validation, data.test)] == [6, 2, 2]
    assert all(is_right(part) for part in (data.train, data.validation, data.test))
    again = pickle.loads(pickle.dumps(data.train))
    np.testing.assert_array_equal(again.arrays()[0], data.train.arrays()[0])


def test_what_is_hidden_is_no_class_and_no_image(folder, tmp_path):
    root = folder(tmp_path / "images")
    for name in (".git", "__MACOSX", "red/__MACOSX", "red/.ipynb_checkpoints"):
        shutil.copytree(root / "blue", root / name)
    (root / "red" / "._0.png").write_bytes(b"no image")
    data = datasets.load(root, image_size=(4, 4), validation=0)
    assert data.class_names == ("blue", "red")
    assert [len(data.train), len(data.test)] == [8, 2]
    assert is_right(data.train)


def test_a_class_without_images_to_train_on(folder, tmp_path):
    for part in ("train", "test"):
        folder(tmp_path / part)
    shutil.rmtree(tmp_path / "test" / "red")
    assert set(datasets.load(tmp_path, image_size=(4, 4)).test.labels) == {0}
    for root in (tmp_path, tmp_path / "train"):
        (tmp_path / "train" / "green").mkdir(exist_ok=True)
        with pytest.raises(ValueError, match=r"folders \['green'\] without images"):
            datasets.load(root, image_size=(4, 4))


def test_a_folder_with_parts(folder, tmp_path):
    for part in ("train", "val", "test"):
        folder(tmp_path / part)
    data = datasets.load(str(tmp_path), image_size=(4, 4))
    assert [len(part) for part in (data.train, data.validation, data.test)] == [10, 10, 10]
    assert is_right(data.validation)
    grain = pytest.importorskip("grain")
    stream = data.train.stream(4)
    assert isinstance(stream.dataset(), grain.IterDataset)
    assert [len(y) for _, y in stream] == [4, 4, 2]


def test_folders_that_do_not_fit(folder, tmp_path):
    root = folder(tmp_path / "images")
    with pytest.raises(ValueError, match=r"image of 8 x \d+ pixels.*Give image_size"):
        datasets.load(root).train.arrays()
    (root / "red" / "0.png").write_bytes(b"broken")
    every = datasets.load(root, image_size=(4, 4)).train.source
    with pytest.raises(ValueError, match=r"0.png' cannot be read as an image"):
        every.read(np.arange(10))
    shutil.copytree(root, tmp_path / "parts" / "train")
    shutil.copytree(root, tmp_path / "parts" / "test")
    (tmp_path / "parts" / "test" / "green").mkdir()
    with pytest.raises(ValueError, match=r"has the folders \['green'\], which are no classes"):
        datasets.load(tmp_path / "parts", image_size=(4, 4))
    (tmp_path / "empty").mkdir()
    with pytest.raises(ValueError, match="holds no images"):
        datasets.load(tmp_path / "empty")


@pytest.mark.parametrize("size", [(4,), (4, 0), 4, (4.5, 4), "44"])
def test_wrong_sizes(size):
    with pytest.raises(ValueError, match=r"image_size is .* expected"):
        datasets.load("mnist", image_size=size)


def test_arrays_are_not_resized():
    with pytest.raises(ValueError, match="image_size is given for 'digits'"):
        datasets.load("digits", image_size=(4, 4))


def test_the_largest_centred_cut_is_resized():
    image = np.zeros((4, 12, 1), np.uint8)
    image[:, 2:10] = 200  # the cut is 4:8, and the filter reaches two pixels beyond it
    found = fitted(image, (2, 2))
    assert found.shape == (2, 2, 1)
    assert (found == 200).all()
    assert fitted(image, (4, 12)) is image


def test_records_of_another_size(data_dir):
    data = datasets.load("cifar10", data_dir, image_size=(16, 24), normalize=None)
    raw = datasets.load("cifar10", data_dir, normalize=None)
    assert data.image_shape == (16, 24, 3)
    for small, whole in zip(data.test.images([3, 5]), raw.test.images([3, 5]), strict=True):
        np.testing.assert_array_equal(small, fitted(whole, (16, 24)))


def test_images_of_many_sizes_need_image_size():
    tfds = pytest.importorskip("tensorflow_datasets")
    features = tfds.features.FeaturesDict(
        {
            "image": tfds.features.Image(shape=(None, None, 3)),
            "label": tfds.features.ClassLabel(num_classes=3),
        }
    )
    prepared._check_features("photos", features, any_size=True)
    with pytest.raises(ValueError, match="Give image_size"):
        prepared._check_features("photos", features)
