"""What `keras-htaf train --distribute` means."""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import keras

from keras_htaf import distribution
from keras_htaf.distribution import Distribution

EXPECTED = (ValueError, OSError, ImportError, RuntimeError)
"""Failures that are told in one line."""


def check(distribute: str | None) -> None:
    """Raises a ValueError for what is no way to distribute, or none of this backend."""
    if distribute == "model" and keras.config.backend() != "jax":
        raise ValueError(
            "--distribute model divides kernels over devices, on the JAX backend only. Expected "
            "KERAS_BACKEND=jax, or --distribute data."
        )
    if distribute in (None, "auto", "data", "model"):
        return
    if not distribute.isascii() or not distribute.isdigit() or int(distribute) < 1:
        raise ValueError(
            f"Received --distribute {distribute}. Expected auto, data, model or a number of "
            "devices."
        )


def processes(distribute: str | None) -> int:
    """How many processes to start on this machine: on torch one for each device."""
    check(distribute)
    started = keras.config.backend() != "torch" or "WORLD_SIZE" in os.environ
    if distribute in (None, "model") or started:
        return 1
    return int(distribute) if distribute.isdigit() else distribution.device_count()


def across(distribute: str | None) -> Distribution | None:
    """The devices; None for one."""
    check(distribute)
    if distribute == "model":
        if distribution.device_count() == 1:
            raise ValueError("--distribute model received one device. Expected several to divide.")
        return distribution.model_parallel()
    if distribute is None:
        return None
    found = distribution.data_parallel(int(distribute) if distribute.isdigit() else None)
    return None if found.count == 1 else found


def in_processes(run: Callable[..., object], *arguments, count: int) -> None:
    """Calls `run` in as many processes, each of whose failures is told in one line."""
    distribution.launch(_told, run, arguments, processes=count)


def _told(run, arguments):
    try:
        run(*arguments)
    except EXPECTED as error:
        rank = os.environ.get("RANK", "0")
        where = "" if rank == "0" else f" in process {rank}"
        print(f"error{where}: {error}", file=sys.stderr)
        raise SystemExit(2) from None


@contextmanager
def folder_of(devices: Distribution | None, out: Path, kept: str) -> Iterator[Path]:
    """`out`, for the process that writes; for another one a folder that goes away.

    That one begins with a copy of the subfolder `kept`, so that a run is resumed by all, and it is
    copied before the chief goes on. (Hidden files, which are half written, are left out.)
    """
    if devices is None or devices.chief:
        if devices is not None:
            devices.barrier()
        yield out
        return
    with tempfile.TemporaryDirectory() as name:
        spare = Path(name) / out.name
        if (out / kept).is_dir():
            shutil.copytree(out / kept, spare / kept, ignore=shutil.ignore_patterns(".*"))
        devices.barrier()
        yield spare
