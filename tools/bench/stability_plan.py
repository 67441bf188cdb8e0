"""What the stability study trains: slopes matched in peak and area, and grids around them.

Every slope has area 1 (`normalized="area"`) and a given peak, so that only its shape differs. For
a unit coded -1/+1 the slope is twice that: a peak of 0.5 passes gradients at a gain of 1.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace

import keras

from keras_htaf import backend, surrogates


@keras.saving.register_keras_serializable(package="stability")
class NarrowingHTAF(surrogates.Surrogate):
    """HTAF whose sharpness is beta instead of alpha: annealing it narrows the tail, too."""

    sharpness_name = "beta"
    alpha = 4.0

    def __init__(self, beta: float = 0.5, normalized: str | None = None):
        super().__init__(beta, normalized)

    def _odd(self, x, s):
        return backend.htaf_inference(x, self.alpha, s) - 0.5

    def _derivative(self, x, s):
        return backend.htaf_slope(x, self.alpha, s)

    def _peak(self, s):
        return self.alpha * s / 4.0

    def _area(self, s):
        return math.tanh(self.alpha / 2.0)


SLOPES: dict[str, surrogates.Surrogate] = {
    "default": surrogates.HTAF(beta=0.5),
    "HTAF": surrogates.HTAF(beta=0.5, normalized="area"),
    "HTAF, beta": NarrowingHTAF(normalized="area"),
    "Sigmoid": surrogates.Sigmoid(normalized="area"),
    "ATan": surrogates.ATan(normalized="area"),
    "FastSigmoid": surrogates.FastSigmoid(normalized="area"),
    "Triangle": surrogates.Triangle(normalized="area"),
    "Erf": surrogates.Erf(normalized="area"),
    "clipped identity": surrogates.Rectangle(normalized="area"),
}
"""By name: the slopes, but for the recipe's of area 1; `sharpness_for` gives them a peak."""

START, END = 0.33, 2.0
"""Peaks where annealing begins and ends: HTAF's at alpha 2 and 16."""


@dataclass(frozen=True)
class Run:
    """One training; all but the seed, the rate and the peaks shape the compiled model."""

    slope: str = "HTAF"
    depth: int = 12
    width: int = 128
    normalization: str | None = "batch"
    skip: str | None = None
    forward: str = "hard"
    peaks: tuple[float, float] = (START, END)
    """At the start and at the end of the training."""
    rate: float = 2e-3
    gain: float = 1.0
    """What the initial kernels are multiplied by."""
    calibrated: bool = False
    closing: str | None = None
    """How a smooth forward pass becomes hard, see `stability_run.py`."""
    epochs: int = 4
    images: int = 6400
    label_smoothing: float = 0.0
    diagnosed: bool = False
    """Whether gradient norms are measured at each step, before and after the training."""
    seed: int = 0

    @property
    def model(self) -> Run:
        """The runs that share this one's compiled model have the same."""
        return replace(
            self, peaks=(0.0, 0.0), rate=0.0, seed=0, gain=1.0, calibrated=False, diagnosed=False
        )

    @property
    def key(self) -> str:
        return "|".join(str(value) for value in asdict(self).values())


RECIPE = {
    "slope": "default",
    "peaks": (0.25, 2.0),  # of the default slope, which is not brought to area 1: alpha 2 and 16
    "width": 256,
    "skip": "residual",
    "epochs": 10,
    "images": 60000,
    "label_smoothing": 0.1,
}
"""What `deep_heaviside_network`'s docstring says, on the whole of MNIST."""
DEPTHS = [2, 6, 12, 24]
GRID_RATES = [3e-4, 1e-3, 2e-3, 5e-3, 1e-2]
GRID_PEAKS = [0.25, 0.5, 1.0, 2.0]
GAINS = [0.25, 1.0, 4.0]
CLOSINGS = [None, "last phase", "rising probability", "layer by layer", "softness", "statistics"]


def _product(seeds: int, **axes) -> Iterator[Run]:
    # A pair of peaks is one value; several values of any axis are a list.
    choices = [v if isinstance(v, list) else [v] for v in axes.values()]
    for values in itertools.product(*choices):
        for seed in range(seeds):
            yield Run(**dict(zip(axes, values, strict=True)), seed=seed)


def parts(seeds: int) -> dict[str, list[Run]]:
    """The study's questions; runs that occur in several are trained once."""
    slopes = [slope for slope in SLOPES if slope != "default"]
    return {
        "recipe": [
            *_product(4 * seeds, **RECIPE),
            *_product(seeds, **{**RECIPE, "slope": "relu"}),
            *_product(min(seeds, 3), rate=[3e-4, 1e-3, 3e-3], **RECIPE),
            *_product(seeds, depth=24, **RECIPE),
            *_product(seeds, **{**RECIPE, "skip": None}),
        ],
        "slopes": [
            *_product(
                seeds,
                slope=slopes,
                peaks=[(START, START), (2 * START, 2 * START), (START, END)],
                forward=["hard", "smooth"],
            )
        ],
        "depth": [
            *_product(seeds, slope=slopes, depth=DEPTHS, normalization="batch", skip="residual"),
            *_product(seeds, slope=slopes, depth=DEPTHS, normalization=["batch", None]),
        ],
        "rate": [*_product(seeds, slope=slopes, normalization=["batch", None], rate=GRID_RATES)],
        "sharpness": [
            *_product(
                seeds,
                slope=slopes,
                normalization=["batch", None],
                peaks=[(peak, peak) for peak in GRID_PEAKS],
            )
        ],
        "gradients": [
            *_product(
                min(seeds, 3), slope=slopes, depth=24, skip=[None, "residual"], diagnosed=True
            )
        ],
        "gap": [
            *_product(seeds, forward="hard", skip=[None, "residual"]),
            *_product(seeds, forward="smooth", skip=[None, "residual"], closing=CLOSINGS),
        ],
        "calibration": [
            *_product(
                seeds,
                slope=["HTAF", "Sigmoid", "ATan"],
                normalization=None,
                skip=[None, "residual"],
                gain=GAINS,
                calibrated=[False, True],
            )
        ],
    }
