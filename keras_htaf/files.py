"""Writing files so that a reader, or the next run, never finds half of one."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def replacing(path: str | os.PathLike) -> Iterator[Path]:
    """A temporary path beside `path`, which takes its place when the block ends without error.

    Works for files and for folders. The temporary path keeps the suffix, since many writers
    choose their format by it. After an error nothing is left and `path` is as it was.
    """
    path = Path(path).absolute()
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.stem}.{os.getpid()}{path.suffix}")
    _remove(temporary)
    try:
        yield temporary
        if path.is_dir() or (temporary.is_dir() and path.exists()):
            # A folder neither replaces nor is replaced in one step: move the old one aside first.
            aside = path.with_name(f".{path.name}.{os.getpid()}.old")
            _remove(aside)
            os.replace(path, aside)
            try:
                os.replace(temporary, path)
            except OSError:
                os.replace(aside, path)
                raise
            _remove(aside)
        else:
            os.replace(temporary, path)
    finally:
        _remove(temporary)


def write_json(path: str | os.PathLike, value) -> None:
    """Write `value` as indented JSON, atomically."""
    with replacing(path) as temporary:
        temporary.write_text(json.dumps(value, indent=2, sort_keys=True) + "\n", encoding="utf-8")


def check_writable(folder: str | os.PathLike) -> Path:
    """The folder; a clear error, before any work is done, if it cannot be made or written into."""
    folder = Path(folder)
    existing = next(p for p in (folder, *folder.absolute().parents) if p.exists())
    if not existing.is_dir() or not os.access(existing, os.W_OK | os.X_OK):
        reason = "no permission" if existing.is_dir() else "is not a folder"
        raise PermissionError(
            f"Cannot write into {str(folder)!r} ({str(existing)!r}: {reason}). Choose another one."
        )
    return folder


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
