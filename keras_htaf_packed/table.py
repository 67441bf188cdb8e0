"""What a packed network holds, as a table."""

from __future__ import annotations

from dataclasses import dataclass

from keras_htaf_packed.graph import Graph, Spec

_KERNEL_BITS = {"uint8": 1, "float32": 32}
"""By the type of what a kernel is held in."""


@dataclass(frozen=True)
class PackedRow:
    """One operation."""

    name: str
    kind: str
    kernel_bits: int | None
    """Of each number of its kernel, if it has one."""
    output_shape: tuple[int, ...]
    output_bits: int
    """Bits of each number that it gives."""
    output_bytes: int
    """Of a sample, as it lies in memory."""
    held_bytes: int
    """Of its arrays in a file."""


@dataclass(frozen=True)
class PackedSummary:
    """All operations of a packed network; `str` gives a table."""

    name: str
    rows: tuple[PackedRow, ...]

    @property
    def held_bytes(self) -> int:
        """Of all arrays in a file."""
        return sum(row.held_bytes for row in self.rows)

    def __str__(self) -> str:
        head = ("operation", "kind", "kernel bits", "output", "bits", "output bytes", "held bytes")
        lines = [
            (
                *(r.name, r.kind, r.kernel_bits or "", r.output_shape),
                *(r.output_bits, r.output_bytes, r.held_bytes),
            )
            for r in self.rows
        ]
        cells = [[str(cell) for cell in line] for line in (head, *lines)]
        widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
        text = ["  ".join(c.ljust(n) for c, n in zip(line, widths, strict=True)) for line in cells]
        return "\n".join(
            [f"Packed {self.name!r}: {self.held_bytes:,} bytes", *(t.rstrip() for t in text)]
        )

    __repr__ = __str__


def rows(graph: Graph, specs: dict[str, Spec]) -> tuple[PackedRow, ...]:
    """The rows of a summary."""
    return tuple(
        PackedRow(
            operation.name,
            operation.kind,
            _KERNEL_BITS[operation.arrays["kernel"].dtype.name]
            if "kernel" in operation.arrays
            else None,
            specs[operation.name].shape,
            32 if specs[operation.name].coding is None else 1,
            specs[operation.name].size,
            sum(array.nbytes for array in operation.arrays.values()),
        )
        for operation in graph.operations
    )
