"""An EnergySummary as cells of a table, and what is to be said with it."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from keras_htaf.costs.energy import EnergySummary

_HEAD = [
    *("layer", "kind", "steps", "spike rate", "inputs on", "MACs", "ACs", "energy", "traffic"),
    *("quantized: energy", "traffic"),
]
_ENERGY = ("pJ", "nJ", "µJ", "mJ", "J")
_BYTES = ("B", "KiB", "MiB", "GiB", "TiB")


def energy_cells(summary: EnergySummary) -> list[list[str]]:
    """A row of column names, one for each layer, and the totals."""
    rows = [_HEAD]
    for row in summary.layers:
        start = [row.name, row.kind, str(row.steps), _share(row.spike_rate), _share(row.density)]
        rows.append([*start, *_work(row.spiking), *_work(row.quantized)[2:]])
    totals = [*_work(summary.spiking), *_work(summary.quantized)[2:]]
    return [*rows, ["total", "", str(summary.steps), "", "", *totals]]


def energy_totals(summary: EnergySummary) -> list[str]:
    """Both networks in words, and the limits of such a comparison."""
    work, other = summary.spiking, summary.quantized
    lines = [
        f"arithmetic of one sample (mean of {summary.samples:,}, {summary.steps} steps): "
        f"{_scaled(work.energy, _ENERGY, 1000)}, at 4.6 pJ a MAC and 0.9 pJ an AC (45 nm)"
    ]
    if other is None:
        lines.append("a quantized network without time: none, since connections are recurrent")
    else:
        ratio = f" ({other.energy / work.energy:.2f} times)" if work.energy else ""
        lines.append(
            f"the same layers without time, with activations of {summary.activation_bits} bits: "
            f"{_scaled(other.energy, _ENERGY, 1000)}{ratio}"
        )
    lines.append(
        "arithmetic only: 32 bits from 8 KiB of SRAM take 5 pJ, from DRAM 640 pJ; traffic is "
        "without caches or reuse, and routing, control and leakage are left out"
    )
    return lines


def _work(work) -> list[str]:
    if work is None:
        return ["?"] * 4
    counts = [f"{count:,.0f}" if count else "" for count in (work.macs, work.acs)]
    energy = _scaled(work.energy, _ENERGY, 1000) if work.energy else ""
    traffic = _scaled(work.traffic, _BYTES, 1024) if work.traffic else ""
    return [*counts, energy, traffic]


def _share(share: float | None) -> str:
    return "" if share is None else f"{share:.4f}"


def _scaled(value: float, units: tuple[str, ...], step: int) -> str:
    for unit in units[:-1]:
        if value < step:
            return f"{value:,.2f} {unit}"
        value /= step
    return f"{value:,.2f} {units[-1]}"
