"""The report: one HTML file that needs nothing else."""

from __future__ import annotations

import base64
import hashlib
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from keras_htaf.files import replacing
from keras_htaf.interpret.codes import check_positive, check_same_head
from keras_htaf.interpret.packages import REPORT, needs
from keras_htaf.interpret.report.charts import flip_bars, gap_chart, nec_chart
from keras_htaf.interpret.report.payload import optional, payload
from keras_htaf.interpret.sparse import SparseHeads
from keras_htaf.interpret.summary import count, numbers, verdict, warnings

if TYPE_CHECKING:
    from keras_htaf.interpret.analysis import ConceptAnalysis

_SCRIPTS = ("data", "dom", "names", "pictures", "bits", "classes", "sample", "samples", "main")
_STYLES = ("base", "parts")
MAPS = (None, "exact", "occlusion", "none")


def write_report(
    analysis: ConceptAnalysis,
    path: str | os.PathLike,
    *,
    title: str | None = None,
    train: ConceptAnalysis | None = None,
    history: Mapping[str, Sequence[float]] | None = None,
    pixels: np.ndarray | None = None,
    samples: int | Sequence[int] = 60,
    gallery: int = 12,
    sparse: bool | str | SparseHeads = True,
    maps: str | None = None,
    seed: int = 0,
) -> Path:
    """Writes the report; `ConceptAnalysis.report` says what the arguments are."""
    if maps not in MAPS:
        raise ValueError(f"Received maps={maps!r}. Expected one of {MAPS}.")
    if not isinstance(sparse, (bool, str, SparseHeads)):
        raise ValueError(
            f"Received sparse={sparse!r}. Expected True, False, `SparseHeads`, or a text that says "
            "why there are none."
        )
    # What may fail for want of a package or a good argument comes before the long work.
    needs(REPORT, "The report")
    check_positive(gallery=gallery)
    if train is not None:
        check_same_head(analysis.codes, train.codes, "train")
    gap = None if history is None else gap_chart(getattr(history, "history", history))
    environment = _environment()
    content = payload(
        analysis,
        train=train,
        pixels=pixels,
        samples=samples,
        gallery=gallery,
        maps=maps,
        seed=seed,
    )
    nec = _nec(analysis, train, sparse)
    script = "\n".join(_source(environment, f"{name}.js") for name in _SCRIPTS)
    script = f'(() => {{\n"use strict";\n{script}\n}})();\n'
    codes = analysis.codes
    html = environment.get_template("page.html.j2").render(
        title=title or "What the bits mean",
        codes=codes,
        code=analysis.code,
        health=analysis.health,
        health_rows=_health_rows(analysis),
        verdict=verdict(analysis),
        warnings=warnings(analysis),
        numbers=[line.split("  ", 1) for line in numbers(analysis)],
        certified=None if codes.smooth is None else analysis.certified,
        gap=gap,
        nec=nec,
        flips=flip_bars(analysis.flip_radii),
        data=content.data,
        atlases=content.atlases,
        maps=content.data["maps"],
        style="\n".join(_source(environment, f"{name}.css") for name in _STYLES),
        script=script,
        script_hash=base64.b64encode(hashlib.sha256(script.encode()).digest()).decode(),
    )
    path = Path(path)
    with replacing(path) as temporary:
        temporary.write_bytes(html.encode())
    return path


def _environment():
    from jinja2 import Environment, PackageLoader, StrictUndefined

    environment = Environment(
        loader=PackageLoader("keras_htaf.interpret.report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["percent"] = lambda share, digits=1: f"{100 * share:.{digits}f}\u00a0%"
    environment.filters["count"] = count
    return environment


def _source(environment, name: str) -> str:
    """A file beside the templates, as it is."""
    return environment.loader.get_source(environment, name)[0]


def _nec(analysis, train, sparse) -> dict:
    """The chart, or why there is none."""
    if sparse is False:
        sparse = "Heads with few weights were not fitted for this report."
    if isinstance(sparse, str):
        return {"missing": sparse}

    def chart():
        found = analysis.sparse_heads(train) if sparse is True else sparse
        return {"chart": nec_chart(found), "heads": found}

    return optional(chart)


def _health_rows(analysis) -> list[dict]:
    """The table of health, with what each bit says and does."""
    view = analysis.classes.table()
    rows = []
    for j, (row, seen) in enumerate(zip(analysis.health.table(), view, strict=True)):
        row |= {"bit": j, "information": seen["information"], "flip_rate": seen["flip_rate"]}
        partner = int(analysis.health.partner[j])
        rows.append(row | {"partner": partner if partner >= 0 else None})
    return rows
