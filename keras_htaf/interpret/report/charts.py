"""Numbers as lines and bars: where everything is on the drawing, to be drawn by a template."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from keras_htaf.interpret.sparse import SparseHeads

WIDTH, HEIGHT = 720, 320
_LEFT, _RIGHT, _TOP, _BOTTOM = 52, 190, 16, 42
_LABEL_GAP = 17


@dataclass(frozen=True)
class Line:
    """One line of a chart, with its name at its end."""

    name: str
    path: str
    points: tuple[tuple[float, float], ...]
    label_y: float
    style: str


@dataclass(frozen=True)
class Chart:
    """A drawing of WIDTH x HEIGHT, and the same as a table."""

    title: str
    x_name: str
    clipped: bool
    lines: tuple[Line, ...]
    x_ticks: tuple[tuple[float, str], ...]
    y_ticks: tuple[tuple[float, str], ...]
    header: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    width: int = WIDTH
    height: int = HEIGHT
    left: int = _LEFT
    right: int = WIDTH - _RIGHT
    bottom: int = HEIGHT - _BOTTOM


def line_chart(
    title: str,
    x_name: str,
    x: Sequence[float],
    series: Mapping[str, Sequence[float] | np.ndarray],
    styles: Mapping[str, str],
    start: int = 0,
) -> Chart:
    """Percentages over whole numbers.

    Args:
        title: What the chart says.
        x_name: What the numbers are.
        x: (n,).
        series: Shares from 0 to 1 by name, (n,) each; what is not finite is left out.
        styles: A word of the style sheet for each name.
        start: The axis begins at the least value from this place on; lower ones lie on it.
    """
    known = [100 * y for ys in series.values() for y in ys[start:] if np.isfinite(y)]
    low, high, y_ticks = _nice(min(known), max(known))
    first, last = min(x), max(x)
    along = (WIDTH - _LEFT - _RIGHT) / ((last - first) or 1)
    up = (HEIGHT - _TOP - _BOTTOM) / (high - low)

    def place(a, b):
        middle = 0.5 * (WIDTH - _LEFT - _RIGHT) if first == last else 0.0
        return round(_LEFT + middle + (a - first) * along, 1), round(
            HEIGHT - _BOTTOM - max(100 * b - low, 0) * up, 1
        )

    points = {
        name: tuple(place(a, b) for a, b in zip(x, ys, strict=True) if np.isfinite(b))
        for name, ys in series.items()
    }
    points = {name: each for name, each in points.items() if each}
    ends = _apart({name: each[-1][1] for name, each in points.items()})
    lines = tuple(
        Line(name, "M" + "L".join(f"{a} {b}" for a, b in each), each, ends[name], styles[name])
        for name, each in points.items()
    )
    steps = x if len(x) <= 8 else [x[i] for i in np.linspace(0, len(x) - 1, 6).round().astype(int)]
    return Chart(
        title=title,
        x_name=x_name,
        clipped=any(100 * b < low for ys in series.values() for b in ys),
        lines=lines,
        x_ticks=tuple((place(a, 0)[0], f"{a:g}") for a in steps),
        y_ticks=tuple((place(first, t / 100)[1], f"{t:g} %") for t in y_ticks),
        header=(x_name, *series),
        rows=tuple((f"{a:g}", *(_cell(ys[i]) for ys in series.values())) for i, a in enumerate(x)),
    )


def _cell(share: float) -> str:
    return f"{100 * share:.2f} %" if np.isfinite(share) else "-"


def nec_chart(found: SparseHeads) -> Chart:
    """Accuracy against the number of effective concepts."""
    count = len(found.necs)
    series: dict[str, Sequence[float]] = {"this model's head": [found.own] * count}
    series["all bits, refitted"] = [found.dense.accuracy] * count
    series |= {_WORDS[kind]: [h.accuracy for h in heads] for kind, heads in found.heads.items()}
    styles = dict(zip(series, ("own", "dense", "elastic", "exact", "ternary"), strict=True))
    if found.random is not None:
        series["random bits"], styles["random bits"] = found.random[:-1], "random"
    title = "Accuracy against the number of bits that a class may use"
    return line_chart(title, "bits per class", found.necs, series, styles)


_WORDS = {
    "elastic net": "as many on average",
    "per class": "exactly that many",
    "ternary": "the same, weights ±1",
}


def gap_chart(history: Mapping[str, Sequence[float]]) -> Chart:
    """Accuracy with smooth and with exact bits after each epoch."""
    wanted = {"smooth bits": "smooth_accuracy", "exact bits": "hard_accuracy"}
    if not isinstance(history, Mapping) or (set(wanted.values()) - set(history)):
        raise ValueError(
            f"The history has {sorted(history) if isinstance(history, Mapping) else history!r}. "
            f"Expected {sorted(wanted.values())}: that of a training with "
            "keras_htaf.callbacks.DiscretizationGap."
        )
    series = {name: _shares(key, history[key]) for name, key in wanted.items()}
    smooth, exact = series.values()
    if len(smooth) != len(exact):
        raise ValueError(
            f"The history has {len(smooth)} accuracies with smooth and {len(exact)} with exact "
            "bits. Expected as many of both."
        )
    # With DiscretizationGap(every=) other than 1 it does not say which epochs they are of.
    each = len(history.get("loss", exact)) == len(exact)
    epochs = range(1, len(exact) + 1)
    title = "Accuracy with smooth and with exact bits over the training"
    styles = {"smooth bits": "dense", "exact bits": "exact"}
    start = len(epochs) // 3  # a network that has learned nothing yet would flatten all else
    if not any(np.isfinite(shares[start:]).any() for shares in series.values()):
        start = 0
    return line_chart(title, "epoch" if each else "measurement", epochs, series, styles, start)


def _shares(key: str, values) -> np.ndarray:
    """One number for each measurement, of which NaN are left out later, or a ValueError."""
    try:
        shares = np.asarray(values, "float64")
    except (TypeError, ValueError):
        shares = np.empty(0)
    within = shares[np.isfinite(shares)]
    if shares.ndim != 1 or not len(within) or within.min() < 0 or within.max() > 1:
        raise ValueError(
            f"The history's {key!r} is {values!r:.99}. Expected a share from 0 to 1 for each "
            "epoch, at least one that is finite."
        )
    return shares


@dataclass(frozen=True)
class Bar:
    """One bar of a histogram: its name, how many, and the share of the largest."""

    name: str
    count: int
    share: float
    of_all: float


def flip_bars(radii: np.ndarray, most: int = 10) -> tuple[Bar, ...]:
    """How many samples change at how many flips; the last bar is for `most` and more."""
    finite = radii[np.isfinite(radii)].astype(int)
    counts = np.bincount(np.minimum(finite, most), minlength=2)[1:]
    names = [f"{i + 1}" if i + 1 < most else f"{most} or more" for i in range(len(counts))]
    if never := int(np.sum(~np.isfinite(radii))):
        counts, names = np.append(counts, never), [*names, "no number"]
    return tuple(
        Bar(name, int(count), float(count / counts.max()), float(count / len(radii)))
        for name, count in zip(names, counts, strict=True)
    )


def _nice(low: float, high: float) -> tuple[float, float, list[float]]:
    """Limits and round ticks of an axis in percent."""
    span = max(high - low, 1.0)
    step = next(s for s in (0.5, 1, 2, 5, 10, 20, 25, 50) if span / s <= 5 or s == 50)
    low, high = max(0.0, np.floor(low / step) * step), min(100.0, np.ceil(high / step) * step)
    if low == high:
        low, high = (low - step, high) if high >= 100 else (low, high + step)
    return float(low), float(high), [float(t) for t in np.arange(low, high + step / 2, step)]


def _apart(ends: dict[str, float]) -> dict[str, float]:
    """Heights of labels, moved until none covers another."""
    names = sorted(ends, key=ends.__getitem__)
    heights = [ends[name] for name in names]
    for i in range(1, len(heights)):
        heights[i] = max(heights[i], heights[i - 1] + _LABEL_GAP)
    excess = max(0.0, heights[-1] - (HEIGHT - _BOTTOM + 4)) if heights else 0.0
    if excess:
        heights[-1] -= excess
        for i in reversed(range(len(heights) - 1)):
            heights[i] = min(heights[i], heights[i + 1] - _LABEL_GAP)
    return dict(zip(names, [round(h, 1) for h in heights], strict=True))
