"""TensorFlow SavedModels, from every backend."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import keras

from keras_htaf.files import replacing
from keras_htaf.saving import load_model


def write(model: keras.Model, path: str | os.PathLike) -> None:
    """Write `model` as a SavedModel at `path`; arguments and errors as for `export`."""
    path = Path(path)
    if path.exists() and not (path / "saved_model.pb").is_file() and not _is_empty(path):
        raise ValueError(
            f"{str(path)!r} exists and is no SavedModel. Expected a new folder, or one that an "
            "earlier export wrote."
        )
    if importlib.util.find_spec("tensorflow") is None:
        raise ImportError(
            "Writing a SavedModel needs TensorFlow, whatever backend trained the model: "
            'pip install "keras-htaf[export]"'
        )
    if keras.config.backend() in ("tensorflow", "jax"):
        with replacing(path) as temporary:
            model.export(temporary, format="tf_saved_model", verbose=False)
    else:
        # Keras cannot trace a torch model into TensorFlow: its weights travel in a .keras file.
        with tempfile.TemporaryDirectory() as folder:
            file = Path(folder) / "model.keras"
            model.save(file)
            _write_elsewhere(file, path)


def _is_empty(path: Path) -> bool:
    return path.is_dir() and not any(path.iterdir())


def _write_elsewhere(file: Path, path: str | os.PathLike) -> None:
    environment = {**os.environ, "KERAS_BACKEND": "tensorflow", "TF_CPP_MIN_LOG_LEVEL": "3"}
    command = [sys.executable, "-m", __name__, str(file), os.fspath(path)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(
            "The second process, which writes the SavedModel with Keras on TensorFlow, failed. "
            "Models with your own layers must be exported under KERAS_BACKEND=tensorflow or jax. "
            f"Its output ended with:\n{done.stderr[-2000:]}"
        )


if __name__ == "__main__":
    write(load_model(sys.argv[1]), sys.argv[2])
