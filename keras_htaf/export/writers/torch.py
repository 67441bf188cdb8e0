"""PyTorch's ExportedProgram, of plain operations, for batches of any size."""

from __future__ import annotations

import warnings
from pathlib import Path

from keras import ops

from keras_htaf.export.program import Program


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
    sizes: dict[int, torch.export.Dim] = {}
    shapes = tuple(
        {
            axis: batch if axis == 0 else sizes.setdefault(axis, torch.export.Dim(f"size{axis}"))
            for axis, size in enumerate(x.shape)
            if size is None
        }
        for x in program.inputs
    )
    # Sizes that the sample has may not be 0 or 1, which are taken for constants.
    sample = tuple(
        ops.zeros([3 if size is None else size for size in x.shape], x.dtype)
        for x in program.inputs
    )
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")
        module = Module().eval()
        made = torch.export.export(module, sample, dynamic_shapes={"inputs": shapes}, strict=False)
    return made, list(names)
