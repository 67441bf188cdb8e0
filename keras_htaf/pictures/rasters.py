"""Which neuron fires when."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from keras_htaf.pictures.parts import COLORS, clock, new_figure, no_frame, over_time

_WIDTH = 9.0
_LEAST, _MOST = 0.9, 4.0
"""Inches of a layer's panel."""
_NEURON = 0.08
"""Inches that a neuron gets as long as there is room."""
_POINTS = 72
"""In an inch."""
_BAR = 3
"""Points that a bar needs to be seen as one."""
_DOTS = 90
"""Cells in an inch, at most; neighbours share one where there are more."""

_SHARE = 5
"""Columns of a step where there is room: the first and the last of them stay empty."""


def raster(spikes: Any, *, dt_ms: float | None = None, title: str | None = None) -> Any:
    """Draws a mark for each spike, neuron by neuron, and beneath it how many fire at a time.

    Args:
        spikes: One sample's spikes `(time, ...features)`, an array or tensor in which all but 0 is
            a spike; or a dict of such by the layer's name, one panel each, the first at the top.
            Features are numbered in the order of `reshape`. Where there are more neurons or steps
            than can be told apart, neighbours share a mark.
        dt_ms: Milliseconds of a time step; None (default) counts steps.
        title: Of the figure. Default: how many neurons and spikes there are.

    Returns:
        A `matplotlib.figure.Figure`.

    Raises:
        ValueError: If there is nothing to draw, shapes are others, or the times differ.
        ImportError: If matplotlib is missing.

    Example:

    >>> spikes = np.random.default_rng(0).random((50, 20)) < 0.1
    >>> raster({"hidden": spikes}, dt_ms=1.0).savefig(tmp / "raster.png")
    """
    layers = spikes if isinstance(spikes, Mapping) else {"": spikes}
    found = {name: over_time(x, f"spikes {name}".strip()) != 0 for name, x in layers.items()}
    lengths = {name: len(on) for name, on in found.items()}
    if len(set(lengths.values())) != 1:
        raise ValueError(
            f"Received spikes of {lengths} time steps. Expected at least one layer, and as many "
            "steps in each."
        )
    times, label = clock(next(iter(lengths.values())), dt_ms)
    half = (times[1] - times[0]) / 2 if len(times) > 1 else 0.5
    heights = [float(np.clip(_NEURON * on.shape[1], _LEAST, _MOST)) for on in found.values()]
    figure = new_figure(_WIDTH, sum(heights) + 0.3 * len(found) + 2.0, "A raster plot")
    *panels, below = figure.subplots(
        len(found) + 1, 1, sharex=True, height_ratios=[*heights, _LEAST]
    )
    for i, (name, on) in enumerate(found.items()):
        color = COLORS[i % len(COLORS)]
        _marks(panels[i], times, half, on, heights[i], color)
        panels[i].set_ylabel(f"{name}\nneuron" if name else "neuron")
        edges = np.append(times - half, times[-1] + half)
        below.stairs(100 * on.mean(axis=1), edges, baseline=None, color=color, lw=1.2)
    below.set(xlabel=label, ylabel="firing (%)", xlim=(times[0] - half, times[-1] + half))
    below.set_ylim(bottom=0)
    if dt_ms is None:
        below.xaxis.get_major_locator().set_params(integer=True)
    below.grid(alpha=0.3)
    no_frame(below)
    neurons = sum(on.shape[1] for on in found.values())
    total = sum(int(on.sum()) for on in found.values())
    figure.suptitle(title or f"{total:,} spikes of {neurons:,} neurons", fontsize=11)
    return figure


def _marks(axes, times, half, on, height, color) -> None:
    """A bar for each spike; cells of a picture where a neuron's row is too low for one."""
    count, row = on.shape[1], _POINTS * height / on.shape[1]
    if row >= _BAR:
        # A bar that is wider than its step would hide the next one.
        wide = _POINTS * (_WIDTH - 1) / len(times)
        step, neuron = np.nonzero(on)
        axes.scatter(
            times[step],
            neuron,
            marker="|",
            s=(0.8 * row) ** 2,
            linewidths=float(np.clip(0.6 * wide, 0.3, 1.4)),
            color=color,
            rasterized=True,
        )
    else:
        cells, rows = _fewer(on.T, int(height * _DOTS))
        cells, columns = _fewer(cells.T, int(_WIDTH * _DOTS))
        if _SHARE * len(on) <= _WIDTH * _DOTS:  # room between one step and the next
            cells = np.repeat(cells, _SHARE, axis=0)
            cells[np.arange(len(cells)) % _SHARE % (_SHARE - 1) == 0] = False
        axes.imshow(
            cells.T,
            aspect="auto",
            interpolation="nearest",
            cmap=_one_color(color),
            vmin=0,
            vmax=1,
            extent=(times[0] - half, times[0] + (2 * columns - 1) * half, rows - 0.5, -0.5),
        )
    axes.set_ylim(count - 0.5, -0.5)
    axes.yaxis.get_major_locator().set_params(integer=True)
    no_frame(axes)


def _fewer(on: np.ndarray, most: int) -> tuple[np.ndarray, int]:
    """Neighbouring rows become one, on where any is, until there are not too many.

    The number is that of the rows that whole groups would hold.
    """
    group = -(-len(on) // most)
    fewer = np.logical_or.reduceat(on, np.arange(0, len(on), group), axis=0)
    return fewer, group * len(fewer)


def _one_color(color):
    from matplotlib.colors import ListedColormap

    return ListedColormap([(1, 1, 1, 0), color])
