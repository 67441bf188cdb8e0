"""Commands and their options; the work is done in `keras_htaf.cli`."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer

from keras_htaf_cli.serving import Options
from keras_htaf_cli.settings import Settings

app = typer.Typer(
    help="Binary-activation networks for Keras 3. The backend is chosen by KERAS_BACKEND "
    "(tensorflow, jax or torch).",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
train = typer.Typer(help="Train a network and its baselines.", no_args_is_help=True)
app.add_typer(train, name="train")

DataOption = Annotated[
    str,
    typer.Option(
        help="digits or shapes (need no network), an image set of TensorFlow Datasets, or a .npz "
        "file."
    ),
]
DataDirOption = Annotated[
    str | None, typer.Option(help="Folder with prepared TensorFlow Datasets.")
]


@contextmanager
def _plain_errors(interrupted: str = "interrupted") -> Iterator[None]:
    """Expected failures as one message and exit code 2; anything else keeps its traceback."""
    try:
        yield
    except (ValueError, OSError, ImportError, RuntimeError) as error:
        typer.echo(f"error: {error}", err=True)
        raise typer.Exit(2) from None
    except KeyboardInterrupt:
        typer.echo(f"\n{interrupted}", err=True)
        raise typer.Exit(130) from None


def _file(model: Path) -> Path:
    return model / "model.keras" if model.is_dir() else model


@train.command("icbm")
def train_icbm(
    context: typer.Context,
    data: DataOption = Settings.data,
    data_dir: DataDirOption = Settings.data_dir,
    out: Annotated[Path, typer.Option(help="Folder for everything that is written.")] = Path(
        "runs/icbm"
    ),
    epochs: Annotated[int, typer.Option(min=1)] = Settings.epochs,
    concepts: Annotated[
        int, typer.Option(min=1, help="Number of concept bits.")
    ] = Settings.concepts,
    seed: Annotated[int, typer.Option(min=0)] = Settings.seed,
    batch_size: Annotated[int, typer.Option(min=1)] = Settings.batch_size,
    learning_rate: Annotated[
        float, typer.Option(help="Peak of the cosine schedule.")
    ] = Settings.learning_rate,
    width: Annotated[
        int, typer.Option(min=1, help="Channels of the backbone's first stage.")
    ] = Settings.width,
    alpha: Annotated[
        tuple[float, float],
        typer.Option(help="HTAF's sharpness, first and last.", metavar="FIRST LAST"),
    ] = (Settings.alpha_start, Settings.alpha_end),
    beta: Annotated[float, typer.Option(help="HTAF's tail rate.")] = Settings.beta,
    concept_dropout: Annotated[
        float, typer.Option(help="Share of concepts dropped.")
    ] = Settings.concept_dropout,
    diversity: Annotated[
        float, typer.Option(min=0.0, help="Weight of the penalty on unused and similar bits.")
    ] = Settings.diversity,
    augment: Annotated[str | None, typer.Option(help="shift or shift_flip.")] = Settings.augment,
    normalize: Annotated[str, typer.Option(help="unit or standard.")] = Settings.normalize,
    distribute: Annotated[
        str | None,
        typer.Option(
            help="Train on several devices: auto (all, if there are several), data or a number "
            "(batches are divided), or model (kernels are; JAX). Default: one device.",
            metavar="auto|data|model|N",
        ),
    ] = None,
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on with the run in --out, with its settings.")
    ] = False,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace the run that is in --out.")
    ] = False,
) -> None:
    """Train an implicit concept bottleneck model, and the baselines it must be compared with."""
    with _plain_errors("interrupted; --resume with the same --out goes on from here"):
        from keras_htaf.cli.experiment import run
        from keras_htaf.cli.progress import stored

        own_arrays = data.endswith(".npz")
        settings = Settings(
            data=str(Path(data).absolute()) if own_arrays else data,
            data_dir=data_dir,
            epochs=epochs,
            concepts=concepts,
            seed=seed,
            batch_size=batch_size,
            learning_rate=learning_rate,
            width=width,
            alpha_start=alpha[0],
            alpha_end=alpha[1],
            beta=beta,
            concept_dropout=concept_dropout,
            diversity=diversity,
            augment=augment,
            normalize=normalize,
        )
        if resume:
            sources = {name: context.get_parameter_source(name) for name in context.params}
            given = [n for n, s in sources.items() if s is not None and s.name != "DEFAULT"]
            settings = stored(out, settings, given)
        run(settings, out, resume=resume, overwrite=overwrite, distribute=distribute)


@app.command()
def evaluate(
    model: Annotated[Path, typer.Argument(help="A .keras file, or the folder of a run.")],
    data: Annotated[
        str | None, typer.Option(help="As for training; default: what the model was trained on.")
    ] = None,
    data_dir: DataDirOption = None,
    normalize: Annotated[
        str | None, typer.Option(help="unit or standard; default: as in training, else unit.")
    ] = None,
) -> None:
    """Accuracy of a saved model on the test part, with smooth and with exact steps."""
    with _plain_errors():
        from keras_htaf.cli.evaluation import evaluate_file

        evaluate_file(_file(model), data, data_dir, normalize)


@app.command()
def explain(
    model: Annotated[Path, typer.Argument(help="A .keras file, or the folder of a run.")],
    data: Annotated[
        str | None, typer.Option(help="As for training; default: what the model was trained on.")
    ] = None,
    data_dir: DataDirOption = None,
    out: Annotated[Path, typer.Option(help="The .html file to write.")] = Path("report.html"),
    names: Annotated[
        Path | None,
        typer.Option(
            help="Names of bits that a report saved; default: names.json beside the model."
        ),
    ] = None,
    normalize: Annotated[
        str | None, typer.Option(help="unit or standard; default: as in training, else unit.")
    ] = None,
    images: Annotated[
        int | None, typer.Option(min=2, help="Look at that many test images; default: all.")
    ] = None,
    pages: Annotated[int, typer.Option(min=1, help="How many images get a page.")] = 60,
    sparse: Annotated[
        bool, typer.Option(help="Fit heads with few weights, which may take a minute.")
    ] = True,
    tables: Annotated[
        Path | None, typer.Option(help="Folder for CSV, JSON and PNG too; default: none.")
    ] = None,
) -> None:
    """Write what the bits of a concept model mean as one HTML file."""
    with _plain_errors():
        from keras_htaf.cli.explanation import explain_file

        explain_file(
            _file(model),
            out,
            data=data,
            data_dir=data_dir,
            normalize=normalize,
            names=names,
            images=images,
            pages=pages,
            sparse=sparse,
            tables=tables,
        )


@app.command()
def export(
    model: Annotated[Path, typer.Argument(help="A .keras file, or the folder of a run.")],
    path: Annotated[
        Path,
        typer.Argument(
            help="What to write: a folder for a SavedModel, else a file .onnx, .xml (openvino), "
            ".tflite (litert), .pt2 (torch) or .khtaf (packed)."
        ),
    ],
    format: Annotated[
        str | None,
        typer.Option(
            help="tf_saved_model, onnx, openvino, litert, torch or packed; default: what the "
            "path's suffix says."
        ),
    ] = None,
    smooth: Annotated[bool, typer.Option("--smooth", help="Keep smooth steps.")] = False,
    preprocessing: Annotated[
        bool, typer.Option(help="Take raw pixels, as described in the run.json beside the model.")
    ] = True,
    outputs: Annotated[
        str,
        typer.Option(help="What the model gives: logits, probabilities or values; auto decides."),
    ] = "auto",
    verify: Annotated[
        bool, typer.Option(help="Run the artifact and compare it with the model.")
    ] = True,
) -> None:
    """Write a model for another runtime, with exact steps unless told otherwise."""
    with _plain_errors():
        from keras_htaf.cli.exporting import export_file

        export_file(
            _file(model),
            path,
            format,
            smooth=smooth,
            preprocessing=preprocessing,
            verify=verify,
            outputs=outputs,
        )


@app.command()
def serve(
    models: Annotated[
        list[Path], typer.Argument(help="SavedModels (folders), .onnx or .khtaf files.")
    ],
    name: Annotated[
        list[str] | None,
        typer.Option(help="Of a model in addresses; may be repeated. Default: of its file."),
    ] = None,
    host: Annotated[str, typer.Option(help="0.0.0.0 to listen everywhere.")] = Options.host,
    port: Annotated[int, typer.Option(help="0 for any free one.")] = Options.port,
    workers: Annotated[int, typer.Option(min=1, help="Processes.")] = Options.workers,
    threads: Annotated[
        int | None, typer.Option(min=1, help="Of a computation. Default: cores / workers.")
    ] = Options.threads,
    max_batch: Annotated[
        int, typer.Option(min=1, help="Rows of a request, and computed at once.")
    ] = Options.max_batch,
    max_explained: Annotated[
        int, typer.Option(min=1, help="Rows of a request for explanations.")
    ] = Options.max_explained,
    max_body: Annotated[float, typer.Option(help="MiB of a request.")] = Options.max_body,
    timeout: Annotated[float, typer.Option(help="Seconds to an answer.")] = Options.timeout,
    read_timeout: Annotated[
        float, typer.Option(help="Seconds for a client to send its request.")
    ] = Options.read_timeout,
    concurrency: Annotated[
        int, typer.Option(min=1, help="Requests in work, of each process.")
    ] = Options.concurrency,
    grace: Annotated[
        float, typer.Option(help="Seconds for requests in work after SIGTERM.")
    ] = Options.grace,
    batching: Annotated[
        bool, typer.Option(help="Compute requests that wait together.")
    ] = Options.batching,
    manifest: Annotated[
        Path | None, typer.Option(help="Write an InferenceService (YAML) instead of serving.")
    ] = None,
    image: Annotated[str | None, typer.Option(help="Container image of the manifest.")] = None,
    storage: Annotated[
        str | None, typer.Option(help="Address of the folder with the models, for the manifest.")
    ] = None,
) -> None:
    """Serve exported models over HTTP, on KServe's model server."""
    with _plain_errors():
        from keras_htaf.cli.serving import serve_files

        options = Options(
            host=host,
            port=port,
            workers=workers,
            threads=threads,
            max_batch=max_batch,
            max_explained=max_explained,
            max_body=max_body,
            timeout=timeout,
            read_timeout=read_timeout,
            concurrency=concurrency,
            grace=grace,
            batching=batching,
        )
        status = serve_files(
            models, name or (), options, out=manifest, image=image, storage=storage
        )
    raise typer.Exit(status)


@app.command()
def bench(
    model: Annotated[Path, typer.Argument(help="A .keras or .khtaf file, or the folder of a run.")],
    batch: Annotated[
        list[int] | None, typer.Option(help="Batch size; may be repeated. Default: 1, 8 and 64.")
    ] = None,
    threads: Annotated[int, typer.Option(min=1, help="Threads, and cores, of each.")] = 1,
    seconds: Annotated[
        float, typer.Option(min=0.01, help="For each contender and batch size.")
    ] = 3.0,
    only: Annotated[
        list[str] | None,
        typer.Option(
            help="packed, keras tensorflow, keras jax, keras torch, onnx float32 or onnx int8; may "
            "be repeated. Default: all that are installed."
        ),
    ] = None,
) -> None:
    """Latency, throughput and memory of a hardened model: packed, in Keras, in ONNX Runtime."""
    with _plain_errors():
        from keras_htaf.cli.bench import bench_file

        bench_file(_file(model), batch or (1, 8, 64), threads, seconds, only or ())


@app.command()
def inspect(
    model: Annotated[Path, typer.Argument(help="A .keras or .khtaf file, or the folder of a run.")],
) -> None:
    """What a hardened model costs: bits of each layer, as it is and packed."""
    with _plain_errors():
        from keras_htaf.cli.inspection import inspect_file

        typer.echo(inspect_file(_file(model)))
