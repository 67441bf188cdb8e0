"""What was found as tables (CSV), as JSON and as pictures (PNG)."""

from __future__ import annotations

import csv
import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from keras_htaf.files import check_writable, replacing, write_json
from keras_htaf.interpret.packages import needs
from keras_htaf.interpret.report.pictures import shown
from keras_htaf.interpret.report.selection import at_random, leads
from keras_htaf.interpret.results import plain
from keras_htaf.interpret.sparse import SparseHeads
from keras_htaf.interpret.summary import verdict, warnings

if TYPE_CHECKING:
    from keras_htaf.interpret.analysis import ConceptAnalysis

_BITS, _IMAGES = 12, 10


def write_exports(
    analysis: ConceptAnalysis,
    folder: str | os.PathLike,
    *,
    pixels: np.ndarray | None = None,
    heads: SparseHeads | None = None,
    seed: int = 0,
) -> list[Path]:
    """Writes the tables and pictures; `ConceptAnalysis.export` says what the arguments are."""
    source = analysis.x if pixels is None else pixels
    images = source if source is not None and np.ndim(source) in (3, 4) else None
    if images is not None or heads is not None:
        needs("matplotlib", "Drawing pictures")
    if analysis.attributes is not None:
        needs("scipy", "Matching")
    folder = check_writable(folder)
    files = [folder / "analysis.json"]
    write_json(files[0], _everything(analysis, heads))
    tables = {"bits": _bits(analysis), "classes": _classes(analysis), "samples": _samples(analysis)}
    tables["errors"] = [
        {**group, "bit": "" if group["bit"] is None else group["bit"]}
        | {"samples": " ".join(map(str, group["samples"]))}
        for group in analysis.errors.groups()
    ]
    if analysis.attributes is not None:
        tables["attributes"] = analysis.purity.table()
    for name, rows in tables.items():
        if rows:
            files.append(folder / f"{name}.csv")
            _write_csv(files[-1], rows)
    if images is not None:
        files.append(folder / "bits.png")
        _draw_bits(files[-1], analysis, shown(images), seed)
    if heads is not None:
        files.append(folder / "nec.png")
        _draw_heads(files[-1], heads)
    return files


def _everything(analysis, heads) -> dict:
    codes = analysis.codes
    found = {
        "verdict": verdict(analysis),
        "warnings": warnings(analysis),
        "class_names": codes.class_names,
        "concept_names": codes.concept_names,
        "weights": codes.weights,
        "bias": codes.bias,
        "health": analysis.health,
        "code": analysis.code,
        "classes": analysis.classes,
        "errors": analysis.errors,
    }
    if codes.smooth is not None:
        found["certified"] = {
            "share": analysis.certified.share,
            "agreement": analysis.certified.agreement,
        }
    if analysis.attributes is not None:
        found["purity"] = analysis.purity
    if heads is not None:
        found["sparse_heads"] = heads
    return json.loads(json.dumps(plain(found)))


def _bits(analysis) -> list[dict]:
    seen = analysis.classes.table()
    return [
        {"bit": j, **row, "information": seen[j]["information"], "flip_rate": seen[j]["flip_rate"]}
        for j, row in enumerate(analysis.health.table())
    ]


def _classes(analysis) -> list[dict]:
    """One row for each class and bit."""
    codes, view = analysis.codes, analysis.classes
    return [
        {
            "class": codes.class_names[k],
            "bit": j,
            "name": codes.concept_names[j],
            "weight": float(codes.weights[j, k]),
            "on_for": float(view.given_class[k, j]),
            "effect": float(view.effect[k, j]),
        }
        for k in range(codes.num_classes)
        for j in range(codes.num_bits)
    ]


def _samples(analysis) -> list[dict]:
    codes = analysis.codes
    lead = leads(codes)
    return [
        {
            "sample": i,
            "label": codes.class_names[codes.labels[i]],
            "decision": codes.class_names[codes.decisions[i]],
            "lead": float(lead[i]),
            "flip_radius": float(analysis.flip_radii[i]),
            "code": "".join("01"[int(bit)] for bit in codes.bits[i]),
        }
        for i in range(len(codes))
    ]


def _write_csv(path: Path, rows: Sequence[Mapping]) -> None:
    with replacing(path) as temporary, open(temporary, "w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, rows[0])
        writer.writeheader()
        writer.writerows({key: _cell(value) for key, value in row.items()} for row in rows)


def _cell(value):
    """A text that a spreadsheet would take for a formula is marked as text."""
    formula = isinstance(value, str) and value[:1] in ("=", "+", "-", "@", "\t", "\r")
    return f"'{value}" if formula else value


def _figure(*size):
    from matplotlib.figure import Figure

    return Figure(figsize=size, layout="constrained")


def _draw_bits(path: Path, analysis, pictures: np.ndarray, seed: int) -> None:
    """The bits that say most, with images drawn at random among those that switch them on."""
    codes, rng = analysis.codes, np.random.default_rng(seed)
    best = np.argsort(-analysis.classes.information, kind="stable")[:_BITS]
    figure = _figure(0.8 * _IMAGES + 2.6, 0.85 * len(best) + 0.5)
    figure.suptitle("Images that switch a bit on, drawn at random", x=0.01, ha="left")
    grid = figure.subplots(
        len(best), _IMAGES + 1, squeeze=False, width_ratios=[2.6] + [1] * _IMAGES
    )
    for axes in grid.flat:
        axes.axis("off")
    for row, j in zip(grid, best, strict=True):
        caption = f"{codes.concept_names[j]}\non for {codes.usage[j]:.0%}"
        # Between dollar signs matplotlib would read formulas.
        row[0].text(0, 0.5, caption.replace("$", r"\$"), va="center", wrap=True)
        for axes, i in zip(row[1:], at_random(codes, j, _IMAGES, rng), strict=False):
            axes.imshow(pictures[i].squeeze(), cmap="gray", vmin=0, vmax=255)
    with replacing(path) as temporary:
        figure.savefig(temporary, dpi=110)


def _draw_heads(path: Path, heads: SparseHeads) -> None:
    """Accuracy against the number of effective concepts."""
    figure = _figure(7, 4)
    axes = figure.subplots()
    for kind, found in heads.heads.items():
        axes.plot(heads.necs, [100 * head.accuracy for head in found], "o-", label=kind)
    if heads.random is not None:
        axes.plot(heads.necs, [100 * a for a in heads.random[:-1]], "s:", label="random bits")
    axes.axhline(100 * heads.own, color="0.4", linestyle="--", label="this model's head")
    axes.set(xlabel="number of effective concepts (NEC)", ylabel="held-out accuracy, %")
    axes.grid(alpha=0.3)
    axes.legend()
    with replacing(path) as temporary:
        figure.savefig(temporary, dpi=110)
