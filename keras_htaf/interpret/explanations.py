"""Why a sample is decided as it is: contributions, sufficient bits, the nearest other decision."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from keras_htaf.interpret.classes import class_number
from keras_htaf.interpret.codes import Codes
from keras_htaf.interpret.flips import Counterfactual, counterfactual
from keras_htaf.interpret.neighbours import Neighbours, nearest
from keras_htaf.interpret.results import Result
from keras_htaf.interpret.sufficient import SufficientSet, one_sample, sufficient_set


@dataclass(frozen=True, eq=False)
class Explanation(Result):
    """One decision of K classes by m bits; `explain` makes it, `print` shows the gist."""

    index: int | None
    """Number of the sample in the codes; None if it is not of these."""
    label: int | None
    """The right class, if known."""
    decision: int
    bits: np.ndarray
    """h, (m,) bool."""
    logits: np.ndarray
    """s, (K,)."""
    expected: np.ndarray
    """Mean of s over the samples of the codes, p W + b, (K,)."""
    contributions: np.ndarray
    """phi_jk = W_jk (h_j - p_j), (m, K): the Shapley value of bit j for logit k, whether the bit is
    on or, by its absence, off. Of each class they add up to logits - expected."""
    sufficient: SufficientSet
    """Bits that force the decision whatever the others are."""
    counterfactual: Counterfactual | None
    """The fewest flips that change the decision; None if none can."""
    neighbours: Neighbours
    """The samples of the codes with the most similar code, (1, k)."""
    concept_names: tuple[str, ...]
    class_names: tuple[str, ...]

    @property
    def flip_radius(self) -> int | None:
        """The fewest bit flips that change the decision; None if none can."""
        return None if self.counterfactual is None else self.counterfactual.radius

    @property
    def rival(self) -> int:
        """The class with the second largest logit."""
        others = self.logits.copy()
        others[self.decision] = -np.inf
        return int(others.argmax())

    def against(self, rival: int | str | None = None) -> np.ndarray:
        """Contributions to the margin over a rival, phi_jy - phi_jk, (m,); default: `rival`."""
        k = self.rival if rival is None else class_number(rival, self.class_names)
        return self.contributions[:, self.decision] - self.contributions[:, k]

    @property
    def absent(self) -> np.ndarray:
        """Numbers of the bits that are off and thereby move the margin over `rival`, most first.

        A bit that is never on has nothing to be absent from, and is not among them.
        """
        moved = np.where(self.bits, 0.0, self.against())
        order = np.argsort(-np.abs(moved), kind="stable")
        return order[moved[order] != 0]

    def top(self, count: int = 10, target: int | str | None = None) -> list[dict]:
        """The bits with the largest contributions to the logit of a class, by size.

        Args:
            count: Default 10.
            target: Number or name of the class. Default: the decided one.

        Returns:
            A dict for each: bit, name, on, contribution, sufficient (whether it is in that set).
        """
        k = self.decision if target is None else class_number(target, self.class_names)
        given = self.contributions[:, k]
        return [
            {
                "bit": int(j),
                "name": self.concept_names[j],
                "on": bool(self.bits[j]),
                "contribution": float(given[j]),
                "sufficient": bool(j in self.sufficient.bits),
            }
            for j in np.argsort(-np.abs(given), kind="stable")[:count]
        ]

    def __str__(self) -> str:
        name, rival = (self.class_names[k] for k in (self.decision, self.rival))
        right = "" if self.label is None else f" (labelled {self.class_names[self.label]!r})"
        lines = [
            f"Decided {name!r}{right}, {self.logits[self.decision]:.3g} against "
            f"{self.logits[self.rival]:.3g} for {rival!r}; the mean for {name!r} is "
            f"{self.expected[self.decision]:.3g}. What adds to it most, or takes from it:"
        ]
        for row in (row for row in self.top(5) if row["contribution"]):
            lines.append(
                f"  {row['contribution']:+.3g}  {row['name']} {'on' if row['on'] else 'off'}"
            )
        held, size = self.sufficient, len(self.sufficient.bits)
        kind = "fewest that do" if held.minimum else f"{held.at_least} may do, none can be left out"
        states = _listed(self.concept_names, held.bits, self.bits)
        lines.append(f"Forced by {states} ({size}; {kind}).")
        if (change := self.counterfactual) is None:
            lines.append("No code is decided otherwise.")
        else:
            other = self.class_names[change.decision]
            states = _listed(self.concept_names, change.flips, ~self.bits)
            flips = f"{change.radius} flip{'s' * (change.radius > 1)} at least"
            lines.append(f"Becomes {other!r} with {states} ({flips}).")
        return "\n".join(lines)


def explain(
    codes: Codes,
    sample: int | np.ndarray,
    label: int | str | None = None,
    neighbours: int = 5,
    nodes: int = 2000,
) -> Explanation:
    """The exact explanation of one decision.

    The Shapley values are the interventional ones: absent players are drawn independently with the
    bits' own shares p_j, which for a logit, a sum over bits, gives phi_jk = W_jk (h_j - p_j).

    Args:
        codes: The data set that the sample is compared with.
        sample: Its number in the codes, or its bits (m,).
        label: Number or name of its right class. Default: for a number that of the codes, if these
            have labels; else it is not known.
        neighbours: How many; a sample given by its number is none of its own. Default 5.
        nodes: Of the search for a smallest sufficient set, see `sufficient_set`.

    Raises:
        ValueError: If there is no such sample, or an argument does not fit.

    Example:

    >>> codes = Codes([[1, 0], [0, 0]], [[0.0, 3.0], [0.0, 1.0]], [0.5, 0.0], labels=[1, 0])
    >>> print(explain(codes, 0))
    Decided '1' (labelled '1'), 3 against 0.5 for '0'; the mean for '1' is 1.5. What adds to it
    most, or takes from it:
      +1.5  bit 0 on
    Forced by bit 0 on (1; fewest that do).
    Becomes '0' with bit 0 off (1 flip at least).

    Reference: Lundberg and Lee (2017), "A unified approach to interpreting model predictions",
    section 4, for Shapley values of linear models.
    """
    index = sample_number(codes, sample) if np.ndim(sample) == 0 else None
    bits = one_sample(codes, sample) if index is None else codes.bits[index]
    if label is not None:
        label = class_number(label, codes.class_names)
    elif index is not None and codes.labels is not None:
        label = int(codes.labels[index])
    logits = codes.logits_of(bits)
    return Explanation(
        index=index,
        label=label,
        decision=int(logits.argmax()),
        bits=bits,
        logits=logits,
        expected=codes.usage @ codes.weights + codes.bias,
        contributions=shapley_values(codes, bits, codes.usage),
        sufficient=sufficient_set(codes, bits, nodes),
        counterfactual=counterfactual(codes, bits),
        neighbours=nearest(codes, bits, neighbours, None if index is None else [index]),
        concept_names=codes.concept_names,
        class_names=codes.class_names,
    )


def shapley_values(codes: Codes, bits: np.ndarray, usage: np.ndarray) -> np.ndarray:
    """phi_jk = W_jk (h_j - p_j), (m, K): what bit j adds to logit k, where absent bits are drawn
    independently with the shares p = `usage` (m,). Of each class they add up to s_k - (p W + b)_k.
    """
    return codes.weights * (bits - usage)[:, None]


def sample_number(codes: Codes, sample) -> int:
    """The number of a sample, or a ValueError."""
    whole = np.asarray(sample).dtype.kind in "iu"
    if not whole or not 0 <= sample < len(codes):
        raise ValueError(
            f"Received sample {sample!r}. Expected a number from 0 to {len(codes) - 1}."
        )
    return int(sample)


def _listed(names, bits, code) -> str:
    """Names with the values that the bits have in a code."""
    states = [f"{names[j]} {'on' if code[j] else 'off'}" for j in bits[:8]]
    more = f" and {len(bits) - 8} more" if len(bits) > 8 else ""
    return (", ".join(states) or "no bit") + more
