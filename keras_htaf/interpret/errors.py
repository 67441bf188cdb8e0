"""Wrong decisions, and the bit that pushed most towards each."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from keras_htaf.interpret.codes import Codes
from keras_htaf.interpret.results import Result


@dataclass(frozen=True, eq=False)
class Errors(Result):
    """The e wrong decisions; `errors` makes it."""

    samples: np.ndarray
    """Their numbers, (e,)."""
    bits: np.ndarray
    """The bit that pushed most from the right class to the decided one, (e,); -1 where none did,
    so that what all samples have in common decided."""
    push: np.ndarray
    """(W_jy - W_jt) (h_j - p_j) of that bit, t the right class and y the decided one, (e,)."""
    mends: np.ndarray
    """Whether flipping that bit alone makes the decision right, (e,) bool."""
    concept_names: tuple[str, ...]

    def groups(self) -> list[dict]:
        """One dict for each bit that is responsible for errors, the most first.

        It has bit (None: no single one), name, errors (how many), mended (by flipping it alone)
        and samples (their numbers, the largest push first).
        """
        found = []
        for bit in np.unique(self.bits):
            of_bit = np.flatnonzero(self.bits == bit)
            of_bit = of_bit[np.argsort(-self.push[of_bit], kind="stable")]
            found.append(
                {
                    "bit": None if bit < 0 else int(bit),
                    "name": "no single bit" if bit < 0 else self.concept_names[bit],
                    "errors": len(of_bit),
                    "mended": int(self.mends[of_bit].sum()),
                    "samples": self.samples[of_bit].tolist(),
                }
            )
        return sorted(found, key=lambda group: -group["errors"])


def errors(codes: Codes) -> Errors:
    """Wrong decisions by the bit that is most responsible.

    Raises:
        ValueError: If the codes have no labels.

    Example:

    >>> codes = Codes([[1, 0], [1, 1]], [[1.0, 0.0], [0.0, 2.0]], [0.0, 0.0], labels=[0, 0])
    >>> errors(codes).groups()
    [{'bit': 1, 'name': 'bit 1', 'errors': 1, 'mended': 1, 'samples': [1]}]
    """
    labels = codes.needed("labels")
    wrong = np.flatnonzero(codes.decisions != labels)
    bits, push, mends = np.full(len(wrong), -1), np.zeros(len(wrong)), np.zeros(len(wrong), bool)
    for i, sample in enumerate(wrong):
        decided, right, h = codes.decisions[sample], labels[sample], codes.bits[sample]
        towards = (codes.weights[:, decided] - codes.weights[:, right]) * (h - codes.usage)
        j = int(towards.argmax())
        if towards[j] > 0:
            change = codes.weights[j] * (-1.0 if h[j] else 1.0)
            mended = (codes.logits[sample] + change).argmax() == right
            bits[i], push[i], mends[i] = j, towards[j], mended
    return Errors(wrong, bits, push, mends, codes.concept_names)
