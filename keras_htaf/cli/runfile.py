"""What a training writes beside its model: the settings and the preprocessing."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path

from keras_htaf.datasets import Preprocessing
from keras_htaf.files import write_json
from keras_htaf_cli.settings import Settings

NAME = "run.json"


def write(folder: Path, settings: Settings, preprocessing: Preprocessing) -> None:
    """Write `run.json` into the folder of a run."""
    write_json(
        folder / NAME,
        {"settings": asdict(settings), "preprocessing": asdict(preprocessing)},
    )


def read(folder: Path) -> tuple[Settings, Preprocessing] | None:
    """What a folder's `run.json` holds; `None` if there is none.

    Raises:
        ValueError: If the file is not what `write` writes.
    """
    file = folder / NAME
    if not file.is_file():
        return None
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
        values = {
            key: tuple(float(v) for v in value) if isinstance(value, list) else float(value)
            for key, value in content["preprocessing"].items()
        }
        return Settings(**content["settings"]), Preprocessing(**values)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"{str(file)!r} is damaged ({error!r}). Train again.") from error
