"""`keras-htaf train icbm`: the model, the baselines it must stand beside, and one table."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path

import keras
import numpy as np
from rich.console import Console
from rich.table import Table

import keras_htaf
from keras_htaf import callbacks, datasets, harden, models, regularizers, soften
from keras_htaf.callbacks.gap import decide, measure_gap
from keras_htaf.cli import baselines, devices, figures, runfile
from keras_htaf.cli.progress import FOLDER, Progress
from keras_htaf.distribution import Distribution
from keras_htaf.files import check_writable, replacing, sweep, write_json
from keras_htaf.saving import load_model
from keras_htaf_cli.settings import Settings

_OUTPUTS = ("model.keras", "dense.keras", "metrics.json", "predictions.npz")
_PICTURES = ("curves.png", "concepts.png")


def run(
    settings: Settings,
    out: Path,
    resume: bool = False,
    overwrite: bool = False,
    distribute: str | None = None,
) -> dict:
    """Train, evaluate and picture an ICBM and its baselines.

    Nothing is written, and nothing of an earlier run removed, before the settings, the data and
    what is to be resumed have been found good.

    Args:
        settings: What to train.
        out: Folder for model.keras (smooth steps, to be hardened or exported), dense.keras,
            metrics.json, run.json, predictions.npz, curves.png and concepts.png.
        resume: Whether to go on where an interrupted run stopped.
        overwrite: Whether a run that is in `out` may be replaced.
        distribute: `"auto"`, `"data"`, `"model"` or a number of devices; default: one device. It
            is no setting of the run: the numbers are the same up to rounding, and a run may be
            resumed on other devices.

    Returns:
        What metrics.json holds; of several processes that torchrun started, in the first.

    Raises:
        ValueError: For settings, data or a run to resume that cannot be used.
        PermissionError: If `out` cannot be written into.
        RuntimeError: If the training diverges.
    """
    if (count := devices.processes(distribute)) > 1:
        arguments = settings, out, resume, overwrite, distribute
        devices.in_processes(run, *arguments, count=count)
        return json.loads((out / "metrics.json").read_text(encoding="utf-8"))
    across = devices.across(distribute)
    with devices.folder_of(across, out, FOLDER) as out:
        return _run(settings, out, resume, overwrite, across)


def _run(settings, out, resume, overwrite, across):
    out = check_writable(out)
    if (out / runfile.NAME).exists() and not (resume or overwrite):
        raise ValueError(
            f"{str(out)!r} holds a run. Go on with it by --resume, replace it by --overwrite, or "
            "choose another --out."
        )
    dataset = datasets.load(
        settings.data, settings.data_dir, seed=settings.seed, normalize=settings.normalize
    )
    if dataset.test is None:
        raise ValueError(
            f"{settings.data!r} has no test part. Give x_test and y_test in the .npz file."
        )
    if dataset.num_classes < 2:
        raise ValueError(f"{settings.data!r} has a single class. Expected at least two to tell.")
    progress = Progress(out / FOLDER, asdict(settings), resume)
    _build(settings, dataset, "icbm")
    _batches(settings, dataset)
    for name in (runfile.NAME, *_OUTPUTS, *_PICTURES):
        sweep(out / name)
    if not resume:
        for name in (*_OUTPUTS, *_PICTURES):
            (out / name).unlink(missing_ok=True)
    progress.begin()
    runfile.write(out, settings, dataset.preprocessing)
    console = Console(quiet=across is not None and not across.chief)

    where = "" if across is None else f", batches divided by {across.count}"
    console.print(f"[bold]ICBM[/bold] on {settings.data}, {keras.config.backend()} backend{where}")
    file, dense_file = out / "model.keras", out / "dense.keras"
    model, history = _train(settings, dataset, progress, "icbm", file, across)
    console.print("[bold]Dense twin[/bold]: the same network with ReLU units for the bits")
    dense, dense_history = _train(settings, dataset, progress, "dense", dense_file, across)
    if across is not None:
        if not across.chief:
            return {}
        model, dense = load_model(file), load_model(dense_file)  # on one device

    metrics = _measure(settings, dataset, model, dense)
    write_json(
        out / "metrics.json",
        {**metrics, "history": {"icbm": history, "dense": dense_history}},
    )
    _write_predictions(out / "predictions.npz", dataset, model)
    console.print(_table(settings, metrics))
    figures.curves(out / "curves.png", history, dense_history)
    figures.concepts(out / "concepts.png", model, dataset.test, dataset.class_names)
    console.print(f"everything is in {out}")
    return metrics


def _build(settings: Settings, dataset, stage: str) -> keras.Model:
    """The compiled, untrained network of a stage."""
    keras.utils.set_random_seed(settings.seed)
    penalty = regularizers.BitDiversity(settings.diversity, settings.diversity)
    bits = stage == "icbm"
    model = models.icbm(
        models.small_cnn(dataset.image_shape, settings.width),
        settings.concepts,
        dataset.num_classes,
        activation="htaf" if bits else "relu",
        alpha=settings.alpha_start,
        beta=settings.beta,
        concept_dropout=settings.concept_dropout,
        bit_regularizer=penalty if bits and settings.diversity else None,
        name=stage,
    )
    steps = settings.epochs * -(-len(dataset.train) // settings.batch_size)
    rate = keras.optimizers.schedules.CosineDecay(
        0.05 * settings.learning_rate,
        decay_steps=max(steps - steps // 10, 1),
        alpha=0.01,
        warmup_target=settings.learning_rate,
        warmup_steps=max(steps // 10, 1),
    )
    model.compile(
        keras.optimizers.Adam(rate),
        keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        metrics=["accuracy"],
    )
    return model


def _batches(settings: Settings, dataset):
    return dataset.train.batches(
        settings.batch_size,
        shuffle=True,
        seed=settings.seed,
        augment=settings.augment,
    )


def _train(
    settings: Settings,
    dataset,
    progress: Progress,
    stage: str,
    file: Path,
    across: Distribution | None,
):
    watchers = []
    if stage == "icbm":
        watchers.append(
            callbacks.AnnealSharpness(settings.alpha_start, settings.alpha_end, frequency="step")
        )
        if dataset.validation is not None:
            watchers.append(callbacks.DiscretizationGap(*dataset.validation.arrays()))

    def publish(model: keras.Model) -> None:
        if across is not None and not across.chief:
            return
        with replacing(file) as temporary:
            model.save(temporary)

    return progress.fit(
        stage,
        build=lambda: _build(settings, dataset, stage),
        data=_batches(settings, dataset),
        epochs=settings.epochs,
        callbacks=watchers,
        after_epoch=publish,
        across=across,
    )


def _measure(settings: Settings, dataset, model, dense) -> dict:
    x, y = dataset.test.arrays()
    gap = measure_gap(soften(model), harden(model), x, y)
    dense_accuracy = float(np.mean(decide(dense.predict(x, batch_size=256, verbose=0)) == y))
    return {
        "dense": dense_accuracy,
        "icbm_smooth": gap["smooth_accuracy"],
        "icbm_hard": gap["hard_accuracy"],
        "random_bits": baselines.random_bits(dataset, settings.concepts, settings.seed),
        "random_bits_of_dense_features": baselines.random_bits(
            dataset, settings.concepts, settings.seed, baselines.features_of(dense)
        ),
        "gap": gap["gap"],
        "disagreement": gap["disagreement"],
        "softness": gap["softness"],
        "test_images": len(y),
        "backend": keras.config.backend(),
        "versions": {"keras": keras.__version__, "keras_htaf": keras_htaf.__version__},
    }


def _write_predictions(file: Path, dataset, model) -> None:
    """Raw test images and the exact network's logits, for checking an exported artifact."""
    x, y = dataset.test.arrays()
    logits = harden(model).predict(x, batch_size=256, verbose=0)
    raw = dataset.test.images(np.arange(len(y)))
    with replacing(file) as temporary:
        np.savez_compressed(temporary, raw=raw, logits=logits, labels=y)


def _table(settings: Settings, metrics: dict) -> Table:
    table = Table("model", "bottleneck", "test accuracy", title=f"{settings.data}, test part")
    k = settings.concepts
    table.add_row("dense twin", f"{k} floats", f"{metrics['dense']:.2%}")
    table.add_row("ICBM, smooth steps", f"{k} soft bits", f"{metrics['icbm_smooth']:.2%}")
    table.add_row("ICBM, exact steps", f"{k} bits", f"{metrics['icbm_hard']:.2%}", style="bold")
    table.add_row("random projection of pixels", f"{k} bits", f"{metrics['random_bits']:.2%}")
    table.add_row(
        "random projection of dense features",
        f"{k} bits",
        f"{metrics['random_bits_of_dense_features']:.2%}",
    )
    table.add_section()
    table.add_row("gap (smooth - exact)", "", f"{100 * metrics['gap']:.2f} points")
    return table
