"""From numbers to sentences."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from keras_htaf.diagnosis.results import StepDiagnosis

from keras_htaf.samples import FEW

BEYOND = 0.4
"""Share of inputs outside of 95 % of the slope. `layers.HTAF()` (alpha 8) has a third after batch
normalisation, and trains; after `keras_htaf.calibrate` it is about a quarter for Laplacian inputs,
less for lighter tails."""

PASSED = 0.1
"""Mean share of the slope's peak below which inputs beyond its 95 % are trouble. The recipe of
`deep_heaviside_network` ends with a narrow slope that passes 0.16 of its peak, and trains."""

LINEAR = 0.97
"""Mean share of the slope's peak. Above, with all inputs covered, the slope varies so little over
the data that the smooth step is a straight line and the gradient that of no step at all."""

COVERED = 0.99
"""Share of inputs under the slope that counts as all of them."""

CONSTANT = 0.1
"""Share of units that never change. Some are usual; a tenth of a layer is capacity that is paid
for and not used."""

ENOUGH = 100
"""Samples below which a unit that is rarely off or on cannot be told from a constant one."""

VANISHING, EXPLODING = 1e-2, 1e2
"""Of the last step's gradient. Adam makes up for a factor of some ten between layers, plain SGD
does not; a hundred is beyond what normalised networks show."""

GAP = 0.005
"""Half a point of accuracy: what one seed differs from another on small image sets."""

CERTAIN = 2.0
"""Standard errors that a gap must exceed. Only samples on which the twins disagree count, each by
at most one, so the standard error of a gap over n samples is at most sqrt(disagreement / n)."""

WORSE = 1.1
"""Ratio of the mean squared errors with exact and with smooth steps."""


def advise(
    layers: list[StepDiagnosis], scores: dict[str, float], samples: int, normalized: bool = False
) -> list[str]:
    """What to do about each kind of trouble: one sentence, on the step where it is worst.

    `normalized` is whether the model has layers that normalise, so that more of them are no advice.
    """
    found = [
        _few(samples),
        *_slopes(layers, samples, normalized),
        *(_constants(layers, samples, normalized) if samples >= ENOUGH else ()),
        *_gradients(layers, normalized),
        *(_scores(scores, samples) if any(row.forward == "smooth" for row in layers) else ()),
    ]
    return [sentence for sentence in found if sentence]


def _few(samples):
    if samples < FEW:
        return (
            f"Measured on {samples} sample{'s' if samples > 1 else ''}: batch normalisation, which "
            "takes its statistics from the batch, then gives what no training gives it, and shares "
            "are rough. Give some hundreds."
        )
    return None


def _slopes(layers, samples, normalized):
    yield _worst(
        [row for row in layers if 1 - row.covered > BEYOND and row.passed < PASSED],
        lambda row: 1 - row.covered,
        lambda row: (
            f"{_percent(1 - row.covered)} of its inputs lie beyond the slope's 95 % "
            f"({row.width:.3g} units, inputs reach {row.reach:.3g}), and {_percent(row.passed)} of "
            "its peak passes on average: "
            + ("" if normalized else "normalise before the step, ")
            + f"lower {'beta' if row.surrogate == 'HTAF' else 'the sharpness'} or call "
            "keras_htaf.calibrate before training."
        ),
    )
    yield _worst(
        [row for row in layers if row.rms == 0],
        lambda row: 0,
        lambda row: (
            "its inputs are all 0: "
            + (
                "so they are behind batch normalisation for a single sample."
                if normalized and samples == 1
                else "check the data and the weights before it."
            )
        ),
    )
    # A slope of infinite width is meant to be the identity.
    linear = [row for row in layers if row.covered > COVERED and row.passed > LINEAR]
    yield _worst(
        [row for row in linear if row.rms > 0 and row.width < float("inf")],
        lambda row: row.passed,
        lambda row: (
            f"its inputs (RMS {row.rms:.3g}) are so narrow for the slope ({row.width:.3g} units) "
            f"that {_percent(row.passed)} of its peak gets through, so the gradient hardly knows "
            "where the step is: call keras_htaf.calibrate before training or raise the sharpness."
        ),
    )


def _constants(layers, samples, normalized):
    normalise = "" if normalized else "normalise before the step, or "
    remedy = (
        f"{normalise}penalise constant bits (0/1) by a layer after the step, "
        "keras_htaf.layers.ActivityPenalty(keras_htaf.regularizers.BitDiversity())."
    )
    for name, state in (("dead", "never on"), ("always_on", "always on")):
        yield _worst(
            [row for row in layers if getattr(row, name) > CONSTANT],
            lambda row, name=name: getattr(row, name),
            lambda row, name=name, state=state: (
                f"{_percent(getattr(row, name))} of its {row.units} units are {state} in these "
                f"{samples} samples and tell nothing about them: {remedy}"
            ),
        )


def _gradients(layers, normalized):
    normalise = "" if normalized else "normalise before each step, "
    known = [row for row in layers if row.gradient is not None]
    if not known:
        yield (
            f"Step {layers[-1].name!r}: no gradient of the loss arrives at its inputs, so nothing "
            "before it learns: check that its inputs lie under its slope and that the layers after "
            "it pass gradients (not all weights 0, no dead units)."
        )
    yield _worst(
        [row for row in known if row.gradient < VANISHING],
        lambda row: -row.gradient,
        lambda row: (
            f"the gradient at its inputs is {row.gradient:.2g} of the last step's, so the layers "
            f"before it hardly learn: add skip connections, {normalise}or use fewer layers."
        ),
    )
    yield _worst(
        [row for row in known if row.gradient > EXPLODING],
        lambda row: row.gradient,
        lambda row: (
            f"the gradient at its inputs is {row.gradient:.3g} times the last step's: {normalise}"
            "lower the slopes after it (a lower sharpness) or clip gradients (clipnorm)."
        ),
    )


def _scores(scores, samples):
    remedy = 'train with forward="hard", or anneal to a higher sharpness (AnnealSharpness).'
    noise = CERTAIN * math.sqrt(scores.get("disagreement", 0.0) / samples)
    if scores.get("gap", 0.0) > max(GAP, noise):
        yield f"Exact steps cost {100 * scores['gap']:.1f} points of accuracy: {remedy}"
    smooth, hard = (scores.get(f"{mode}_mean_squared_error", 0.0) for mode in ("smooth", "hard"))
    if hard > WORSE * smooth:
        yield (
            f"Exact steps raise the mean squared error from {smooth:.3g} to {hard:.3g}: {remedy}"
        )


def _worst(rows: list[StepDiagnosis], badness: Callable, sentence: Callable) -> str | None:
    if not rows:
        return None
    worst = max(rows, key=badness)
    others = f" (the worst of {len(rows)} such steps)" if len(rows) > 1 else ""
    return f"Step {worst.name!r}{others}: {sentence(worst)}"


def _percent(share):
    return f"{100 * share:.0f} %"
