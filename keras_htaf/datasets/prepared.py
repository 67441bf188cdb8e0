"""Finding a prepared data set of TensorFlow Datasets, or preparing it."""

from __future__ import annotations

import difflib
import importlib.util
import os
import re
import subprocess
import sys
from typing import Any

import numpy as np

from keras_htaf.datasets import network
from keras_htaf.datasets.extras import require

PREPARE = (
    "import sys, tensorflow_datasets as tfds; "
    "tfds.builder(sys.argv[1], data_dir=sys.argv[2])"
    ".download_and_prepare(file_format='array_record')"
)


def find(
    name: str,
    data_dir: str | os.PathLike[str] | None,
    any_size: bool = False,
    download: bool = True,
) -> Any:
    """Returns the `tfds.core.DatasetBuilder` of a data set that is prepared on disk.

    Args:
        name: `"name"`, `"name/config"` or `"name/config:version"`.
        data_dir: Folder to search; None for TensorFlow Datasets' own. What is not there is
            downloaded to it.
        any_size: Whether its images may be of several sizes. Default False.
        download: Whether what is not there is downloaded; if not, only the disk is looked at.
            Default True.

    Returns:
        The builder; its features are one image and one integer label.

    Raises:
        ValueError: If there is no such data set, or its features are others.
        ConnectionError: If it is not there and nothing can be downloaded.
        FileNotFoundError: If it is not there and nothing shall be downloaded.
        RuntimeError: If preparing it failed.
        ImportError: If tensorflow-datasets, or for preparing tensorflow, is missing.
    """
    tfds = require("tensorflow_datasets", f"The data set {name!r}")
    require("array_record.python.array_record_data_source", f"The data set {name!r}")
    folder = os.path.expanduser(os.fspath(data_dir or tfds.core.constants.DATA_DIR))
    builder = _on_disk(name, folder)
    if builder is None:
        _check_known(name, folder, tfds.list_builders(with_community_datasets=False))
        if not download:
            raise FileNotFoundError(
                f"Data set {name!r} is not prepared in {folder} as array_record, and with "
                "download=False nothing is downloaded. Expected it there, or another data_dir."
            )
        if not network.reachable():
            raise ConnectionError(_offline_message(name, folder))
        # Before gigabytes are fetched for nothing.
        _check_features(name, tfds.builder(name, data_dir=folder).info.features, any_size)
        prepare(name, folder)
        builder = _on_disk(name, folder)
        if builder is None:
            raise RuntimeError(f"Data set {name!r} was prepared, but is not found in {folder}.")
    _check_features(name, builder.info.features, any_size)
    return builder


def prepare(name: str, data_dir: str) -> None:
    """Downloads and prepares a data set as array_record, in a process of its own.

    Preparing imports TensorFlow, which takes all memory of a GPU that it sees: in the caller's
    process it would starve another backend.

    Args:
        name: Name of the data set.
        data_dir: Folder to prepare it in.

    Raises:
        ImportError: If TensorFlow is missing.
        RuntimeError: If it failed; TensorFlow Datasets says why on standard error.
    """
    if importlib.util.find_spec("tensorflow") is None:
        raise ImportError(
            f"Preparing the data set {name!r} needs TensorFlow (reading it does not). Install it "
            'with: pip install "keras-htaf[tensorflow]", or prepare it elsewhere as array_record '
            "and pass its folder as data_dir."
        )
    done = subprocess.run(
        [sys.executable, "-c", PREPARE, name, data_dir],
        env={**os.environ, "CUDA_VISIBLE_DEVICES": "-1"},
        check=False,
    )
    if done.returncode != 0:
        raise RuntimeError(
            f"TensorFlow Datasets could not prepare {name!r} in {data_dir} (exit status "
            f"{done.returncode}); its own message is above."
        )


def _on_disk(name: str, folder: str) -> Any | None:
    # From its files, not its code: the code of some data sets imports TensorFlow, and only
    # prepares the newest version.
    from tensorflow_datasets.core import DatasetNotFoundError
    from tensorflow_datasets.core.read_only_builder import builder_from_files

    if not re.fullmatch(r"\w+([/:].+)?", name):
        return None
    try:
        return builder_from_files(name, data_dir=folder)
    except DatasetNotFoundError:
        return None


def _check_known(name: str, folder: str, registered: list[str]) -> None:
    base = re.split("[/:]", name)[0]
    if base in registered:
        return
    there = sorted(os.listdir(folder)) if os.path.isdir(folder) else []
    close = difflib.get_close_matches(base, {"digits", "shapes", *registered, *there}, n=5)
    hint = f" Did you mean {' or '.join(map(repr, close))}?" if close else ""
    raise ValueError(
        f'Unknown data set {name!r}; expected "digits", "shapes", the path of a .npz file, or the '
        f"name of a data set of TensorFlow Datasets or of one prepared in {folder}.{hint}"
    )


def _check_features(name: str, features: Any, any_size: bool = False) -> None:
    from tensorflow_datasets.core.features import FeaturesDict, Image

    fine = isinstance(features, FeaturesDict) and {"image", "label"} <= set(features.keys())
    if fine:
        image, label = features["image"], features["label"]
        fine = (
            isinstance(image, Image)
            and None not in image.shape[2 if any_size else 0 :]
            and np.dtype(image.np_dtype) == np.uint8
            and label.shape == ()
            and np.dtype(label.np_dtype).kind in "ui"
        )
    if not fine:
        raise ValueError(
            f"Data set {name!r} has the features {features}; expected an `image` (uint8, of one "
            "fixed size unless image_size is given) and an integer `label`. Give image_size, or "
            "choose another data set, or write its images and labels to a .npz file."
        )


def _offline_message(name: str, folder: str) -> str:
    return (
        f"Data set {name!r} is not prepared in {folder}, and it cannot be downloaded: no network "
        f"({network.HOST} was not reached within {network.SECONDS} s). Do one of:\n"
        f"- load({name!r}, data_dir=...) with a folder in which it is prepared as array_record;\n"
        "- prepare it where there is a network, and copy the folder, with\n"
        f'    python -c "import tensorflow_datasets as tfds; tfds.builder({name!r}, '
        "data_dir='data').download_and_prepare(file_format='array_record')\"\n"
        f"  or, if apache-beam is installed, tfds build {name} --file_format=array_record;\n"
        '- load("digits"): real images that come with scikit-learn.'
    )
