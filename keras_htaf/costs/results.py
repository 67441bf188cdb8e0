"""What a summary consists of."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

from keras_htaf.costs import table
from keras_htaf.costs.energy import EnergySummary


def _total(counts) -> Counter[int]:
    return sum(counts, Counter())


def _memory(weights: dict[int, int]) -> dict[str, float]:
    def size(width):
        return sum(width(bits) * number for bits, number in weights.items()) / 8

    return {
        "packed": size(lambda bits: bits),
        "packed_int8": size(lambda bits: min(bits, 8)),
        "int8": size(lambda bits: 8),
        "float32": size(lambda bits: 32),
    }


def _binary(counts: dict[int, int]) -> float:
    total = sum(counts.values())
    return counts.get(1, 0) / total if total else 0.0


def _json(counts: dict[int, int] | None) -> dict[str, int] | None:
    return None if counts is None else {str(bits): number for bits, number in counts.items()}


@dataclass(frozen=True)
class LayerSummary:
    """One layer; a shared one has one row, with the multiply-accumulates of all its calls.

    Example:

    >>> model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(2, name="head")])
    >>> row = keras_htaf.summary(model).layers[0]
    >>> row.name, row.macs, row.memory["float32"]
    ('head', {32: 8}, 40.0)
    """

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
    """How many, by their bits; without those that a row above has, of which it uses the same."""
    macs: dict[int, int] | None
    """Multiply-accumulates for one sample, by the bits of the wider operand: 1 where signs or bits
    meet signs. None if they are not known."""

    @property
    def memory(self) -> dict[str, float]:
        """Bytes of its weights, as `ModelSummary.memory`."""
        return _memory(self.weights)

    @property
    def binary_share(self) -> dict[str, float | None]:
        """As `ModelSummary.binary_share`; None for `"macs"` that are not known."""
        macs = None if self.macs is None else _binary(self.macs)
        return {"weights": _binary(self.weights), "macs": macs}

    def to_dict(self) -> dict:
        """All of it as JSON has it."""
        return {
            **vars(self),
            "output_shape": list(self.output_shape),
            "weights": _json(self.weights),
            "macs": _json(self.macs),
            "memory": self.memory,
            "binary_share": self.binary_share,
        }


@dataclass(frozen=True)
class ModelSummary:
    """What `keras_htaf.summary` counted; `print` it.

    Example:

    >>> model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(2, name="head")])
    >>> keras_htaf.summary(model).weights
    {32: 10}
    """

    name: str
    layers: list[LayerSummary]
    energy: EnergySummary | None = None
    """What was measured on data, if there were any."""

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
        `"int8"`: each with 8 bits; `"float32"`: each with 32. Keras keeps more: what a layer needs
        in training only, such as half of batch normalisation's numbers, is not counted here.
        """
        return _memory(self.weights)

    @property
    def binary_share(self) -> dict[str, float]:
        """Share of one-bit `"weights"` and of `"macs"` between bits among all, from 0 to 1."""
        return {"weights": _binary(self.weights), "macs": _binary(self.macs)}

    def __str__(self) -> str:
        return table.text(self)

    def to_markdown(self) -> str:
        """The table and totals, for a page."""
        return table.markdown(self)

    def to_dict(self) -> dict:
        """All of it as JSON has it, where keys are strings and tuples are lists."""
        return {
            "name": self.name,
            "weights": _json(self.weights),
            "macs": _json(self.macs),
            "uncounted": self.uncounted,
            "memory": self.memory,
            "binary_share": self.binary_share,
            "layers": [row.to_dict() for row in self.layers],
            **({} if self.energy is None else {"energy": self.energy.to_dict()}),
        }
