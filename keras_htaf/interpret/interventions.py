"""What the model would decide if bits were different."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

import numpy as np

from keras_htaf.interpret.codes import Codes
from keras_htaf.interpret.results import Result

_NUMBERS_AT_ONCE = 2**23


@dataclass(frozen=True, eq=False)
class Intervention:
    """The same samples before and after a change of their bits.

    Attributes:
        before: The codes as they were.
        after: With other bits (and without z and smooth bits, which would not fit them).
    """

    before: Codes
    after: Codes

    @property
    def changed(self) -> np.ndarray:
        """Where the decision changed, bool `(n,)`."""
        return self.before.decisions != self.after.decisions

    @property
    def transitions(self) -> np.ndarray:
        """How many samples went from which decision (row) to which (column), `(K, K)`."""
        table = np.zeros((self.before.num_classes,) * 2, int)
        np.add.at(table, (self.before.decisions, self.after.decisions), 1)
        return table


def intervene(
    codes: Codes, *, pin: Mapping[int | str, bool] | None = None, flip: Iterable[int | str] = ()
) -> Intervention:
    """Sets bits to a value, or flips them, for all samples.

    Args:
        codes: Samples; `codes.rows([i])` for one alone.
        pin: The value that bits are given, by number or name. Default none.
        flip: Bits to turn over, by number or name. Default none.

    Returns:
        An `Intervention`.

    Raises:
        ValueError: If there is no such bit, or one is both pinned and flipped.

    Example:

    >>> codes = Codes([[0, 1], [1, 1]], [[2, 0], [0, 1]], [0, 0], concept_names=["red", "big"])
    >>> intervene(codes, pin={"red": True}).after.decisions
    array([0, 0])
    """
    pinned = {bit_number(codes, bit): bool(value) for bit, value in (pin or {}).items()}
    flipped = [bit_number(codes, bit) for bit in flip]
    if both := set(pinned) & set(flipped):
        raise ValueError(
            f"Bits {sorted(both)} are both pinned and flipped. Expected one of the two."
        )
    bits = codes.bits.copy()
    for bit, value in pinned.items():
        bits[:, bit] = value
    for bit in set(flipped):
        bits[:, bit] ^= True
    return Intervention(codes, replace(codes, bits=bits, z=None, smooth=None))


def bit_number(codes: Codes, bit: int | str) -> int:
    """The number of a bit that is given by number or name, or a ValueError."""
    names = codes.concept_names
    if isinstance(bit, str) and names.count(bit) == 1:
        return names.index(bit)
    if not isinstance(bit, (str, bool)) and 0 <= bit < len(names) and int(bit) == bit:
        return int(bit)
    raise ValueError(
        f"Received the bit {bit!r}. Expected a number from 0 to {len(names) - 1}, or a name that "
        f"one bit has, such as {names[0]!r}."
    )


@dataclass(frozen=True, eq=False)
class Curves(Result):
    """How decisions go and come back as bits are deleted and inserted, most important first.

    Attributes:
        deletion: Share of the samples that keep their decision when their t most important bits
            are replaced, `(m + 1,)`.
        insertion: Share that have it when only their t most important bits are there, `(m + 1,)`.
        random_deletion: With bits in random order, `(m + 1,)`.
        random_insertion: With bits in random order, `(m + 1,)`.
    """

    deletion: np.ndarray
    insertion: np.ndarray
    random_deletion: np.ndarray
    random_insertion: np.ndarray

    @property
    def areas(self) -> dict[str, float]:
        """Area under each curve, from 0 to 1: explanations are good if deletion is small."""
        return {
            name: float(np.mean(curve[1:] + curve[:-1]) / 2) for name, curve in vars(self).items()
        }


def curves(codes: Codes, *, seed: int = 0) -> Curves:
    """Deletion and insertion curves of the exact contributions of bits.

    A deleted bit is replaced by p_j, the share of samples on which it is on: no bit and no class
    is favoured. A sample's bits are ordered by what they add to its decided class's lead over the
    runner-up, (W_jy - W_jr)(h_j - p_j).

    Args:
        codes: Samples and head.
        seed: Seed of the random order. Default 0.

    Returns:
        `Curves`.

    Example:

    >>> codes = Codes([[0, 1], [1, 0]], [[2, 0], [0, 1]], [0, 0])
    >>> curves(codes).deletion
    array([1. , 0.5, 0.5])
    """
    random = np.random.default_rng(seed)
    kept = np.zeros((4, codes.num_bits + 1), int)
    step = max(1, _NUMBERS_AT_ONCE // (codes.num_bits * codes.num_classes))
    for begin in range(0, len(codes), step):
        rows = slice(begin, begin + step)
        logits = codes.logits[rows]
        order = np.argsort(-logits, axis=1, kind="stable")
        decided, second = order[:, 0], order[:, 1]
        away = codes.bits[rows] - codes.usage
        gains = away * (codes.weights[:, decided] - codes.weights[:, second]).T
        first = np.argsort(-gains, axis=1, kind="stable")
        shuffled = random.permuted(np.tile(np.arange(codes.num_bits), (len(away), 1)), axis=1)
        for i, bits in enumerate((first, shuffled)):
            moves = np.take_along_axis(away, bits, axis=1)[:, :, None] * codes.weights[bits]
            moved = np.concatenate([0 * moves[:, :1], moves.cumsum(axis=1)], axis=1)
            deleted = logits[:, None] - moved
            inserted = logits[:, None] - moved[:, -1:] + moved
            for j, scores in enumerate((deleted, inserted)):
                same = scores.argmax(axis=2) == decided[:, None]
                kept[2 * i + j] += same.sum(axis=0)
    deletion, insertion, random_deletion, random_insertion = kept / len(codes)
    return Curves(deletion, insertion, random_deletion, random_insertion)
