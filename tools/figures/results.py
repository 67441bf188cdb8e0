"""Figures of results, from the files and tables under docs/results; no number is written here."""

from __future__ import annotations

import json
import re

import numpy as np
from style import ROOT, panels, save

RESULTS = ROOT / "docs" / "results"


def lines(file: str) -> list[dict]:
    return [json.loads(line) for line in (RESULTS / file).read_text("utf-8").splitlines()]


def table(page: str, first: str) -> list[list[str]]:
    """The rows of the table of a page whose header's first cell is `first`."""
    rows, inside = [], False
    for line in (RESULTS / page).read_text("utf-8").splitlines():
        cells = [cell.strip(" *") for cell in line.strip("|").split("|")]
        if not line.startswith("|"):
            if inside:
                return rows
        elif inside:
            rows.append(cells)
        elif cells[0] == first and len(cells) == 5:
            inside = True
    return rows


def speed() -> None:
    """Milliseconds an image of VGG-Small, packed and otherwise."""
    rows = [row for row in table("packed.md", "contender") if "---" not in row[0]]
    figure, both = panels(2, width=4.8, height=2.6, sharey=True)
    columns = ((1, 1, "1 image at a time"), (2, 64, "64 at a time"))
    for axes, (column, images, title) in zip(both, columns, strict=True):
        cells = [row[column].replace("*", "") for row in rows]
        fastest = [float(re.match(r"[\d.]+", cell)[0]) / images for cell in cells]
        bars = axes.barh([row[0] for row in rows], fastest, color=["C0"] + ["0.65"] * 5)
        axes.bar_label(bars, fmt="%.3g", padding=3)
        axes.set(title=f"{title}, 1 thread", xlabel="ms an image")
        axes.set_xlim(0, 1.2 * max(fastest))
        axes.invert_yaxis()
        axes.grid(axis="y", visible=False)
    save(figure, "speed.svg")


def depth() -> None:
    """Test accuracy of exact steps on MNIST, each seed a point."""
    shown = {
        "12 layers": {"depth": 12, "skip": "residual", "slope": "default", "rate": 0.002},
        "24 layers": {"depth": 24, "skip": "residual", "slope": "default", "rate": 0.002},
        "12 layers, no skips": {"depth": 12, "skip": None, "slope": "default", "rate": 0.002},
        "12 layers, ReLU": {"depth": 12, "skip": "residual", "slope": "relu", "rate": 0.002},
    }
    found = [
        line
        for line in lines("stability/mnist-jax.jsonl")
        if line["epochs"] == 10 and line["images"] == 60000 and line["label_smoothing"] == 0.1
    ]
    figure, axes = panels(1, width=6.4, height=2.6)
    for place, wanted in enumerate(shown.values()):
        accuracy = [run["hard"] for run in found if all(run.get(k) == v for k, v in wanted.items())]
        offsets = np.linspace(-0.15, 0.15, len(accuracy)) if len(accuracy) > 1 else [0]
        axes.plot(accuracy, place + np.asarray(offsets), "o", alpha=0.6, markersize=4)
        axes.text(99.0, place, f"{np.mean(accuracy):.2f}, {len(accuracy)} seeds", va="center")
    axes.set_yticks(range(len(shown)), list(shown))
    axes.set(xlabel="test accuracy on MNIST, %", xlim=(97.4, 99.6))
    axes.invert_yaxis()
    save(figure, "depth.svg")
