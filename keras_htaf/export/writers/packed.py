"""Networks on packed bits, of this package's own format."""

from __future__ import annotations

from pathlib import Path

from keras_htaf.export.program import Program
from keras_htaf.packed import pack


def write(program: Program, path: Path) -> None:
    """Write the model's own output; a packed network has no other."""
    pack(program.model).save(path)
