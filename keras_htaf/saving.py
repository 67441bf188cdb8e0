"""Loading model files that may be broken or hostile."""

from __future__ import annotations

import json
import os
import zipfile
from pathlib import Path

import keras

_MEMBERS = {"metadata.json", "config.json", "model.weights.h5"}
_LARGEST_EXPANSION = 100
"""Keras stores what it writes uncompressed; more than this, unpacked, is a decompression bomb."""

_ROOMS = frozenset(
    {"", "activations", "constraints", "distillation", "dtype_policies", "initializers", "layers"}
    | {"losses", "metrics", "models", "ops", "optimizers", "quantizers", "random", "regularizers"}
    | {"src"}
)
"""Where Keras keeps what a model is made of; its other modules read files and change settings."""

_VALUES = {"__keras_tensor__", "__tensor__", "__numpy__", "__bytes__", "__ellipsis__", "__slice__"}
_CODE = {"Lambda", "__lambda__", "__typespec__", "TFSMLayer", "TorchModuleWrapper"}


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
    if path.suffix != ".keras":  # Keras would read another format than the one checked here
        raise ValueError(f"Received {str(path)!r}. Expected a file whose name ends in .keras.")
    try:
        config = _read_config(path)
    except Exception as error:  # zipfile and json raise a dozen kinds on damaged files
        raise ValueError(
            f"{str(path)!r} is not a readable .keras file ({error}). Expected a file written by "
            'model.save("name.keras"); if it was cut short, copy or save it again.'
        ) from error
    _refuse_foreign_code(config, path)
    try:
        model = keras.saving.load_model(path, safe_mode=True)
    except Exception as error:  # whatever a damaged config or weight file makes Keras trip over
        raise ValueError(f"{str(path)!r} cannot be loaded: {error}") from error
    if not isinstance(model, keras.Model):
        raise ValueError(f"{str(path)!r} holds a {type(model).__name__}. Expected a keras.Model.")
    return model


def _read_config(path: Path) -> dict:
    with zipfile.ZipFile(path) as archive:
        missing = _MEMBERS - set(archive.namelist())
        if missing:
            raise zipfile.BadZipFile(f"it lacks {sorted(missing)}")
        if sum(m.file_size for m in archive.infolist()) > _LARGEST_EXPANSION * path.stat().st_size:
            raise zipfile.BadZipFile(f"it unpacks to over {_LARGEST_EXPANSION} times its size")
        damaged = archive.testzip()
        if damaged:
            raise zipfile.BadZipFile(f"its part {damaged!r} is damaged")
        return json.loads(archive.read("config.json").decode("utf-8"))


def _refuse_foreign_code(config, path: Path) -> None:
    """Raise unless every serialized object is Keras's, this package's or registered by the user."""
    pending = [config]
    while pending:  # not by recursion: the file decides how deep it is nested
        item = pending.pop()
        if isinstance(item, list):
            pending.extend(item)
        if not isinstance(item, dict):
            continue
        pending.extend(item.values())
        if "class_name" in item and "config" in item and not _is_known(item):
            what = [item.get(key) for key in ("module", "class_name", "registered_name")]
            what += [item["config"]] * (item["class_name"] == "function")
            raise ValueError(
                f"{str(path)!r} names the object {what}, which could run code of the file's "
                "author. Expected layers and the like of Keras, of keras_htaf, and ones you "
                "registered with keras.saving.register_keras_serializable before loading."
            )


def _is_known(config: dict) -> bool:
    name, module = config["class_name"], config.get("module")
    registered = config.get("registered_name", name)
    if not isinstance(name, str) or name in _CODE:
        return False
    if name in _VALUES:
        return True
    if name == "function":
        # Looked up by Keras among your registered functions and its own activations, losses, ...
        return module == "builtins" and isinstance(config["config"], str)
    if isinstance(registered, str) and keras.saving.get_registered_object(registered) is not None:
        return True
    if not isinstance(module, str) or not name.isidentifier():
        return False
    package, room = [*module.split("."), ""][:2]
    return package == "keras" and room in _ROOMS
