"""The `explain` command: the report of a saved concept model."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
from rich.console import Console

from keras_htaf import load_model
from keras_htaf.cli.evaluation import data_of
from keras_htaf.files import check_writable
from keras_htaf.interpret import ConceptAnalysis, analyze
from keras_htaf.interpret.packages import REPORT, needs
from keras_htaf.interpret.report.charts import gap_chart

NAMES = "names.json"
_MOST_TRAINING_IMAGES = 20_000


def explain_file(
    model_file: Path,
    out: Path,
    *,
    data: str | None = None,
    data_dir: str | None = None,
    normalize: str | None = None,
    names: Path | None = None,
    images: int | None = None,
    pages: int = 60,
    sparse: bool = True,
    tables: Path | None = None,
) -> ConceptAnalysis:
    """Write the report of a model on the test part of a data set; rules and sparse heads are
    fitted to the training part.

    Args:
        model_file: A `.keras` file.
        out: The .html file.
        data: As for `data_of`, like `data_dir` and `normalize`.
        names: A file of names that a report saved; `None`: names.json beside the model, if any.
        images: Look at that many test images; `None`: all.
        pages: How many of them get a page.
        sparse: Whether heads with few weights are fitted.
        tables: Folder for CSV, JSON and PNG too; `None`: none.

    Raises:
        FileNotFoundError: If there is no such model or file of names.
        ValueError: If the model has no concept layer, data or names are not the model's, or the
            history beside it is damaged.
        ImportError: If a package of the extra "interpret" is missing.
    """
    if out.suffix.lower() not in (".html", ".htm"):
        raise ValueError(f"Received --out {str(out)!r}. Expected the name of an .html file.")
    for folder in filter(None, (out.parent, tables)):
        check_writable(folder)
    needs(REPORT if tables is None else f"{REPORT} matplotlib", "The report")
    history = _history(model_file)
    model = load_model(model_file)
    data, dataset, test, prepare = data_of(model_file, model, data, data_dir, normalize)
    beside = model_file.parent / NAMES
    names = beside if names is None and beside.is_file() else names
    console = Console()
    x, y = test.arrays(limit=images)
    known = None if test.attributes is None else test.attributes[: len(x)]
    analysis = analyze(
        model,
        prepare(x),
        y,
        concept_names=names,
        attributes=known,
        attribute_names=None if known is None else dataset.attribute_names,
        class_names=dataset.class_names,
    )
    x_train, y_train = dataset.train.arrays(limit=_MOST_TRAINING_IMAGES)
    train = analyze(model, prepare(x_train), y_train, class_names=dataset.class_names)
    console.print(analysis.summary(), soft_wrap=True, markup=False, highlight=False)

    pixels = test.images(np.arange(len(x)))
    heads = missing = None
    try:
        heads = analysis.sparse_heads(train) if sparse else None
    except ValueError as error:
        missing = str(error)
        console.print(f"no heads with few weights: {missing}", soft_wrap=True, markup=False)
    title = f"What the bits of {model_file.absolute().parent.name} mean, on {data}"
    shown = {"title": title, "train": train, "pixels": pixels, "samples": pages}
    analysis.report(out, history=history, sparse=heads or missing or False, **shown)
    console.print(f"\nwrote {out}", soft_wrap=True, markup=False)
    if tables is not None:
        analysis.export(tables, pixels=pixels, heads=heads)
        lacks = "" if heads else ", without nec.png: no heads with few weights were fitted"
        text = f"wrote tables and pictures into {tables}{lacks}"
        console.print(text, soft_wrap=True, markup=False)
    return analysis


def _history(model_file: Path) -> dict | None:
    """The history of the training that wrote the model, where it measured the gap."""
    file = model_file.parent / "metrics.json"
    if model_file.name != "model.keras" or not file.is_file():
        return None
    try:
        history = json.loads(file.read_text(encoding="utf-8"))["history"]["icbm"]
        if not {"smooth_accuracy", "hard_accuracy"} <= set(history):
            return None
        gap_chart(history)  # a report that cannot draw it should not be found out at its end
        return history
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(f"{str(file)!r} is damaged ({error!r}). Remove it.") from error
