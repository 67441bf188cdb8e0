"""The `export` command: a saved model, with what its run knows of it on the card."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path

from keras_htaf import load_model
from keras_htaf.cli import runfile
from keras_htaf.cli.evaluation import data_of
from keras_htaf.export import Verification, export
from keras_htaf.export.formats import format_of, writer_of
from keras_htaf.hardening import has_steps
from keras_htaf.interpret.collection import Collector, collect
from keras_htaf.interpret.names import read_names
from keras_htaf.quantizers import Step

_METRICS = {
    "icbm_smooth": "smooth",
    "icbm_hard": "exact",
    "gap": "gap",
    "test_images": "test_images",
}
"""By the key in a run's metrics.json, that on a card."""
_MOST_IMAGES = 10_000
"""On which the usage of bits is measured."""


def export_file(
    file: Path,
    path: Path,
    format: str | None = None,
    *,
    smooth: bool = False,
    preprocessing: bool = True,
    verify: bool = True,
    outputs: str = "auto",
) -> Verification | None:
    """Export a saved model.

    Args:
        file: A `.keras` file.
        path: As for `keras_htaf.export.export`, as are the others.
        format: As above; default: what the path's suffix says.
        smooth: As above.
        preprocessing: Whether to take raw pixels, as described in the run.json beside the file.
        verify: As above.
        outputs: As above.

    Returns:
        What `export` gives; it and a line on what was written are printed.
    """
    format = format or format_of(path)
    writer_of(format)  # before the model is loaded: what is missing?
    model, run = load_model(file), runfile.read(file.parent)
    before, card = None, _known(file, model, run)
    if run is not None and preprocessing:
        before = run[1].layer()
        card["preprocessing"] = asdict(run[1])
    result = export(
        model,
        path,
        format,
        smooth=smooth,
        preprocessing=before,
        outputs=outputs,
        verify=verify,
        card=card,
    )
    if result is not None:
        print(result)
    steps = ("smooth steps" if smooth else "exact steps") if has_steps(model) else "no steps"
    pixels = "normalised" if before is None else "raw"
    print(f"wrote {path} ({format}; {steps}; {pixels} pixels)")
    return result


def _known(file: Path, model, run) -> dict:
    """What the files beside a model say of it."""
    known: dict[str, object] = {}
    if run is not None:
        known["data"] = Path(run[0].data).name  # of one's own arrays, not where they were
    metrics = file.parent / "metrics.json"
    if file.name == "model.keras" and metrics.is_file():
        known["metrics"] = _metrics(metrics)
    names = file.parent / "names.json"
    if names.is_file() and _explains(model):
        collector = Collector(model)
        head = collector.weights, collector.bias
        collector.name_concepts(lambda default: read_names(names, *head, default))
        known["concepts"] = collector.names["concept_names"]
    if run is not None and _explains(model):
        known["usage"] = _usage(file, model)
    return known


def _explains(model) -> bool:
    """Whether bits have names: a layer `concepts` that is no step has none, say of a baseline."""
    layers = {layer.name: layer for layer in model.layers}
    return isinstance(layers.get("concepts"), Step) and "head" in layers


def _usage(file: Path, model) -> list[float] | None:
    """How often each bit is on in the run's test images; None where these are not here."""
    try:
        name, _, test, prepare = data_of(file, model, None, None, None, download=False)
        x, _ = test.arrays(limit=_MOST_IMAGES)
        usage = collect(model, prepare(x)).usage
    except Exception as error:  # of damaged files, whatever reads them; the card goes without
        print(f"how often bits are on is not known: {error}")
        return None
    print(f"how often bits are on: measured on {len(x)} test images of {Path(name).name}")
    return [round(float(share), 6) for share in usage]


def _metrics(file: Path) -> dict:
    try:
        found = json.loads(file.read_text(encoding="utf-8"))
        return {name: found[key] for key, name in _METRICS.items() if key in found}
    except (ValueError, TypeError) as error:
        raise ValueError(f"{str(file)!r} is damaged ({error!r}). Train again.") from error
