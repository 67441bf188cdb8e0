"""The `evaluate` command."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from rich.console import Console
from rich.table import Table

from keras_htaf import datasets, harden, load_model, soften
from keras_htaf.callbacks.gap import decide, measure_gap
from keras_htaf.cli import runfile
from keras_htaf.cli.settings import Settings
from keras_htaf.hardening import step_layers


def evaluate_file(
    model_file: Path, data: str | None, data_dir: str | None, normalize: str | None
) -> dict[str, float]:
    """Print and return the accuracy of a saved model on the test part of a data set.

    Args:
        model_file: A `.keras` file.
        data: Data set; `None`: what the run.json beside the model names, else digits.
        data_dir: Folder with prepared data; `None`: as in run.json.
        normalize: Normalisation; `None`: exactly the scale and offset of run.json, else "unit".

    Raises:
        ValueError: If the images or classes are not the model's, or there is no test part.
    """
    model = load_model(model_file)
    trained, preprocessing = runfile.read(model_file.parent) or (Settings(), None)
    if data is None:
        data, data_dir = trained.data, data_dir or trained.data_dir
    as_trained = preprocessing if normalize is None else None
    dataset = datasets.load(
        data, data_dir, normalize=None if as_trained is not None else normalize or "unit"
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
    x, y = dataset.test.arrays()
    x = x if as_trained is None else as_trained(x)
    if step_layers(model):
        measured = measure_gap(soften(model), harden(model), x, y)
    else:
        decisions = decide(model.predict(x, batch_size=256, verbose=0))
        measured = {"accuracy": float(np.mean(decisions == y))}
    console = Console()
    console.print(str(model_file), soft_wrap=True)
    table = Table("", f"{data}, test part")
    for name, value in measured.items():
        table.add_row(name.replace("_", " "), f"{value:.2%}")
    console.print(table)
    return measured
