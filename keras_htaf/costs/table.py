"""A ModelSummary as text and as Markdown."""

from __future__ import annotations

from typing import TYPE_CHECKING

from keras_htaf.costs.energy_table import energy_cells, energy_totals

if TYPE_CHECKING:
    from keras_htaf.costs.results import ModelSummary

_KIB = 1024


def text(summary: ModelSummary) -> str:
    """A table with a line for each layer, and the totals."""
    parts = [f"Model {summary.name!r}", "", *_lines(_cells(summary)), "", *_totals(summary)]
    if summary.energy is not None:
        parts += ["", *_lines(energy_cells(summary.energy)), "", *energy_totals(summary.energy)]
    return "\n".join(parts)


def markdown(summary: ModelSummary) -> str:
    """The same as Markdown tables and lists."""
    parts = [*_rows(_cells(summary)), "", *(f"- {line}" for line in _totals(summary))]
    if summary.energy is not None:
        parts += ["", *_rows(energy_cells(summary.energy)), ""]
        parts += [f"- {line}" for line in energy_totals(summary.energy)]
    return "\n".join(parts)


def _lines(cells: list[list[str]]) -> list[str]:
    """Columns of one width each, with rules under the first row and above the last."""
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    lines = []
    for row in cells:
        left = [c.ljust(w) for c, w in zip(row[:2], widths[:2], strict=True)]
        right = [c.rjust(w) for c, w in zip(row[2:], widths[2:], strict=True)]
        lines.append("  ".join([*left, *right]).rstrip())
    rule = "-" * (sum(widths) + 2 * (len(widths) - 1))
    return [lines[0], rule, *lines[1:-1], rule, lines[-1]]


def _rows(cells: list[list[str]]) -> list[str]:
    head, *rows = cells
    lines = [head, ["---", "---", *["---:"] * (len(head) - 2)], *rows]
    return ["| " + " | ".join(line) + " |" for line in lines]


def _cells(summary: ModelSummary) -> list[list[str]]:
    weight_bits, mac_bits = list(summary.weights), list(summary.macs)
    head = ["layer", "kind", "bits in", "output", "bits out"]
    head += [f"{bits}-bit weights" for bits in weight_bits] + ["KiB"]
    head += [f"{bits}-bit MACs" for bits in mac_bits]
    rows = [head]
    for row in summary.layers:
        shape = "x".join("?" if size is None else str(size) for size in row.output_shape)
        cells = [row.name, row.kind, str(row.input_bits), shape, str(row.output_bits)]
        cells += [_number(row.weights.get(bits, 0)) for bits in weight_bits]
        cells.append(f"{row.memory['packed'] / _KIB:.2f}" if row.weights else "")
        cells += ["?" if row.macs is None else _number(row.macs.get(b, 0)) for b in mac_bits]
        rows.append(cells)
    total = ["total", "", "", "", "", *(_number(number) for number in summary.weights.values())]
    total.append(f"{summary.memory['packed'] / _KIB:.2f}")
    return [*rows, [*total, *(_number(number) for number in summary.macs.values())]]


def _number(count: int) -> str:
    return f"{count:,}" if count else ""


def _totals(summary: ModelSummary) -> list[str]:
    memory = {key: f"{size / _KIB:,.2f} KiB" for key, size in summary.memory.items()}
    share = {key: f"{100 * value:.2f} %" for key, value in summary.binary_share.items()}
    lines = [
        f"memory of the weights: {memory['packed']} packed, {memory['packed_int8']} with 8-bit "
        f"floats, {memory['int8']} as int8, {memory['float32']} as float32",
        f"binary: {share['weights']} of the weights, {share['macs']} of the multiply-accumulates",
    ]
    if summary.uncounted:
        lines.append(f"multiply-accumulates not known: {', '.join(summary.uncounted)}")
    return lines
