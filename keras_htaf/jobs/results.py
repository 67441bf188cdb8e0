"""What a job wrote, read again."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from keras_htaf.datasets.extras import require
from keras_htaf.interpret import Codes, ConceptAnalysis
from keras_htaf.interpret.purity import as_attributes

ABOUT = "job.json"


@dataclass(frozen=True)
class Results:
    """A folder of Parquet files with a row for each image, and `job.json`, which says what of.

    Any reader of Parquet can read the files, in which rows are in no order.

    Attributes:
        path: The folder.
        about: What is in `job.json`.

    Example:

    >>> import pyarrow, pyarrow.parquet
    >>> rows = pyarrow.table({"row": [1, 0], "decision": [7, 3]})
    >>> pyarrow.parquet.write_table(rows, tmp / "0.parquet")
    >>> found = Results(tmp, {"job": "predict", "samples": 2})
    >>> len(found), found.columns
    (2, ('row', 'decision'))
    >>> found.column("decision")
    array([3, 7])
    """

    path: Path
    about: dict

    def __len__(self) -> int:
        return sum(count for _, count in self._files)

    @property
    def columns(self) -> tuple[str, ...]:
        """Names of the columns: `row`, the number of the image; `label`; and what the job found."""
        return tuple(self._schema.names)

    def column(self, name: str) -> np.ndarray:
        """A column as one array, in the order of the images where these are numbered.

        Args:
            name: One of `columns`.

        Returns:
            `(n,)`; bits as bytes, eight in each, the first highest, `(n, ceil(m / 8))` uint8; other
            vectors as `(n, m)`.

        Raises:
            ValueError: If there is no such column, or rows are missing or there twice.
        """
        if name not in self.columns:
            raise ValueError(f"This job has no column {name!r}, but {list(self.columns)}.")
        found: np.ndarray | None = None
        for place, values in zip(self._places, self._read(name), strict=True):
            if found is None:
                found = np.empty((len(self), *values.shape[1:]), values.dtype)
            found[place] = values
        assert found is not None  # the columns are those of a first file
        shape = self.about.get("output_shape")
        return found.reshape(-1, *shape) if name == "output" and shape else found

    def codes(self) -> Codes:
        """The bits of all images and the head, as `keras_htaf.interpret.collect` gives them.

        A byte for each bit, and 8 more for each where concept logits were kept.

        Raises:
            ValueError: If the job was not one of `bits` or `analyze`.
        """
        if "bits" not in self.columns:
            raise ValueError(
                f"This job has the columns {list(self.columns)}. Expected bits, as jobs.bits or "
                "jobs.analyze writes them."
            )
        head = self.about["head"]
        weights = np.array(head["kernel"])
        bits = np.unpackbits(self.column("bits"), axis=1, count=len(weights)).view(bool)
        return Codes(
            bits,
            weights,
            np.array(head["bias"]),
            labels=self._known("label"),
            z=self._known("z"),
            smooth=self._known("smooth"),
            class_names=self.about["class_names"],
            concept_names=self.about["concept_names"],
        )

    def _known(self, name: str) -> np.ndarray | None:
        return self.column(name) if name in self.columns else None

    def analysis(
        self, attributes=None, attribute_names: Sequence[str] | None = None
    ) -> ConceptAnalysis:
        """All that `keras_htaf.interpret.analyze` computes from bits, without model and images.

        Args:
            attributes: What is known to be on the images, (n, a) of 0 and 1. Default: nothing.
            attribute_names: Default "attribute 0", ...

        Returns:
            A `ConceptAnalysis`; what needs the model or images says so.

        Raises:
            ValueError: If there are no bits or labels, or attributes do not fit.
        """
        codes = self.codes()
        if attributes is not None:
            attributes = as_attributes(attributes, len(codes))
        return ConceptAnalysis(codes, attributes=attributes, attribute_names=attribute_names)

    @cached_property
    def _files(self) -> list[tuple[Path, int]]:
        parquet = require("pyarrow.parquet", "Reading a job", "ray")
        files = sorted(self.path.glob("*.parquet"))
        return [(file, parquet.read_metadata(file).num_rows) for file in files]

    @cached_property
    def _schema(self) -> Any:
        parquet = require("pyarrow.parquet", "Reading a job", "ray")
        return parquet.read_schema(self._files[0][0])

    @cached_property
    def _places(self) -> list[np.ndarray | slice]:
        """Where the rows of each file belong."""
        if "row" not in self.columns:
            ends = np.cumsum([count for _, count in self._files]).tolist()
            return [slice(a, b) for a, b in zip([0, *ends[:-1]], ends, strict=True)]
        places = list(self._read("row"))
        seen = np.zeros(len(self), bool)
        for place in places:
            if len(place) and place.max() < len(self):
                seen[place] = True
        if not seen.all() or len(self) != self.about["samples"]:
            raise ValueError(
                f"{str(self.path)!r} has {len(self)} rows, {int(seen.sum())} of them different, of "
                f"{self.about['samples']} images. Files are missing or foreign: run the job again."
            )
        return places

    def _read(self, name: str):
        parquet = require("pyarrow.parquet", "Reading a job", "ray")
        for file, _ in self._files:
            yield _array(parquet.read_table(file, columns=[name])[name].combine_chunks())


def load(path: str | os.PathLike) -> Results:
    """Opens what a job wrote, on the same or another machine; no Ray is needed for it.

    Args:
        path: The folder.

    Returns:
        `Results`.

    Raises:
        ValueError: If no job wrote it, or the job did not end.

    Example:

    >>> codes = load("runs/digits/bits").codes()  # doctest: +SKIP
    >>> load(tmp / "nothing")
    Traceback (most recent call last):
        ...
    ValueError: ...nothing' holds no results of a job: job.json cannot be read ...
    """
    path = Path(path)
    try:
        about = json.loads((path / ABOUT).read_text(encoding="utf-8"))
        if not {"job", "samples"} <= set(about):
            raise ValueError(f"it has the keys {sorted(about)}")
    except (OSError, ValueError, TypeError) as error:
        raise ValueError(
            f"{str(path)!r} holds no results of a job: {ABOUT} cannot be read ({error})."
        ) from error
    results = Results(path, about)
    if not results._files:
        raise ValueError(f"{str(path)!r} holds no Parquet files. Run the job again.")
    return results


def _array(column: Any) -> np.ndarray:
    """An Arrow column of numbers, bytes of one length or lists of one length as numpy's array."""
    arrow = require("pyarrow", "Reading a job", "ray")
    if arrow.types.is_fixed_size_binary(column.type):
        width = column.type.byte_width
        if not len(column):
            return np.empty((0, width), np.uint8)
        flat = np.frombuffer(column.buffers()[1], np.uint8)
        begin = column.offset * width
        return flat[begin : begin + len(column) * width].reshape(-1, width)
    if arrow.types.is_fixed_size_list(column.type):
        return column.flatten().to_numpy(zero_copy_only=False).reshape(len(column), -1)
    return column.to_numpy(zero_copy_only=False)
