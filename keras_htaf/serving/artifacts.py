"""An exported file or folder, its card and its checksum."""

from __future__ import annotations

import hashlib
import json
import re
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from keras_htaf.export import card as cards

FORMATS = {".onnx": "onnx", ".khtaf": "packed"}
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,62}")


@dataclass(frozen=True)
class Artifact:
    """What is served under a name; `Artifact.at` finds it.

    Attributes:
        name: Of the model, in addresses.
        path: Absolute.
        format: "tf_saved_model", "onnx" or "packed".

    Example:

    >>> layers = [keras.Input((2,)), keras_htaf.layers.HTAF(), keras.layers.Dense(2)]
    >>> model, path = keras.Sequential(layers), tmp / "digits.khtaf"
    >>> keras_htaf.export.export(model, path, "packed", verify=False)
    >>> found = Artifact.at(path)
    >>> found.name, found.format, found.verify()
    ('digits', 'packed', True)
    """

    name: str
    path: Path
    format: str

    @classmethod
    def at(cls, path: str | Path, name: str | None = None) -> Artifact:
        """The artifact at a path.

        Args:
            path: A SavedModel's folder, a .onnx or a .khtaf file.
            name: Default: the file's name without suffix, or that of the folder; where this is
                "saved_model", the name of the folder that it is in.

        Raises:
            FileNotFoundError: If there is nothing.
            ValueError: If it is something else, or the name cannot stand in an address.
        """
        path = Path(path).absolute()
        if not path.exists():
            raise FileNotFoundError(f"There is no {str(path)!r}. Expected what `export` wrote.")
        if path.is_dir():
            known = "tf_saved_model" if (path / "saved_model.pb").is_file() else None
        else:
            known = FORMATS.get(path.suffix.lower())
        if known is None:
            raise ValueError(
                f"{str(path)!r} cannot be served. Expected the folder of a SavedModel, a .onnx or "
                "a .khtaf file, as `keras-htaf export` writes them."
            )
        if name is None:
            name = path.parent.name if path.name == "saved_model" else path.stem
        if not _NAME.fullmatch(name):
            raise ValueError(
                f"Received the name {name!r} for {str(path)!r}. Expected letters, digits, '-', '_' "
                "and '.', up to 63 of them: give one with --name."
            )
        return cls(name, path, known)

    @cached_property
    def card(self) -> dict | None:
        """What the export said of the artifact; None where there is no card.

        Raises:
            ValueError: If it is damaged.
        """
        return cards.find(self.path)

    def fingerprint(self) -> str:
        """Checksums of the files and of the card, as they are now and as it was read."""
        card = hashlib.sha256(json.dumps(self.card, sort_keys=True).encode()).hexdigest()
        return f"{cards.checksum(cards.files_of(self.path))} {card}"

    def verify(self) -> bool:
        """Whether the files are those that the card was written for; False without a card.

        Raises:
            ValueError: If they are not: nothing of it should be loaded then.
        """
        if self.card is None:
            return False
        expected = (self.card.get("checksum") or {}).get("sha256")
        if (found := cards.checksum(cards.files_of(self.path))) != expected:
            raise ValueError(
                f"{str(self.path)!r} is not what its card was written for: its checksum is "
                f"{found[:12]}..., the card says {str(expected)[:12]}.... Export the model again."
            )
        return True
