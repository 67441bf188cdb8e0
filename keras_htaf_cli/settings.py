"""What determines a run of `keras-htaf train icbm`; the options' defaults are these."""

from __future__ import annotations

import math
from dataclasses import dataclass


@dataclass(frozen=True)
class Settings:
    """See `keras-htaf train icbm --help` for the fields.

    Raises:
        ValueError: If a sharpness, beta or the learning rate is not a positive finite number.
    """

    data: str = "digits"
    data_dir: str | None = None
    epochs: int = 30
    concepts: int = 64
    seed: int = 0
    batch_size: int = 64
    learning_rate: float = 3e-3
    width: int = 32
    alpha_start: float = 2.0
    alpha_end: float = 16.0
    beta: float = 0.5
    concept_dropout: float = 0.0
    diversity: float = 0.0
    augment: str | None = None
    normalize: str = "unit"

    def __post_init__(self):
        for name in ("alpha_start", "alpha_end", "beta", "learning_rate"):
            value = getattr(self, name)
            is_number = isinstance(value, int | float) and not isinstance(value, bool)
            if not (is_number and 0 < value < math.inf):
                raise ValueError(f"Received {name}={value!r}. Expected a positive finite number.")
