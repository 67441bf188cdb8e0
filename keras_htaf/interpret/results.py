"""What all results of this room can do: be written as JSON has it."""

from __future__ import annotations

from dataclasses import fields, is_dataclass

import numpy as np


class Result:
    """Base of the dataclasses that hold what was found."""

    def to_dict(self) -> dict:
        """The fields as JSON has them: arrays are lists, and what is NaN or infinite is None."""
        return plain(self)


def plain(value):
    """A value as JSON has it."""
    if is_dataclass(value):
        return {field.name: plain(getattr(value, field.name)) for field in fields(value)}
    if isinstance(value, dict):
        return {str(key): plain(each) for key, each in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(each) for each in value]
    if isinstance(value, np.ndarray):
        return plain(value.tolist())
    if isinstance(value, np.generic):
        return plain(value.item())
    if isinstance(value, float):
        return value if np.isfinite(value) else None
    return value


def table(**columns) -> list[dict]:
    """Columns of equal length as one dict for each row, as JSON has it."""
    columns = {name: plain(values) for name, values in columns.items()}
    return [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]
