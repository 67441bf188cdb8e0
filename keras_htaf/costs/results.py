"""What a summary consists of."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

from keras_htaf.costs import table


def _total(counts) -> Counter[int]:
    return sum(counts, Counter())


def _bytes(weights: Counter[int]) -> float:
    return sum(bits * number for bits, number in weights.items()) / 8


@dataclass(frozen=True)
class LayerSummary:
    """One layer; a shared one has one row, with the multiply-accumulates of all its calls."""

    name: str
    """Its name, after those of the models that it is nested in."""
    kind: str
    """Its class."""
    input_bits: int
    """Of what it computes with, after its own input quantizer: 1 for bits and signs, 32 for
    floats."""
    output_shape: tuple
    """Without the batch axis."""
    output_bits: int
    weights: dict[int, int]
    """How many, by their bits."""
    macs: dict[int, int] | None
    """Multiply-accumulates for one sample, by the bits of the wider operand: 1 where signs or bits
    meet signs. None if they are not known."""

    @property
    def memory(self) -> float:
        """Bytes of its weights, packed."""
        return _bytes(Counter(self.weights))


@dataclass(frozen=True)
class ModelSummary:
    """What `keras_htaf.summary` counted; `print` it."""

    name: str
    layers: list[LayerSummary]

    @property
    def weights(self) -> dict[int, int]:
        """How many, by their bits."""
        return dict(sorted(_total(Counter(row.weights) for row in self.layers).items()))

    @property
    def macs(self) -> dict[int, int]:
        """Multiply-accumulates for one sample, by their bits, where they are known."""
        known = (Counter(row.macs) for row in self.layers if row.macs is not None)
        return dict(sorted(_total(known).items()))

    @property
    def uncounted(self) -> list[str]:
        """Names of the layers whose multiply-accumulates are not known."""
        return [row.name for row in self.layers if row.macs is None]

    @property
    def memory(self) -> dict[str, float]:
        """Bytes of all weights.

        `"packed"`: each with its bits; `"packed_int8"`: the same, wider ones with 8 bits;
        `"int8"`: each with 8 bits; `"float32"`: each with 32, as Keras keeps them.
        """
        count = sum(self.weights.values())
        narrow = Counter()
        for bits, number in self.weights.items():
            narrow[min(bits, 8)] += number
        return {
            "packed": _bytes(Counter(self.weights)),
            "packed_int8": _bytes(narrow),
            "int8": 1.0 * count,
            "float32": 4.0 * count,
        }

    @property
    def binary_share(self) -> dict[str, float]:
        """Share of one-bit `"weights"` and of `"macs"` between bits among all, from 0 to 1."""
        shares = {}
        for key, counts in (("weights", self.weights), ("macs", self.macs)):
            total = sum(counts.values())
            shares[key] = counts.get(1, 0) / total if total else 0.0
        return shares

    def __str__(self) -> str:
        return table.text(self)

    def to_markdown(self) -> str:
        """The table and totals, for a page."""
        return table.markdown(self)

    def to_dict(self) -> dict:
        """All of it as JSON has it (where the keys of objects are text)."""
        return {
            "name": self.name,
            "weights": self.weights,
            "macs": self.macs,
            "uncounted": self.uncounted,
            "memory": self.memory,
            "binary_share": self.binary_share,
            "layers": [{**vars(row), "memory": row.memory} for row in self.layers],
        }
