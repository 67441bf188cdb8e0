"""Loading model files that may be broken or hostile."""

from __future__ import annotations

import json
import os
import zipfile
from pathlib import Path

import keras

_MEMBERS = {"metadata.json", "config.json", "model.weights.h5"}


def load_model(path: str | os.PathLike) -> keras.Model:
    """Load a `.keras` file; importing keras_htaf has registered all its layers.

    The file's config is looked through before anything in it is built: it may name classes of
    Keras, of keras_htaf and those that you registered, nothing else, and no serialized Python code
    (Lambda layers). Weights are arrays; nothing is unpickled.

    Args:
        path: A file that `model.save("....keras")` wrote, on any backend.

    Returns:
        The model, compiled if it was.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it is no `.keras` file, is damaged, or names what it may not.

    Example:

    >>> model = keras.Sequential([keras.Input((2,)), keras_htaf.layers.HTAF()])
    >>> model.save(tmp / "model.keras")
    >>> load_model(tmp / "model.keras").layers[0].forward_mode
    'smooth'
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"There is no model file {str(path)!r}.")
    try:
        config = _read_config(path)
    except (
        zipfile.BadZipFile,
        KeyError,
        json.JSONDecodeError,
        UnicodeDecodeError,
        OSError,
    ) as error:
        raise ValueError(
            f"{str(path)!r} is not a readable .keras file ({error}). Expected a file written by "
            'model.save("name.keras"); if it was cut short, copy or save it again.'
        ) from error
    _refuse_foreign_code(config, path)
    try:
        return keras.saving.load_model(path, safe_mode=True)
    except Exception as error:  # whatever a damaged config or weight file makes Keras trip over
        raise ValueError(f"{str(path)!r} cannot be loaded: {error}") from error


def _read_config(path: Path) -> dict:
    with zipfile.ZipFile(path) as archive:
        missing = _MEMBERS - set(archive.namelist())
        if missing:
            raise KeyError(f"it lacks {sorted(missing)}")
        damaged = archive.testzip()
        if damaged:
            raise zipfile.BadZipFile(f"its part {damaged!r} is damaged")
        return json.loads(archive.read("config.json").decode("utf-8"))


def _refuse_foreign_code(config, path: Path) -> None:
    """Raise unless every serialized object is Keras's, this package's or registered by the user."""
    if isinstance(config, list):
        for item in config:
            _refuse_foreign_code(item, path)
    if not isinstance(config, dict):
        return
    name = config.get("class_name")
    if isinstance(name, str) and "config" in config:
        module = config.get("module") or ""
        registered = config.get("registered_name") or ""
        # Without a module, Keras has written a registered object or a builtin such as "float32".
        ours = not isinstance(module, str) or module.split(".")[0] in ("", "keras", "keras_htaf")
        known = keras.saving.get_registered_object(registered) is not None
        if name in ("Lambda", "__lambda__") or not (ours or known or module == "builtins"):
            raise ValueError(
                f"{str(path)!r} names {module}.{name} ({registered or 'not registered'}), which "
                "could run code of the file's author. Expected classes of Keras, of keras_htaf, "
                "and ones you registered with keras.saving.register_keras_serializable before "
                "loading."
            )
    for item in config.values():
        _refuse_foreign_code(item, path)
