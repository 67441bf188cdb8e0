"""`keras-htaf train icbm`: the model, the baselines it must stand beside, and one table."""

from __future__ import annotations

import shutil
from dataclasses import asdict, dataclass
from pathlib import Path

import keras
import numpy as np
from rich.console import Console
from rich.table import Table

import keras_htaf
from keras_htaf import callbacks, datasets, harden, models, regularizers, soften
from keras_htaf.callbacks.gap import decide, measure_gap
from keras_htaf.cli import baselines, figures, runfile
from keras_htaf.cli.progress import Progress
from keras_htaf.files import check_writable, replacing, write_json
from keras_htaf.surrogates.base import positive


@dataclass(frozen=True)
class Settings:
    """Everything that determines a run; see `keras-htaf train icbm --help`."""

    data: str = "digits"
    data_dir: str | None = None
    epochs: int = 30
    concepts: int = 64
    seed: int = 0
    batch_size: int = 64
    learning_rate: float = 3e-3
    width: int = 32
    alpha_start: float = 2.0
    alpha_end: float = 16.0
    beta: float = 0.5
    concept_dropout: float = 0.0
    diversity: float = 0.0
    augment: str | None = None
    normalize: str = "unit"

    def __post_init__(self):
        for name in ("alpha_start", "alpha_end", "beta", "learning_rate"):
            positive(name, getattr(self, name))


def run(settings: Settings, out: Path, resume: bool = False) -> dict:
    """Train, evaluate and picture an ICBM and its baselines.

    Args:
        settings: What to train.
        out: Folder for model.keras (smooth steps, to be hardened or exported), dense.keras,
            metrics.json, run.json, predictions.npz, curves.png and concepts.png.
        resume: Whether to go on where an interrupted run stopped.

    Returns:
        What metrics.json holds.
    """
    out = check_writable(out)
    dataset = datasets.load(
        settings.data, settings.data_dir, seed=settings.seed, normalize=settings.normalize
    )
    if dataset.test is None:
        raise ValueError(
            f"{settings.data!r} has no test part. Give x_test and y_test in the .npz file."
        )
    runfile.write(out, asdict(settings), dataset.preprocessing)
    progress = Progress(check_writable(out / "checkpoints"), asdict(settings), resume)
    console = Console()

    console.print(f"[bold]ICBM[/bold] on {settings.data}, {keras.config.backend()} backend")
    model, history = _train(settings, dataset, progress, "icbm", out / "model.keras")
    console.print("[bold]Dense twin[/bold]: the same network with ReLU units for the bits")
    dense, dense_history = _train(settings, dataset, progress, "dense", out / "dense.keras")

    metrics = _measure(settings, dataset, model, dense)
    _write_predictions(out / "predictions.npz", dataset, model)
    figures.curves(out / "curves.png", history, dense_history)
    figures.concepts(out / "concepts.png", model, dataset)
    write_json(out / "metrics.json", {**metrics, "history": {"icbm": history}})
    console.print(_table(settings, metrics))
    console.print(f"everything is in {out}")
    return metrics


def _train(settings: Settings, dataset, progress: Progress, stage: str, file: Path):
    def build() -> keras.Model:
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

    def batches(first: int):
        return dataset.train.batches(
            settings.batch_size,
            shuffle=True,
            seed=settings.seed,
            augment=settings.augment,
            initial_epoch=first,
        )

    watchers = []
    if stage == "icbm":
        watchers.append(
            callbacks.AnnealSharpness(settings.alpha_start, settings.alpha_end, frequency="step")
        )
        if dataset.validation is not None:
            watchers.append(callbacks.DiscretizationGap(*dataset.validation.arrays()))

    def publish(checkpoint: Path) -> None:
        with replacing(file) as temporary:
            shutil.copyfile(checkpoint, temporary)

    return progress.fit(stage, build, batches, settings.epochs, watchers, publish)


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
