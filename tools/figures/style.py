"""One look for all figures: SVG on white, whose lightness the site turns over in the dark."""

from __future__ import annotations

from pathlib import Path

import matplotlib
from matplotlib.figure import Figure

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "docs" / "figures"

matplotlib.rcParams.update(
    {
        "axes.grid": True,
        "axes.spines.right": False,
        "axes.spines.top": False,
        "font.size": 10,
        "grid.alpha": 0.3,
        "legend.frameon": False,
        "svg.hashsalt": "keras-htaf",  # the same file from the same numbers
    }
)


def panels(columns: int, rows: int = 1, width: float = 4.0, height: float = 3.2, **options):
    """A figure and its axes, side by side."""
    figure = Figure(figsize=(width * columns, height * rows), layout="constrained")
    return figure, figure.subplots(rows, columns, **options)


def save(figure: Figure, name: str) -> None:
    FOLDER.mkdir(exist_ok=True)
    options = {"metadata": {"Date": None}} if name.endswith(".svg") else {"dpi": 130}
    figure.savefig(FOLDER / name, **options)
