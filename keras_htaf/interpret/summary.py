"""An analysis as a few lines: a verdict, numbers, warnings."""

from __future__ import annotations

import textwrap
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from keras_htaf.interpret.analysis import ConceptAnalysis

_LINE = 100
_REDUNDANT = 0.95
_AMBIGUOUS = 0.2
_SINGLE = 0.5
_GAP = 0.003


def text(analysis: ConceptAnalysis) -> str:
    """Verdict, numbers and warnings."""
    found = warnings(analysis)
    bullets = [_filled(w, "- ", "  ") for w in found]
    return "\n".join([_filled(verdict(analysis)), "", *numbers(analysis), "", *bullets])


def verdict(analysis: ConceptAnalysis) -> str:
    """One plain sentence or two."""
    codes, code = analysis.codes, analysis.code
    line = (
        f"{count(codes.num_bits, 'bit')} and a linear head decide {_percent(code.accuracy)} of "
        f"{count(code.samples, 'sample')} rightly "
        f"(always the most frequent class: {_percent(code.chance)})"
    )
    if code.smooth_accuracy is None:
        return f"{line}."
    gap = code.smooth_accuracy - code.accuracy
    if gap > _GAP:
        return (
            f"{line}, {100 * gap:.1f} points fewer than with smooth bits: the bits lose something."
        )
    if gap < -_GAP:
        return f"{line}, {-100 * gap:.1f} points more than with smooth bits."
    return f"{line}, as many as with smooth bits: what follows is about the model itself."


def numbers(analysis: ConceptAnalysis) -> list[str]:
    """One line for each."""
    codes, code, bits = analysis.codes, analysis.code, analysis.health
    radii = analysis.flip_radii
    lines = [
        f"bits in use         {int(bits.varies.sum())} of {codes.num_bits}, worth "
        f"{bits.effective_bits:.1f} uncorrelated ones",
        f"different codes     {code.unique:,}; {_percent(code.single)} of the samples are alone "
        "with theirs",
        f"ceiling             {_percent(code.ceiling)} for any reader of the codes; majority of "
        f"each code, held out: {_percent(code.held_out)}",
        f"flips to change     {_flips(np.median(radii))} in the median, {_flips(radii.min())} at "
        "least",
    ]
    if code.completeness is not None:
        lines.append(
            f"completeness        {code.completeness:.3f} of the smooth model, beyond chance"
        )
    if codes.smooth is not None:
        lines.append(
            f"smooth = exact      {_percent(analysis.certified.agreement)} of the decisions, "
            f"{_percent(analysis.certified.share)} provably"
        )
    return lines


def warnings(analysis: ConceptAnalysis) -> list[str]:
    """What a reader of the numbers should know, as sentences."""
    codes, code, bits = analysis.codes, analysis.code, analysis.health
    found = []
    if len(present := np.unique(codes.needed("labels"))) == 1:
        found.append(
            f"All samples are of class {codes.class_names[present[0]]!r}: nothing can be said of "
            "how bits tell classes apart."
        )
    elif absent := [n for k, n in enumerate(codes.class_names) if k not in present]:
        found.append(f"No samples of {_some(absent)}: these classes have no view.")
    for which, what in ((bits.dead, "never on"), (bits.always_on, "always on")):
        if which.any():
            names = _some([codes.concept_names[j] for j in np.flatnonzero(which)])
            number = int(which.sum())
            verbs = ("is", "says") if number == 1 else ("are", "say")
            found.append(
                f"{count(number, 'bit')} {verbs[0]} {what} and {verbs[1]} nothing: {names}."
            )
    # Where one repeats another, that one repeats it too: there are at least two.
    if copies := int((bits.redundancy >= _REDUNDANT).sum()):
        found.append(
            f"{copies} bits nearly repeat or negate another (|phi| >= {_REDUNDANT}): their "
            "contributions should be read together."
        )
    if bits.ambiguous is not None and (unsure := int((bits.ambiguous > _AMBIGUOUS).sum())):
        found.append(
            f"{count(unsure, 'bit')} {'lies' if unsure == 1 else 'lie'} within a tenth of a "
            f"standard deviation of the threshold in more than {_percent(_AMBIGUOUS)} of the "
            f"samples: small changes of the image flip {'it' if unsure == 1 else 'them'}."
        )
    if code.single > _SINGLE:
        found.append(
            f"{_percent(code.single)} of the samples have a code of their own, so that the ceiling "
            "says little; look at the held-out accuracy."
        )
    if code.accuracy <= code.chance:
        found.append("The decisions are no better than always giving the most frequent class.")
    found.append(
        "The bits were learned without names: what one seems to mean is a guess, until attributes "
        "or people confirm it. Exact bits limit what leaks past the concepts but do not end it."
    )
    return found


def _filled(words: str, first: str = "", rest: str = "") -> str:
    """Words in lines, no percentage parted from its sign."""
    whole = words.replace(" %", "\u00a0%")
    lines = textwrap.fill(whole, _LINE, initial_indent=first, subsequent_indent=rest)
    return lines.replace("\u00a0", " ")


def _percent(share) -> str:
    return f"{100 * share:.1f} %"


def count(number: int | float, what: str) -> str:
    """A number with its noun, "1 bit" or "1,200 bits"."""
    number = int(number) if number == int(number) else number
    return f"{number:,} {what}{'' if number == 1 else 's'}"


def _flips(number) -> str:
    return count(number, "bit") if np.isfinite(number) else "no number of bits"


def _some(names) -> str:
    shown = ", ".join(map(repr, names[:5]))
    return shown + (f" and {len(names) - 5} more" if len(names) > 5 else "")
