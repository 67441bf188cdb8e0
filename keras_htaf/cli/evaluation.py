"""The `evaluate` command, and the images that a saved model is looked at with."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import keras
import numpy as np
from rich.console import Console
from rich.table import Table

from keras_htaf import datasets, harden, load_model, soften
from keras_htaf.callbacks.gap import decide, measure_gap
from keras_htaf.cli import runfile
from keras_htaf.hardening import step_layers
from keras_htaf_cli.settings import Settings


def evaluate_file(
    model_file: Path, data: str | None, data_dir: str | None, normalize: str | None
) -> dict[str, float]:
    """Print and return the accuracy of a saved model on the test part of a data set.

    Arguments and errors as for `data_of`.
    """
    model = load_model(model_file)
    data, _, test, prepare = data_of(model_file, model, data, data_dir, normalize)
    x, y = test.arrays()
    x = prepare(x)
    if step_layers(model):
        measured = measure_gap(soften(model), harden(model), x, y)
    else:
        decisions = decide(model.predict(x, batch_size=256, verbose=0))
        measured = {"accuracy": float(np.mean(decisions == y))}
    console = Console()
    console.print(str(model_file), soft_wrap=True)
    table = Table("", f"{data}, test part")
    for name, value in measured.items():
        shown = f"{100 * value:.2f} points" if name == "gap" else f"{value:.2%}"
        table.add_row(name.replace("_", " "), shown)
    console.print(table)
    return measured


def data_of(
    model_file: Path,
    model: keras.Model,
    data: str | None,
    data_dir: str | None,
    normalize: str | None,
    download: bool = True,
) -> tuple[str, datasets.Dataset, datasets.Split, Callable[[np.ndarray], np.ndarray]]:
    """The data of a saved model: its name, the data set, its test part, and a map of its arrays to
    the input.

    Args:
        model_file: A `.keras` file.
        model: What it holds.
        data: Data set; `None`: what the run.json beside the model names, else digits.
        data_dir: Folder with prepared data; `None`: as in run.json.
        normalize: Normalisation; `None`: exactly the scale and offset of run.json, else "unit".
        download: As for `keras_htaf.datasets.load`, whose errors may come too. Default True.

    Raises:
        ValueError: If the images or classes are not the model's, or there is no test part.
    """
    trained, preprocessing = runfile.read(model_file.parent) or (Settings(), None)
    if data is None:
        data, data_dir = trained.data, data_dir or trained.data_dir
    as_trained = preprocessing if normalize is None else None
    dataset = datasets.load(
        data,
        data_dir,
        normalize=None if as_trained is not None else normalize or "unit",
        download=download,
    )
    if dataset.test is None:
        raise ValueError(f"{data!r} has no test part. Give x_test and y_test in the .npz file.")
    if tuple(model.input_shape[1:]) != dataset.image_shape:
        raise ValueError(
            f"{str(model_file)!r} takes images of shape {tuple(model.input_shape[1:])}, but "
            f"{data!r} has images of shape {dataset.image_shape}."
        )
    if model.output_shape[-1] != dataset.num_classes:
        raise ValueError(
            f"{str(model_file)!r} decides between {model.output_shape[-1]} classes, but {data!r} "
            f"has {dataset.num_classes}."
        )
    return data, dataset, dataset.test, as_trained or (lambda x: x)
