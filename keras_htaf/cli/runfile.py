"""What a training writes beside its model: the settings and the preprocessing."""

from __future__ import annotations

import json
from pathlib import Path

from keras_htaf.datasets import Preprocessing
from keras_htaf.files import write_json

NAME = "run.json"


def write(folder: Path, settings: dict, preprocessing: Preprocessing) -> None:
    """Write `run.json` into the folder of a run."""
    write_json(
        folder / NAME,
        {
            "settings": settings,
            "preprocessing": {"scale": preprocessing.scale, "offset": preprocessing.offset},
        },
    )


def read(folder: Path) -> dict | None:
    """The content of a folder's `run.json`; `None` if there is none.

    Raises:
        ValueError: If the file is not what `write` writes.
    """
    file = folder / NAME
    if not file.is_file():
        return None
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
        content["settings"], content["preprocessing"]["scale"]
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(f"{str(file)!r} is damaged ({error!r}). Train again.") from error
    return content


def preprocessing_beside(model_file: Path) -> Preprocessing | None:
    """The preprocessing that the `run.json` beside a model file describes, if there is one."""
    content = read(model_file.parent)
    if content is None:
        return None
    values = {
        key: tuple(value) if isinstance(value, list) else float(value)
        for key, value in content["preprocessing"].items()
    }
    return Preprocessing(**values)
