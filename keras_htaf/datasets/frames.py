"""From the events of a sensor to frames."""

from __future__ import annotations

from numbers import Integral

import numpy as np

_MICROSECONDS = 1000
"""In a millisecond."""


def event_frames(
    events: np.ndarray,
    sensor_size: tuple[int, int, int],
    num_frames: int = 10,
    *,
    by: str = "time",
    window_ms: float | None = None,
    start_us: int | None = None,
    pool: int = 1,
) -> np.ndarray:
    """Counts the events of a recording in frames.

    The event i of N, in the order of time, at time t belongs to the frame

        by="time"                floor((t - t_first) T / (t_last - t_first + 1)), T = num_frames
        by="time", window_ms=w   floor((t - start_us) / (1000 w)); events beyond are left out
        by="count"               floor(i T / N)

    so that frames last equally long, last `window_ms`, or hold as many events each, within one.

    Args:
        events: A structured array of N events with fields `t` (whole microseconds), `x`, and for a
            camera `y` and `p` (polarity, 0 or 1), as Tonic has them. N = 0 gives empty frames.
        sensor_size: `(width, height, polarities)`. A sensor whose events have no `y` is a row of
            `width` units.
        num_frames: T. Default 10.
        by: `"time"` (default) or `"count"`.
        window_ms: Milliseconds of each frame, a whole number of microseconds; None (default) for
            a T-th of the recording.
        start_us: Where the first window begins; None (default) for the first event.
        pool: Squares of `pool x pool` pixels (or so many neighbours in a row) are counted
            together; those at the far borders may be smaller. Default 1.

    Returns:
        Counts, int32 of shape `(T, height / pool, width / pool, polarities)`, sizes rounded up, or
        `(T, width / pool)` without `y`.

    Raises:
        ValueError: If an argument is out of range, the fields are others, or an event lies outside
            the sensor.

    Example:

    >>> events = np.array([(0, 2), (10, 2), (90, 0)], dtype=[("t", "int64"), ("x", "int64")])
    >>> event_frames(events, (3, 1, 1), num_frames=2)
    array([[0, 0, 2],
           [1, 0, 0]], dtype=int32)
    """
    check_framing(num_frames, by, window_ms, pool)
    fields = events.dtype.names or ()
    if not {"t", "x"} <= set(fields) or ("y" in fields and "p" not in fields):
        raise ValueError(
            f"Received events with the fields {fields}. Expected t and x, and of a camera also y "
            "and p."
        )
    shape = frame_shape(sensor_size, "y" in fields, pool)
    times = events["t"].astype(np.int64)
    if np.any(times[1:] < times[:-1]):
        order = np.argsort(times, kind="stable")
        events, times = events[order], times[order]
    place = _places(events, sensor_size, shape, pool)
    frame = _frames(times, num_frames, by, window_ms, start_us)
    inside = (frame >= 0) & (frame < num_frames)
    size = int(np.prod(shape))
    flat = frame[inside] * size + place[inside]
    counts = np.bincount(flat, minlength=num_frames * size).astype(np.int32)
    return counts.reshape(num_frames, *shape)


def check_framing(num_frames: int, by: str, window_ms: float | None, pool: int) -> None:
    """Raises ValueError unless the arguments of `event_frames` fit together."""
    for name, value in (("num_frames", num_frames), ("pool", pool)):
        if isinstance(value, bool) or not isinstance(value, Integral) or value < 1:
            raise ValueError(f"Received {name}={value!r}. Expected a positive integer.")
    if by not in ("time", "count"):
        raise ValueError(f"Received by={by!r}. Expected 'time' or 'count'.")
    if window_ms is None:
        return
    if by == "count":
        raise ValueError("Received window_ms with by='count'. Expected by='time', or no window_ms.")
    window = window_ms * _MICROSECONDS
    if not window >= 1 or window != round(window):
        raise ValueError(
            f"Received window_ms={window_ms!r}. Expected milliseconds that are a whole number of "
            "microseconds, at least one."
        )


def frame_shape(sensor_size: tuple[int, int, int], planar: bool, pool: int) -> tuple[int, ...]:
    """The shape of one frame, of a camera if `planar` and else of a row of units."""
    width, height, polarities = sensor_size
    if planar:
        return (-(-height // pool), -(-width // pool), polarities)
    return (-(-width // pool),)


def _places(events, sensor_size, shape, pool) -> np.ndarray:
    """The position of each event in a flattened frame."""
    limits = dict(zip("xyp", sensor_size, strict=True))
    names = ("y", "x", "p") if len(shape) == 3 else ("x",)
    values = []
    for name in names:
        value = events[name].astype(np.int64)
        if value.size and not 0 <= value.min() <= value.max() < limits[name]:
            raise ValueError(
                f"Received events with {name} in {value.min()}..{value.max()}. Expected 0 to "
                f"{limits[name] - 1} for a sensor of size {tuple(sensor_size)}."
            )
        values.append(value if name == "p" else value // pool)
    return np.ravel_multi_index(values, shape)


def _frames(times, num_frames, by, window_ms, start_us) -> np.ndarray:
    """The frame of each event; those of other numbers are left out."""
    if not times.size:
        return times
    if by == "count":
        return np.arange(times.size, dtype=np.int64) * num_frames // times.size
    if window_ms is None:
        return (times - times[0]) * num_frames // (times[-1] - times[0] + 1)
    start = times[0] if start_us is None else start_us
    return (times - start) // round(window_ms * _MICROSECONDS)
