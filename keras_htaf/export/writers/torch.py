"""PyTorch's ExportedProgram, of plain operations, for batches of any size."""

from __future__ import annotations

import warnings
from pathlib import Path

from keras import ops

from keras_htaf.export.program import Program

_BATCH, _LEAST = 3, 2
"""Sizes to trace with, of a batch and at least of other axes, where any is taken."""


def write(program: Program, path: Path) -> None:
    """Write a `.pt2` file whose module gives a dict."""
    import torch

    made, _ = exported(program)
    torch.export.save(made, str(path))


def exported(program: Program) -> tuple:
    """The ExportedProgram, and the names of its outputs in order."""
    import torch

    names: list[str] = []

    class Module(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.model = program.model

        def forward(self, *inputs):
            outputs = program(*inputs)
            names[:] = outputs
            return outputs

    batch = torch.export.Dim("batch")
    # How small a size may be follows from what the network does with it.
    shapes = tuple(
        {
            axis: torch.export.Dim.DYNAMIC if axis else batch
            for axis, size in enumerate(x.shape)
            if size is None
        }
        for x in program.inputs
    )
    sample = tuple(
        ops.zeros(shape, x.dtype)
        for x, shape in zip(program.inputs, _shapes_of(program), strict=True)
    )
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")
        module = Module().eval()
        made = torch.export.export(module, sample, dynamic_shapes={"inputs": shapes}, strict=False)
    return made, list(names)


def _shapes_of(program: Program) -> list[list[int]]:
    """What the program is traced with, where any size is taken the one that it was seen to take."""
    known = program.shapes or [(_LEAST,) * len(x.shape) for x in program.inputs]
    # torch takes sizes of 0 and 1 for constants.
    return [
        [
            size or (max(_LEAST, seen) if axis else _BATCH)
            for axis, (size, seen) in enumerate(zip(x.shape, shape, strict=True))
        ]
        for x, shape in zip(program.inputs, known, strict=True)
    ]
