"""Membrane potentials over time."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from keras_htaf.pictures.parts import COLORS, clock, new_figure, no_frame, over_time

_SHOWN = 8


def membrane(
    potentials: Any,
    spikes: Any = None,
    *,
    threshold: float | Any | None = None,
    neurons: Sequence[int] | None = None,
    dt_ms: float | None = None,
    unit: str | None = None,
    title: str | None = None,
) -> Any:
    """Draws the potential of some neurons, one above the other on one scale.

    Args:
        potentials: One sample's potentials `(time, ...features)`, an array or tensor.
        spikes: Its spikes, of the same shape, marked above each curve. Default None.
        threshold: Where a neuron fires, a dashed line: one number, or one for each neuron.
        neurons: Numbers of the neurons to draw, counted as `reshape` orders the features. Default:
            the first 8.
        dt_ms: Milliseconds of a time step; None (default) counts steps.
        unit: Of the potential, such as `"mV"`. Default None: the network's own, without a name.
        title: Of the figure. Default: how many neurons there are.

    Returns:
        A `matplotlib.figure.Figure`.

    Raises:
        ValueError: If shapes do not fit or there is no such neuron.
        ImportError: If matplotlib is missing.

    Example:

    >>> v = np.sin(np.linspace(0, 9, 50))[:, None] * np.array([0.5, 1.2])
    >>> membrane(v, v > 1, threshold=1.0, dt_ms=1.0).savefig(tmp / "membrane.png")
    """
    v = over_time(potentials, "potentials")
    count = v.shape[1]
    on = None if spikes is None else over_time(spikes, "spikes") != 0
    if on is not None and on.shape != v.shape:
        raise ValueError(
            f"Received spikes of {on.shape} and potentials of {v.shape} (time, neurons). Expected "
            "the same shape."
        )
    chosen = list(range(min(count, _SHOWN)) if neurons is None else neurons)
    if not chosen or any(n != int(n) or not 0 <= n < count for n in chosen):
        raise ValueError(f"Received neurons={neurons!r}. Expected numbers from 0 to {count - 1}.")
    limits = None if threshold is None else _per_neuron(threshold, count)
    times, label = clock(len(v), dt_ms)

    figure = new_figure(9, 1.2 + 0.85 * len(chosen), "A picture of membrane potentials")
    panels = figure.subplots(len(chosen), 1, sharex=True, sharey=True, squeeze=False)[:, 0]
    shown = [v[:, chosen]] if limits is None else [v[:, chosen], limits[chosen]]
    low, high = min(x.min() for x in shown), max(x.max() for x in shown)
    room = (high - low) or 1.0
    for axes, neuron in zip(panels, chosen, strict=True):
        axes.plot(times, v[:, neuron], color=COLORS[0], lw=1.2)
        if limits is not None:
            axes.axhline(limits[neuron], color=COLORS[6], lw=0.9, ls="--")
        if on is not None:
            at = times[on[:, neuron]]
            axes.vlines(at, high + 0.08 * room, high + 0.25 * room, color=COLORS[1], lw=1.2)
        axes.set_title(f"neuron {neuron}", loc="left", fontsize=8, pad=1)
        axes.grid(alpha=0.3)
        no_frame(axes)
    panels[0].set_ylim(low - 0.1 * room, high + (0.1 if on is None else 0.3) * room)
    panels[-1].set_xlabel(label)
    figure.supylabel(f"membrane potential ({unit})" if unit else "membrane potential", fontsize=10)
    marks = [part for part, there in (("dashed: threshold", limits is not None),
                                      ("marks: spikes", on is not None)) if there]  # fmt: skip
    which = f"{len(chosen)} of {count:,} neurons" if len(chosen) < count else f"{count} neurons"
    figure.suptitle(title or "; ".join([which, *marks]), fontsize=11)
    return figure


def _per_neuron(threshold, count) -> np.ndarray:
    try:
        limits = np.broadcast_to(np.asarray(threshold, dtype="float64").reshape(-1), (count,))
    except (TypeError, ValueError) as error:
        raise ValueError(
            f"Received threshold={threshold!r}. Expected one number, or one for each of the "
            f"{count} neurons."
        ) from error
    return limits
