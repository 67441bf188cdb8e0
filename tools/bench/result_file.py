"""A file of results, one JSON object to a line, to which several processes may add."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np


def read(file: Path) -> list[dict]:
    """All results; a last line that was cut off while it was written does not count."""
    if not file.exists():
        return []
    lines = file.read_text(encoding="utf-8").split("\n")
    return [json.loads(line) for line in lines[:-1] if line]


def append(file: Path, result: dict) -> None:
    """Add one result at once, so that what was finished survives an interruption."""
    line = (json.dumps(result) + "\n").encode()
    with file.open("a+b") as stream:
        if os.fstat(stream.fileno()).st_size:
            stream.seek(-1, os.SEEK_END)
            if stream.read(1) != b"\n":  # cut off: keep all lines before it
                stream.seek(0)
                stream.truncate(stream.read().rfind(b"\n") + 1)
        stream.write(line)


def completed(
    file: Path,
    names: Iterable[str],
    seeds: int,
    *,
    key: Callable[[str, int], str],
    train: Callable[[str, int], dict],
) -> dict[str, list[dict]]:
    """The results of each name, one for each seed; those that the file does not have are trained.

    Args:
        file: Made where it is missing, with its folder.
        names: Of what is compared.
        seeds: Number of seeds, from 0.
        key: What the result of a name and a seed is found by.
        train: Gives that result.
    """
    file.parent.mkdir(parents=True, exist_ok=True)
    done = {result["key"]: result for result in read(file)}
    rows: dict[str, list[dict]] = {}
    for name in names:
        for seed in range(seeds):
            own = key(name, seed)
            if own not in done:
                done[own] = {"key": own, **train(name, seed)}
                append(file, done[own])
            rows.setdefault(name, []).append(done[own])
    return rows


def mean(values: list[float]) -> str:
    """The mean, with the standard deviation if there are several."""
    spread = f" ± {np.std(values, ddof=1):.2f}" if len(values) > 1 else ""
    return f"{np.mean(values):.2f}{spread}"
