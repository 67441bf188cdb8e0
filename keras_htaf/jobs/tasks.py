"""What a worker does with a batch."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import keras
import numpy as np

from keras_htaf.interpret.collection import Collector
from keras_htaf.saving import load_model


def archive(model: keras.Model | str | Path) -> bytes:
    """A model as the bytes of a `.keras` file, which any machine can be sent."""
    if not isinstance(model, keras.Model):
        return Path(model).read_bytes()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "model.keras")
        model.save(path)
        return path.read_bytes()


def unarchived(content: bytes) -> keras.Model:
    """The model whose `archive` that is."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "model.keras")
        path.write_bytes(content)
        return load_model(path)


@dataclass(frozen=True)
class Bits:
    """Bits, eight to a byte, and perhaps the numbers they come from.

    Attributes:
        logits: Whether to keep concept logits and smooth bits.
        options: Of `keras_htaf.interpret.collect`.
    """

    logits: bool
    options: dict

    def of(self, model: keras.Model) -> Callable:
        collector = Collector(model, **self.options)

        def columns(x, y):
            codes = collector(x, y)
            # numpy's order, the first bit highest, as in `Codes.packed`.
            found = {"bits": codes.packed}
            if self.logits:
                found |= {"z": codes.z, "smooth": codes.smooth}
            return found

        return columns


@dataclass(frozen=True)
class Predictions:
    """What a model gives, and the largest of it.

    Attributes:
        outputs: Whether to keep all that it gives; else only which is largest.
    """

    outputs: bool

    def of(self, model: keras.Model) -> Callable:
        def columns(x, _):
            given = np.asarray(model.predict_on_batch(_cast(x)), dtype="float32")
            broken = ~np.isfinite(given.reshape(len(given), -1)).all(axis=1)
            if broken.any():
                raise ValueError(
                    f"What the model gives for image {int(broken.argmax())} of a batch is NaN or "
                    "infinite. Expected finite images (keras_htaf.datasets.check_images finds "
                    "what is not) and finite weights."
                )
            found = {"output": given} if self.outputs else {}
            if decides(given.shape[1:]):
                found["decision"] = given.argmax(axis=1).astype("int32")
            return found

        return columns


def decides(shape: tuple) -> bool:
    """Whether outputs of that shape, without the batch, are one number for each of some classes."""
    return len(shape) == 1 and shape[0] > 1


def _cast(x: np.ndarray) -> np.ndarray:
    return x.astype(keras.config.floatx(), copy=False) if x.dtype.kind == "f" else x
