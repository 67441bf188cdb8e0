"""Writing files so that a reader, or the next run, never finds half of one."""

from __future__ import annotations

import ctypes
import glob
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
    choose their format by it. After an error nothing is left and `path` is as it was. What was
    written is flushed to the disk before it takes its place, and the renaming after, so that also
    a machine that stops finds the old or the new. (A folder that replaces another does so in one
    step on Linux; elsewhere there is a moment in which there is neither.)
    """
    path = Path(path).absolute()
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.stem}.{os.getpid()}{path.suffix}")
    _remove(temporary)
    try:
        yield temporary
        flush(temporary)
        if path.is_dir() or (temporary.is_dir() and path.exists()):
            _replace_folder(temporary, path)
        else:
            os.replace(temporary, path)
        flush_names(path.parent)
    finally:
        _remove(temporary)


def sweep(path: str | os.PathLike) -> None:
    """Remove what processes that were killed while they wrote `path` have left beside it."""
    path = Path(path).absolute()
    for left in path.parent.glob(f".{glob.escape(path.stem)}.*{glob.escape(path.suffix)}"):
        process = left.name[len(path.stem) + 2 : len(left.name) - len(path.suffix)]
        if process.isdecimal() and not _is_running(int(process)):
            _remove(left)


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


def _replace_folder(temporary: Path, path: Path) -> None:
    if _exchange(temporary, path):  # the old one is removed as `temporary`
        return
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


def _exchange(one: Path, other: Path) -> bool:
    """Exchange two paths in one step, by Linux's renameat2; False where that cannot be done."""
    rename = getattr(ctypes.CDLL(None), "renameat2", None) if os.name == "posix" else None
    here, exchange = -100, 2  # AT_FDCWD, RENAME_EXCHANGE
    return rename is not None and not rename(
        here, os.fsencode(one), here, os.fsencode(other), exchange
    )


def flush(path: Path) -> None:
    """Wait until a file, or a folder with all in it, is on the disk."""
    for each in (path, *path.rglob("*")) if path.is_dir() else (path,):
        if each.is_dir():
            flush_names(each)
        else:
            with each.open("rb" if os.name == "posix" else "rb+") as file:
                os.fsync(file.fileno())


def flush_names(folder: Path) -> None:
    """Wait until what the files in a folder are called is on the disk."""
    if os.name == "posix":  # elsewhere a folder cannot be opened
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def _is_running(process: int) -> bool:
    if os.name != "posix":  # where the question would end the process
        return True
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except (PermissionError, OverflowError):
        pass
    return True
