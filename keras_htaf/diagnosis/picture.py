"""A diagnosis as a figure."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from keras_htaf.diagnosis.advice import EXPLODING, VANISHING
from keras_htaf.diagnosis.table import headline
from keras_htaf.files import replacing

if TYPE_CHECKING:
    from keras_htaf.diagnosis.results import Diagnosis

# Colours of Okabe and Ito, which the colour-blind tell apart too; markers say the same, and the
# second fits on the first where both lie at one point.
_STYLES = (
    {"color": "#0072B2", "marker": "o", "markersize": 7},
    {"color": "#D55E00", "marker": "s", "markersize": 4},
    {"color": "#595959", "marker": "|", "markersize": 10, "linestyle": ":"},
)
_PANELS = (
    ("units of the step's input", {"RMS": "rms", "95 % reach": "reach", "slope's 95 %": "width"}),
    ("share of the inputs", {"covered": "covered", "passed": "passed"}),
    ("share of the units", {"dead": "dead", "always on": "always_on"}),
    ("relative to the last step", {"gradient": "gradient"}),
    ("mean over the inputs", {"softness": "softness", "error": "error"}),
)
_FLOOR = 1e-8
"""Smaller gradients are drawn here: 0 has no place on a logarithmic axis."""
_LONGEST = 28
"""Characters of a layer's path that are shown, its last ones."""


def draw(diagnosis: Diagnosis, path: str | os.PathLike) -> None:
    """A line for each step, the first at the top; a panel for each kind of measure."""
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise ImportError(
            f"Diagnosis.plot needs matplotlib, which cannot be imported ({error}). Install it "
            'with: pip install "keras-htaf[cli]"'
        ) from error

    layers = diagnosis.layers
    depth = range(len(layers))
    figure = Figure(figsize=(14, 1.8 + 0.28 * len(layers)), layout="constrained")
    figure.suptitle(headline(diagnosis), fontsize=11)
    panels = figure.subplots(1, len(_PANELS), sharey=True, width_ratios=(1.35, 1, 1, 1, 1))
    for axes, (label, measures) in zip(panels, _PANELS, strict=True):
        for (name, key), style in zip(measures.items(), _STYLES, strict=False):
            values = np.array([getattr(row, key) for row in layers], "float64")  # None is NaN
            if key == "gradient":
                values = np.maximum(values, _FLOOR)
            axes.plot(values, depth, label=name, **style)
        axes.set_xlabel(label)
        axes.grid(alpha=0.3)
        axes.legend(
            loc="lower left",
            bbox_to_anchor=(0, 1),
            ncols=3,
            frameon=False,
            fontsize=9,
            borderaxespad=0.2,
            columnspacing=1,
            handletextpad=0.4,
            handlelength=1.5,
        )
        if label.startswith(("share", "mean")):
            axes.set(xlim=(-0.04, 1.04), xticks=(0, 0.5, 1))
    sizes, gradient = panels[0], panels[3]
    sizes.set_xlim(0, 1.05 * sizes.get_xlim()[1])
    gradient.set_xscale("log")
    low, high = gradient.get_xlim()
    low, high = min(low, VANISHING / 10), max(high, EXPLODING * 10)
    gradient.set_xlim(low, high)
    for outside in ((low, VANISHING), (EXPLODING, high)):
        gradient.axvspan(*outside, color="0.5", alpha=0.15, linewidth=0)
    names = [
        row.name if len(row.name) <= _LONGEST else f"…{row.name[-_LONGEST:]}" for row in layers
    ]
    sizes.set_yticks(depth, names)
    sizes.set_ylim(len(layers) - 0.5, -0.5)
    with replacing(path) as temporary:
        figure.savefig(temporary, dpi=110, format=Path(path).suffix[1:] or "png")
