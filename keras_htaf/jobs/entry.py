"""Jobs over a whole data set: predictions, bits, and what is said of them."""

from __future__ import annotations

import os
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import keras

from keras_htaf.files import replacing, sweep, write_json
from keras_htaf.interpret import ConceptAnalysis
from keras_htaf.interpret.codes import check_positive, names_of
from keras_htaf.interpret.collection import Collector
from keras_htaf.jobs import results, sources, tasks
from keras_htaf.jobs.running import run
from keras_htaf.saving import load_model


def predict(
    model: keras.Model | str | os.PathLike,
    x,
    y=None,
    *,
    path: str | os.PathLike,
    outputs: bool = True,
    batch_size: int = 256,
    workers: int | None = None,
    cpus: float = 1,
    gpus: float = 0,
    columns: tuple[str, str | None] = ("image", "label"),
) -> results.Results:
    """Writes what a model gives for each image of a data set, computed by several workers.

    The numbers are those of `model.predict(x, batch_size=batch_size)`: each batch holds the same
    images as there, whoever works on it.

    Args:
        model: A model with one output, or the path of its `.keras` file. Each worker loads it once,
            on the backend of this process; it may be made of Keras's and this package's layers.
        x: Images: a `Split` of `keras_htaf.datasets`, of which each worker opens the records (or
            files) itself, where all of them must find these; an array; or a `ray.data.Dataset`,
            whose rows are in no order.
        y: Labels of an array, if known, integers (n,); they are written along. Default None.
        path: Folder for the results, which the workers must share; replaced if a job wrote it.
        outputs: Whether to keep all that the model gives. Default True; False keeps the class with
            the largest output only.
        batch_size: Images that the model is given at once. Default 256.
        workers: Processes, each with the model. Default: as many as find `cpus` and `gpus` on the
            machines of the cluster at once, but for a core that reads a Ray Dataset.
        cpus: Cores that each takes, of Ray's counting; with 0.5 two workers share one. Default 1.
        gpus: Devices that each takes, likewise. Default 0.
        columns: Names of images and labels in a Ray Dataset, None for unknown labels. Default
            `("image", "label")`.

    Returns:
        `Results` with the columns `row` (not of a Ray Dataset), `label` (if known), `output`
        float32 and, of a classifier with several outputs, `decision`.

    Raises:
        ValueError: If model, images or labels do not fit together, an output is not finite, the
            folder holds something else, or no machine has the `cpus` and `gpus` of a worker.
        ImportError: If Ray is missing, the extra `keras-htaf[ray]`.

    Example:

    >>> digits = keras_htaf.datasets.load("digits")
    >>> model = keras_htaf.models.icbm(num_concepts=16, input_shape=digits.image_shape)
    >>> found = predict(model, digits.test, path="runs/found")  # doctest: +SKIP
    >>> found.column("output").shape  # doctest: +SKIP
    (359, 10)
    >>> predict(model, digits.test, digits.test.labels, path=tmp / "found")
    Traceback (most recent call last):
        ...
    ValueError: Received y beside a split, which has labels of its own. Leave it out.
    """
    model = _loaded(model)
    if len(model.outputs) != 1:
        raise ValueError(
            f"Model {model.name!r} has {len(model.outputs)} outputs. Expected one: give a "
            "keras.Model of the inputs and the one output that is wanted."
        )
    shape = tuple(model.outputs[0].shape[1:])
    if not outputs and not tasks.decides(shape):
        raise ValueError(
            f"Received outputs=False for a model whose outputs have shape {shape}, which is no "
            "choice between classes: nothing would be written. Leave it True."
        )
    about = {"job": "predict", "output_shape": None if None in shape else list(shape)}
    where = {"workers": workers, "cpus": cpus, "gpus": gpus, "columns": columns}
    return _run(model, x, y, path, tasks.Predictions(outputs), about, batch_size, **where)


def bits(
    model: keras.Model | str | os.PathLike,
    x,
    y=None,
    *,
    path: str | os.PathLike,
    logits: bool = False,
    class_names: Sequence[str] | None = None,
    concept_names: Sequence[str] | None = None,
    concepts: str = "concepts",
    head: str = "head",
    batch_size: int = 256,
    workers: int | None = None,
    cpus: float = 1,
    gpus: float = 0,
    columns: tuple[str, str | None] = ("image", "label"),
) -> results.Results:
    """Writes the bits of a concept model for each image of a data set, eight to a byte.

    They are those of `keras_htaf.interpret.collect(model, x, y, batch_size=batch_size)`, bit for
    bit. Of 64 concepts, 10^8 images take 0.8 GB.

    Args:
        model: As for `keras_htaf.interpret.collect`, or the path of its `.keras` file.
        x: As for `predict`.
        y: As for `predict`.
        path: As for `predict`.
        logits: Whether to keep concept logits and smooth bits, too, 8 bytes for each bit: what
            certificates and ambiguous bits are computed from. Default False.
        class_names: Default "0", "1", ...
        concept_names: Default: those that `edit_concepts` saved with the model, else "bit 0", ...
        concepts: Name of the step layer. Default "concepts".
        head: Name of the head. Default "head".
        batch_size: As for `predict`, like all that follow.
        workers: See `predict`.
        cpus: See `predict`.
        gpus: See `predict`.
        columns: See `predict`.

    Returns:
        `Results` with the columns `row`, `label` and `bits`, and with `logits` also `z` and
        `smooth`, float32; its `codes()` is what `collect` gives.

    Raises:
        ValueError: As for `collect`, or if the folder holds something else.
        ImportError: If Ray is missing, the extra `keras-htaf[ray]`.

    Example:

    >>> digits = keras_htaf.datasets.load("digits")
    >>> model = keras_htaf.models.icbm(num_concepts=16, input_shape=digits.image_shape)
    >>> found = bits(model, digits.test, path="runs/bits")  # doctest: +SKIP
    >>> found.column("bits").shape  # doctest: +SKIP
    (359, 2)
    >>> (tmp / "notes.txt").touch()
    >>> bits(model, digits.test, path=tmp)
    Traceback (most recent call last):
        ...
    ValueError: ... holds something that no job wrote. Choose another path.
    """
    model = _loaded(model)
    options: dict[str, Any] = {"concepts": concepts, "head": head, "batch_size": batch_size}
    collector = Collector(model, class_names=class_names, concept_names=concept_names, **options)
    m, classes = collector.weights.shape
    about = {
        "job": "bits",
        "head": {"kernel": collector.weights.tolist(), "bias": collector.bias.tolist()},
        "class_names": names_of("class_names", class_names, "", classes),
        "concept_names": names_of("concept_names", collector.names["concept_names"], "bit ", m),
    }
    where = {"workers": workers, "cpus": cpus, "gpus": gpus, "columns": columns}
    return _run(model, x, y, path, tasks.Bits(logits, options), about, batch_size, **where)


def analyze(
    model: keras.Model | str | os.PathLike,
    x,
    y=None,
    attributes=None,
    *,
    path: str | os.PathLike,
    attribute_names: Sequence[str] | None = None,
    **options,
) -> ConceptAnalysis:
    """The exact analysis of a concept model over more images than one machine holds.

    The bits of all images are written by `bits`; what `keras_htaf.interpret.analyze` computes from
    bits and labels is then computed from these, here, and is the same. What needs the images or
    the model (maps, changed images, editing) is not there.

    Args:
        model: As for `bits`.
        x: As for `bits`.
        y: As for `bits`; labels must be known, those of a split or a column are.
        attributes: What is known to be on the images, (n, a) of 0 and 1, in the order of `x`.
        path: Folder for the bits: `load(path).analysis()` is the same analysis another time.
        attribute_names: Default "attribute 0", ...
        **options: Of `bits`.

    Returns:
        A `ConceptAnalysis`. It takes a byte for each bit in memory, and 8 for each logit.

    Raises:
        ValueError: As for `bits`, or if labels are not known.
        ImportError: If Ray is missing, the extra `keras-htaf[ray]`.

    Example:

    >>> digits = keras_htaf.datasets.load("digits")
    >>> model = keras_htaf.models.icbm(num_concepts=16, input_shape=digits.image_shape)
    >>> found = analyze(model, digits.test, path="runs/bits")  # doctest: +SKIP
    >>> found.codes.bits.shape  # doctest: +SKIP
    (359, 16)
    >>> analyze(model, digits.test.arrays()[0], path=tmp / "bits")
    Traceback (most recent call last):
        ...
    ValueError: Received no labels. Expected y: an analysis is about the classes.
    """
    columns = options.get("columns", ("image", "label"))
    source = sources.opened(x, y, options.get("batch_size", 256), columns)
    if not source.has_labels:
        raise ValueError("Received no labels. Expected y: an analysis is about the classes.")
    if attributes is not None and isinstance(source, sources.Columns):
        raise ValueError(
            "Received attributes beside a Ray Dataset, whose rows come in no order. Expected "
            "them beside a split or an array."
        )
    return bits(model, x, y, path=path, **options).analysis(attributes, attribute_names)


def _run(
    model, x, y, path, task, about, batch_size, *, workers, cpus, gpus, columns
) -> results.Results:
    check_positive(batch_size=batch_size)
    source = sources.opened(x, y, batch_size, columns)
    path = _checked(path)
    about |= {
        "model": model.name,
        "batch_size": batch_size,
        "backend": keras.config.backend(),
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "samples": source.samples,
    }
    resources = {"batch_size": batch_size, "workers": workers, "cpus": cpus, "gpus": gpus}
    sweep(path)
    with replacing(path) as folder:
        folder.mkdir()
        run(tasks.archive(model), x, source, task, folder, **resources)
        if source.samples is None:
            about["samples"] = len(results.Results(folder, about))
        write_json(folder / results.ABOUT, about)
    return results.load(path)


def _loaded(model: Any) -> keras.Model:
    if isinstance(model, (str, os.PathLike)):
        model = load_model(model)
    if not isinstance(model, keras.Model):
        raise ValueError(
            f"Received a model of type {type(model).__name__}. Expected a keras.Model or the path "
            "of a .keras file."
        )
    return model


def _checked(path: str | os.PathLike) -> Path:
    path = Path(path).absolute()
    ours = not path.exists() or (path / results.ABOUT).is_file()
    if not ours and (not path.is_dir() or any(path.iterdir())):
        raise ValueError(f"{str(path)!r} holds something that no job wrote. Choose another path.")
    return path
