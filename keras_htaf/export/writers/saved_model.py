"""TensorFlow SavedModels."""

from __future__ import annotations

import inspect
from pathlib import Path

import keras

from keras_htaf.export.program import Program


def write(program: Program, path: Path) -> None:
    """Write Keras's `serve`, and the signatures `serving_default` and `bits`."""
    archive = keras.export.ExportArchive()
    model, options = program.model, _options()
    specs = keras.tree.pack_sequence_as(model.input, specs_of(program))
    archive.track_and_add_endpoint("serve", model, [specs], **options)
    archive.add_endpoint("serving_default", endpoint(program, False), specs_of(program), **options)
    if program.bits:
        archive.add_endpoint("bits", endpoint(program, True), specs_of(program), **options)
    archive.write_out(path, verbose=False)


def _options() -> dict:
    """Of endpoints: JAX compiles for the platform that it is on, unless another one is named."""
    if keras.config.backend() != "jax":
        return {}
    options = {"native_serialization": True, "native_serialization_platforms": ("cpu",)}
    return {"jax2tf_kwargs": options}


def specs_of(program: Program) -> list[keras.InputSpec]:
    """The program's inputs, as Keras wants them described."""
    return [keras.InputSpec(x.dtype, x.shape, name=x.name) for x in program.inputs]


def endpoint(program: Program, bits: bool | None = None):
    """The program as a function whose parameters have the names of its inputs."""

    def run(*inputs):
        return program(*inputs, bits=bits)

    kind = inspect.Parameter.POSITIONAL_OR_KEYWORD
    parameters = [inspect.Parameter(x.name, kind) for x in program.inputs]
    # What inspect looks for first, which mypy does not know.
    run.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    return run
