"""What a spiking network's arithmetic costs, beside that of a quantized one without time."""

from __future__ import annotations

import math
from dataclasses import dataclass

import keras

from keras_htaf.costs.activity import Activity, observe
from keras_htaf.costs.graph import FLOAT
from keras_htaf.hardening import unit_steps, with_forward

MAC_PJ, AC_PJ = 4.6, 0.9
"""Picojoules of a multiply-accumulate and of an addition, 32-bit floats in 45 nm."""
_WORD = FLOAT // 8
"""Bytes of a state or of an input that is a number."""


@dataclass(frozen=True)
class Work:
    """Arithmetic and memory traffic for one sample, on average.

    Example:

    >>> layers = [keras.Input((5, 1)), keras_htaf.layers.IF(threshold=2.5), keras.layers.Dense(8)]
    >>> energy = keras_htaf.summary(keras.Sequential(layers), np.ones((1, 5, 1))).energy
    >>> energy.layers[-1].spiking.acs  # one spike meets 8 weights
    8.0
    """

    macs: float
    """Multiply-accumulates."""
    acs: float
    """Additions."""
    energy: float
    """Picojoules of both."""
    traffic: float
    """Bytes that are read or written, if nothing is kept for the next operation."""


@dataclass(frozen=True)
class LayerEnergy:
    """One layer that computes, or fires.

    Example:

    >>> layers = [keras.Input((5, 1)), keras_htaf.layers.IF(threshold=2.5), keras.layers.Dense(8)]
    >>> energy = keras_htaf.summary(keras.Sequential(layers), np.ones((1, 5, 1))).energy
    >>> energy.layers[-1].density, energy.layers[-1].by_events
    (0.2, True)
    """

    name: str
    kind: str
    steps: int
    """In how many steps of time it computes."""
    spike_rate: float | None
    """Spikes per neuron and step, of what fires."""
    density: float | None
    """Share of its inputs that is not 0."""
    by_events: bool
    """Whether its inputs are spikes or sums of them, of which each that comes costs an addition."""
    spiking: Work
    quantized: Work | None
    """Of the same layer without time; None where there is no such layer."""
    bit_operations: float | None
    """Of the quantized layer: products times the bits of their operands."""

    def to_dict(self) -> dict:
        """All of it as JSON has it."""
        quantized = None if self.quantized is None else vars(self.quantized)
        return {**vars(self), "spiking": vars(self.spiking), "quantized": quantized}


@dataclass(frozen=True)
class EnergySummary:
    """What `keras_htaf.summary` measured on data.

    Example:

    >>> layers = [keras.Input((5, 1)), keras_htaf.layers.IF(threshold=2.5), keras.layers.Dense(8)]
    >>> energy = keras_htaf.summary(keras.Sequential(layers), np.ones((1, 5, 1))).energy
    >>> energy.samples, energy.steps, energy.activation_bits
    (1, 5, 3)
    """

    samples: int
    steps: int
    """Steps of time, T."""
    layers: list[LayerEnergy]

    @property
    def activation_bits(self) -> int:
        """Bits that hold the spike count of T steps, which the quantized network has.

        (Inputs that are sums of up to m spikes have those that hold a count of m T.)
        """
        return count_bits(self.steps)

    @property
    def spiking(self) -> Work:
        """The whole network's."""
        return _total([row.spiking for row in self.layers])

    @property
    def quantized(self) -> Work | None:
        """The whole quantized network's; None if a connection is recurrent."""
        known = [row.quantized for row in self.layers if row.quantized is not None]
        return _total(known) if len(known) == len(self.layers) else None

    @property
    def spike_rate(self) -> dict[str, float]:
        """Spikes per neuron and step of each layer that fires."""
        rates = {row.name: row.spike_rate for row in self.layers}
        return {name: rate for name, rate in rates.items() if rate is not None}

    def to_dict(self) -> dict:
        """All of it as JSON has it."""
        quantized = None if self.quantized is None else vars(self.quantized)
        return {
            "samples": self.samples,
            "steps": self.steps,
            "activation_bits": self.activation_bits,
            "spiking": vars(self.spiking),
            "quantized": quantized,
            "layers": [row.to_dict() for row in self.layers],
        }


def measure(model: keras.Model, x, batch_size: int) -> EnergySummary:
    """Runs the model, with exact steps, on x; `keras_htaf.summary` documents the counts."""
    if any(step.forward_mode == "smooth" for step in unit_steps(model)):
        model = with_forward(model, "hard")
    rows = [
        row for row in observe(model, x, batch_size) if row.products or row.chances or row.states
    ]
    steps = max((row.steps for row in rows), default=1)
    recurrent = any(row.recurrent for row in rows)
    return EnergySummary(len(x), steps, [_priced(row, len(x), steps, recurrent) for row in rows])


def count_bits(steps: int) -> int:
    """The bits of a count from 0 to `steps`."""
    return math.ceil(math.log2(steps + 1))


def _priced(row: Activity, samples: int, steps: int, recurrent: bool) -> LayerEnergy:
    cheaper = row.synaptic * AC_PJ < row.products * MAC_PJ  # than products, if sums are large
    by_events = cheaper and not row.input_bits
    weight = row.weight_bits / 8
    macs = (row.updates + (0 if by_events else row.products)) / samples
    acs = (row.additions + (row.synaptic if by_events else 0)) / samples
    # A spike fetches a weight, and reads and writes a state, for each neuron that it reaches.
    traffic = row.states * 2 * _WORD + row.synaptic * (weight + 2 * _WORD)
    if row.products and not by_events:
        traffic = row.products * (weight + _WORD) + row.outputs * _WORD
    spiking = _work(macs, acs, traffic / samples)
    quantized, operations = None, None
    if not recurrent:
        products, outputs = (n / samples / row.steps for n in (row.products, row.outputs))
        width = count_bits(max(steps, row.steps * row.most)) if by_events else FLOAT
        additions = width * AC_PJ < MAC_PJ
        quantized = _work(
            0 if additions else products,
            width * products if additions else 0,
            products * (weight + width / 8) + outputs * count_bits(steps) / 8,
        )
        operations = products * width * row.weight_bits
    return LayerEnergy(
        name=row.name,
        kind=row.kind,
        steps=row.steps,
        spike_rate=row.spikes / row.chances if row.chances else None,
        density=row.nonzero / row.inputs if row.inputs else None,
        by_events=by_events,
        spiking=spiking,
        quantized=quantized,
        bit_operations=operations,
    )


def _work(macs: float, acs: float, traffic: float) -> Work:
    return Work(macs, acs, macs * MAC_PJ + acs * AC_PJ, traffic)


def _total(parts: list[Work]) -> Work:
    return Work(*(sum(getattr(part, name) for part in parts) for name in Work.__annotations__))
