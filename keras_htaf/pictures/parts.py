"""What the pictures share: arrays, a figure, an axis of time, colours."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np

# Colours of Okabe and Ito, which the colour-blind tell apart too.
COLORS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#595959")


def new_figure(width: float, height: float, purpose: str) -> Any:
    """A figure of some inches, or an ImportError that says what installs matplotlib."""
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise ImportError(
            f"{purpose} needs matplotlib, which cannot be imported ({error}). Install it "
            'with: pip install "keras-htaf[cli]"'
        ) from error
    return Figure(figsize=(width, height), dpi=110, layout="constrained")


def over_time(values: Any, name: str) -> np.ndarray:
    """One sample as a float array `(time, neurons)`, features flattened, or a ValueError."""
    array = np.asarray(keras.ops.convert_to_numpy(values), dtype="float64")
    if array.ndim < 2 or not array.size:
        raise ValueError(
            f"Received {name} of shape {array.shape}. Expected one sample, (time, ...features), "
            "that is not empty: of a batch take one, such as x[0]."
        )
    if not np.all(np.isfinite(array)):
        raise ValueError(f"Received {name} with NaN or infinite values. Expected finite numbers.")
    return array.reshape(len(array), -1)


def clock(steps: int, dt_ms: float | None) -> tuple[np.ndarray, str]:
    """The time of each step and the label of its axis."""
    if dt_ms is None:
        return np.arange(steps, dtype="float64"), "time (steps)"
    if not (dt_ms > 0 and np.isfinite(dt_ms)):
        raise ValueError(f"Received dt_ms={dt_ms!r}. Expected positive milliseconds, or None.")
    return np.arange(steps) * float(dt_ms), "time (ms)"


def no_frame(axes: Any) -> None:
    """Takes away the lines above and to the right of the axes."""
    axes.spines[["top", "right"]].set_visible(False)
