"""What a diagnosis consists of."""

from __future__ import annotations

import math
import os
from dataclasses import asdict, dataclass

from keras_htaf.diagnosis.picture import draw
from keras_htaf.diagnosis.table import text


@dataclass(frozen=True)
class StepDiagnosis:
    """What one step layer receives, passes back and gives; shares and means are from 0 to 1.

    Example:

    >>> model = keras.Sequential(
    ...     [keras.Input((4,)), keras_htaf.layers.HTAF(), keras.layers.Dense(4)]
    ... )
    >>> x = np.eye(4).repeat(10, axis=0) - 0.5
    >>> row = keras_htaf.diagnose(model, x, x.argmax(axis=1)).layers[0]
    >>> row.surrogate, row.rms, row.dead
    ('HTAF', 0.5, 0.0)
    """

    name: str
    """The layer's path within the model."""
    surrogate: str
    """The class of its slope, such as `"HTAF"`."""
    forward: str
    """`"smooth"` or `"hard"`."""
    units: int
    """Its size along the channel axis; of a shared layer, the sum over its calls."""
    rms: float
    """Root mean square of the inputs."""
    reach: float
    """What 95 % of the inputs' sizes |x| do not exceed, to within 1 %."""
    width: float
    """Half-width of the interval around the threshold that holds 95 % of the slope's area, in units
    of the input (the mean over channels); infinite for a slope of infinite area."""
    covered: float
    """Share of the inputs within that interval."""
    passed: float
    """Mean of |g(x)| / g(0): the share of the slope's peak that gets through on average."""
    dead: float
    """Share of the units that are never on."""
    always_on: float
    """Share of the units that are always on."""
    gradient: float | None
    """Norm of the loss's gradient at the inputs, relative to the last step; None if that is 0."""
    softness: float
    """Mean of 4 h (1 - h), h the smooth bit: 0 if all are saturated, 1 if all are undecided. (Where
    the slope's area is not that of a step, h does not run from 0 to 1.)"""
    error: float
    """Mean of |h - b|, b the exact bit."""


@dataclass(frozen=True)
class Diagnosis:
    """What `keras_htaf.diagnosis.diagnose` found; `print` it, or `plot` it.

    Example:

    >>> model = keras.Sequential(
    ...     [keras.Input((4,)), keras_htaf.layers.HTAF(), keras.layers.Dense(4)]
    ... )
    >>> x = np.eye(4).repeat(10, axis=0) - 0.5
    >>> diagnosis = keras_htaf.diagnose(model, x, x.argmax(axis=1))
    >>> diagnosis.samples, sorted(diagnosis.scores)
    (40, ['disagreement', 'gap', 'hard_accuracy', 'smooth_accuracy'])
    """

    model: str
    """The model's name."""
    samples: int
    loss: str
    """The name of the loss whose gradient was measured."""
    scores: dict[str, float]
    """`smooth_accuracy`, `hard_accuracy`, `gap` and `disagreement` as in
    `keras_htaf.callbacks.DiscretizationGap`; of a regression `smooth_mean_squared_error` and
    `hard_mean_squared_error`; empty where neither could be measured."""
    layers: list[StepDiagnosis]
    """One row for each step layer, in the order in which the model first calls them."""
    advice: list[str]
    """What to do, as sentences; empty when all is well."""

    def __str__(self) -> str:
        return text(self)

    def to_dict(self) -> dict:
        """All of it as JSON has it: an infinite width is None."""
        found = asdict(self)
        for row in found["layers"]:
            row["width"] = row["width"] if math.isfinite(row["width"]) else None
        return found

    def plot(self, path: str | os.PathLike) -> None:
        """Writes a figure of the steps, one line each from the first to the last, to `path`.

        Args:
            path: Its suffix chooses the format, `.png` or `.pdf` for instance. Written atomically.

        Raises:
            ImportError: If matplotlib is not installed.
        """
        draw(self, path)
