"""Spike rates over a training."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from keras_htaf.pictures.parts import COLORS, new_figure, no_frame

PREFIX = "spike_rate/"
"""What `callbacks.SpikeRates` puts before a layer's name in the logs."""


def spike_rates(
    history: Any, *, target: tuple[float, float] | None = None, title: str | None = None
) -> Any:
    """Draws how often each spiking layer fires, over the epochs.

    Args:
        history: What `fit` returned with `callbacks.SpikeRates` among its callbacks, or its dict
            `history.history`: lists by the names `"spike_rate/<layer>"`.
        target: `(low, high)`, the range in which rates should lie, shaded. Default None.
        title: Of the figure. Default: none.

    Returns:
        A `matplotlib.figure.Figure`.

    Raises:
        ValueError: If there are no rates in the history, or the target is no range.
        ImportError: If matplotlib is missing.

    Example:

    >>> logs = {"spike_rate/hidden": [0.4, 0.2, 0.15], "spike_rate/output": [0.0, 0.05, 0.1]}
    >>> spike_rates(logs, target=(0.05, 0.2)).savefig(tmp / "rates.png")
    """
    logs = getattr(history, "history", history)
    if not isinstance(logs, Mapping):
        raise ValueError(f"Received {type(history).__name__}. Expected a History or its dict.")
    rates = {
        key.removeprefix(PREFIX): np.asarray(values, dtype="float64")
        for key, values in logs.items()
        if key.startswith(PREFIX)
    }
    if not rates or not all(values.size for values in rates.values()):
        raise ValueError(
            f"Received a history of {sorted(logs)}. Expected lists named 'spike_rate/<layer>': "
            "give fit the callback keras_htaf.callbacks.SpikeRates."
        )
    if target is not None and not 0 <= target[0] <= target[1]:
        raise ValueError(f"Received target={target!r}. Expected (low, high), 0 <= low <= high.")

    figure = new_figure(8, max(3.2, 0.8 + 0.24 * len(rates)), "A picture of spike rates")
    axes = figure.subplots()
    # The line style says which layer as the colour does, once colours repeat.
    styles = ("-", "--", ":", "-.")
    longest = 1
    for i, (name, values) in enumerate(rates.items()):
        epochs = np.arange(1, len(values) + 1)
        longest = max(longest, len(values))
        style = styles[i // len(COLORS) % len(styles)]
        color = COLORS[i % len(COLORS)]
        axes.plot(epochs, values, style, color=color, marker="o", markersize=3, label=name)
    if target is not None:
        axes.axhspan(*target, color="0.5", alpha=0.15, lw=0, label="target")
    axes.set(xlabel="epoch", ylabel="spikes per neuron and step")
    axes.set_ylim(bottom=0)
    margin = 1.0 if longest == 1 else 0.02 * longest
    axes.set_xlim(1 - margin, longest + margin)
    axes.xaxis.get_major_locator().set_params(integer=True)
    axes.grid(alpha=0.3)
    no_frame(axes)
    axes.legend(loc="center left", bbox_to_anchor=(1.01, 0.5), frameon=False, fontsize=9)
    if title:
        figure.suptitle(title, fontsize=11)
    return figure
