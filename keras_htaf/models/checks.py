"""What the builders ask of their arguments."""

from __future__ import annotations

from numbers import Integral


def check_sizes(**sizes) -> None:
    """Positive integers, each under its argument's name, or a ValueError."""
    for key, value in sizes.items():
        if isinstance(value, bool) or not isinstance(value, Integral) or value < 1:
            raise ValueError(f"Received {key}={value!r}. Expected a positive integer.")


def check_each_size(**lists) -> None:
    """Tuples or lists of positive integers, each under its argument's name, or a ValueError."""
    for key, sizes in lists.items():
        if not isinstance(sizes, (tuple, list)):
            raise ValueError(f"Received {key}={sizes!r}. Expected a tuple of positive integers.")
        check_sizes(**{f"{key}[{i}]": size for i, size in enumerate(sizes)})


def check_choice(key: str, value, allowed) -> None:
    """One of the allowed values, or a ValueError."""
    if value not in allowed:
        raise ValueError(f"Received {key}={value!r}. Expected one of {tuple(allowed)}.")


def check_shape(input_shape) -> tuple[int, ...]:
    """Known, positive sizes without the batch axis, or a ValueError."""
    _check_tuple(input_shape)
    if not input_shape or any(size is None or size < 1 for size in input_shape):
        raise ValueError(f"Received input_shape={input_shape!r}. Expected known, positive sizes.")
    return tuple(input_shape)


def check_images(input_shape, least: int) -> tuple[int, ...]:
    """(height, width, channels), at least `least` pixels a side if known, or a ValueError."""
    _check_tuple(input_shape)
    sides = [least if size is None else size for size in input_shape[:2]]
    if len(input_shape) != 3 or min(sides) < least or not input_shape[2]:
        raise ValueError(
            f"Received input_shape={input_shape!r}. Expected (height, width, channels) with at "
            f"least {least} x {least} pixels."
        )
    return tuple(input_shape)


def _check_tuple(input_shape):
    if not isinstance(input_shape, (tuple, list)):
        raise ValueError(
            f"Received input_shape={input_shape!r}. Expected a tuple of sizes without the batch "
            "axis."
        )
