"""A model that another backend writes: its weights travel in a `.keras` file to a second process.

Run as `python -m keras_htaf.export.elsewhere FOLDER`, where FOLDER holds model.keras and job.json.
"""

from __future__ import annotations

import importlib
import json
import os
import subprocess
import sys
import tempfile
from dataclasses import fields
from pathlib import Path

import keras

from keras_htaf.export import processor
from keras_htaf.export.program import Program, save_uncompiled
from keras_htaf.saving import load_model

_PATIENCE = 3600.0
"""Seconds for the second process: unrolled loops of large models take many minutes."""


def write(format: str, program: Program, path: Path, backend: str) -> None:
    """Write a program with the backend that can, which may be this process's own.

    Raises:
        RuntimeError: If the second process fails, with the end of what it said.
    """
    if backend == keras.config.backend():
        with processor.while_writing():
            module(format).write(program, path)
        return
    with tempfile.TemporaryDirectory() as folder:
        save_uncompiled(program.model, Path(folder) / "model.keras")
        options = {f.name: getattr(program, f.name) for f in fields(program) if f.name != "model"}
        job = {"format": format, "path": str(path), "program": options}
        (Path(folder) / "job.json").write_text(json.dumps(job), encoding="utf-8")
        environment = {**os.environ, **processor.CHILD, "KERAS_BACKEND": backend}
        command = [sys.executable, "-m", __name__, folder]
        try:
            done = subprocess.run(
                command,
                env=environment,
                capture_output=True,
                text=True,
                check=False,
                timeout=_PATIENCE,
            )
        except subprocess.TimeoutExpired:
            raise RuntimeError(
                f"The second process, which writes {format} with Keras on {backend}, was not done "
                f"in {_PATIENCE:g} seconds, and was ended. Export under KERAS_BACKEND={backend}, "
                "where there is no limit."
            ) from None
    if done.returncode:
        raise RuntimeError(
            f"The second process, which writes {format} with Keras on {backend}, failed. Models "
            f"with your own layers must be exported under KERAS_BACKEND={backend}. Its output "
            f"ended with:\n{done.stderr[-2000:]}"
        )


def module(format: str):
    """The module that writes a format."""
    name = "saved_model" if format == "tf_saved_model" else format
    return importlib.import_module(f"keras_htaf.export.writers.{name}")


def _main(folder: Path) -> None:
    job = json.loads((folder / "job.json").read_text(encoding="utf-8"))
    program = Program(load_model(folder / "model.keras"), **job["program"])
    module(job["format"]).write(program, Path(job["path"]))


if __name__ == "__main__":
    _main(Path(sys.argv[1]))
