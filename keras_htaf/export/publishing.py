"""Where artifacts appear, whole or not at all.

Each file does. Of several, the card comes first: between the two renamings, and after a machine
that stopped there, an earlier artifact lies beside a card whose checksum is that of another one,
which servers refuse; a new card without artifact is none. A SavedModel has its card within, and is
replaced in one step.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from keras_htaf.export.formats import FORMATS, Format, format_of
from keras_htaf.files import flush, flush_names, replacing


def check(path: Path, format: str) -> None:
    """A ValueError if an artifact may not be written there."""
    suffix = FORMATS[format].suffix
    if suffix and path.is_dir():
        raise ValueError(f"{str(path)!r} is a folder. Expected a file, for format {format!r}.")
    if suffix and path.suffix != suffix:
        raise ValueError(
            f"Received the path {str(path)!r} for format {format!r}. Expected a file whose name "
            f"ends in {suffix}."
        )
    if not suffix and (other := format_of(path)) != format:
        raise ValueError(
            f"Received the path {str(path)!r} for format {format!r}. Expected a folder, or format "
            f"{other!r}."
        )
    if not suffix and path.exists() and not (path / "saved_model.pb").is_file():
        if path.is_dir() and not any(path.iterdir()):
            return
        raise ValueError(
            f"{str(path)!r} exists and is no SavedModel. Expected a new folder, or one that an "
            "earlier export wrote."
        )


@contextmanager
def prepared(path: Path, format: Format) -> Iterator[Path]:
    """A path for an artifact and its card, which appear at `path` if the block ends well."""
    if not format.suffix:
        with replacing(path) as temporary:
            yield temporary
        return
    path = path.absolute()
    path.parent.mkdir(parents=True, exist_ok=True)
    folder = Path(tempfile.mkdtemp(prefix=f".{path.stem}.", dir=path.parent))
    try:
        yield folder / path.name
        flush(folder)
        # The artifact itself last: whoever sees it sees all of it.
        for file in sorted(folder.iterdir(), key=lambda file: _order(file.name, path)):
            os.replace(file, path.parent / file.name)
        flush_names(path.parent)
    finally:
        shutil.rmtree(folder)


def _order(name: str, path: Path) -> int:
    """The card, what is beside the artifact, the artifact."""
    return 2 if name == path.name else 0 if name.startswith(f"{path.name}.card.") else 1
