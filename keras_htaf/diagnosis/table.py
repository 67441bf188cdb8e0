"""A diagnosis as text."""

from __future__ import annotations

import textwrap
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from keras_htaf.diagnosis.results import Diagnosis

_LINE = 100
_LEGEND = (
    "rms: root mean square of the step's inputs; reach: 95 % of them are smaller; slope: "
    "half-width of what holds 95 % of the slope; covered: inputs within that; passed: mean share "
    "of the slope's peak; dead, always on: units; gradient: at the inputs, relative to the last "
    "step; softness: mean of 4 h (1 - h); error: mean of |h - exact bit|, h the smooth bit."
)


def _percent(share):
    return f"{100 * share:.1f} %"


def _short(number):
    return "-" if number is None else f"{number:.3g}"


_COLUMNS = {
    "step": lambda row: row.name,
    "forward": lambda row: row.forward,
    "units": lambda row: str(row.units),
    "rms": lambda row: _short(row.rms),
    "reach": lambda row: _short(row.reach),
    "slope": lambda row: _short(row.width),
    "covered": lambda row: _percent(row.covered),
    "passed": lambda row: _percent(row.passed),
    "dead": lambda row: _percent(row.dead),
    "always on": lambda row: _percent(row.always_on),
    "gradient": lambda row: _short(row.gradient),
    "softness": lambda row: _short(row.softness),
    "error": lambda row: _short(row.error),
}


def headline(diagnosis: Diagnosis) -> str:
    """The model as a whole, in one line."""
    line = f"Model {diagnosis.model!r} on {diagnosis.samples} samples"
    scores = diagnosis.scores
    if "gap" in scores:
        smooth, hard = _percent(scores["smooth_accuracy"]), _percent(scores["hard_accuracy"])
        if all(row.forward == "hard" for row in diagnosis.layers):
            return f"{line}: accuracy {hard} with its exact steps ({smooth} if they were smooth)"
        return (
            f"{line}: accuracy {smooth} with smooth steps, {hard} with exact ones, a gap of "
            f"{100 * scores['gap']:.1f} points"
        )
    if scores:
        smooth, hard = (scores[f"{mode}_mean_squared_error"] for mode in ("smooth", "hard"))
        return (
            f"{line}: mean squared error {_short(smooth)} with smooth steps, {_short(hard)} with "
            "exact ones"
        )
    return line


def text(diagnosis: Diagnosis) -> str:
    """Headline, table, legend and advice."""
    cells = [list(_COLUMNS)]
    cells += [[column(row) for column in _COLUMNS.values()] for row in diagnosis.layers]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    lines = []
    for first, *others in cells:
        right = (c.rjust(w) for c, w in zip(others, widths[1:], strict=True))
        lines.append("  ".join([first.ljust(widths[0]), *right]))
    lines.insert(1, "-" * len(lines[0]))
    advice = [
        textwrap.fill(sentence, _LINE, initial_indent="- ", subsequent_indent="  ")
        for sentence in diagnosis.advice
    ]
    return "\n".join(
        [
            f"{headline(diagnosis)} (gradients of {diagnosis.loss})",
            "",
            *lines,
            "",
            textwrap.fill(_LEGEND, _LINE),
            "",
            *(advice or ["All is well: no step needs attention."]),
        ]
    )
