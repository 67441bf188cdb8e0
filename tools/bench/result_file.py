"""A file of results, one JSON object to a line, to which several processes may add."""

from __future__ import annotations

import json
import os
from pathlib import Path


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
