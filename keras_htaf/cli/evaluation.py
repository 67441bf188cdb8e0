"""The `evaluate` command."""

from __future__ import annotations

from pathlib import Path

from rich.console import Console
from rich.table import Table

from keras_htaf import datasets, harden, load_model, soften
from keras_htaf.callbacks.gap import measure_gap
from keras_htaf.cli import runfile


def evaluate_file(
    model_file: Path, data: str, data_dir: Path | None, normalize: str | None
) -> dict[str, float]:
    """Print and return the accuracy of a saved model on the test part of a data set.

    Raises:
        ValueError: If the images are not of the model's shape, the model has no step layer, or
            the data set has no test part.
    """
    model = load_model(model_file)
    content = runfile.read(model_file.parent)
    if normalize is None and content is not None:
        normalize = content["settings"]["normalize"]
    dataset = datasets.load(data, data_dir, normalize=normalize or "unit")
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
    measured = measure_gap(soften(model), harden(model), x, y)
    table = Table("", f"{data} test", title=str(model_file))
    for name, value in measured.items():
        table.add_row(name.replace("_", " "), f"{value:.2%}")
    Console().print(table)
    return measured
