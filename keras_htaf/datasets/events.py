"""Recordings of event cameras and of an artificial ear, read through Tonic as frames."""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from keras_htaf.datasets import network
from keras_htaf.datasets.checks import check_labels
from keras_htaf.datasets.cut import cut_validation
from keras_htaf.datasets.dataset import Dataset
from keras_htaf.datasets.extras import require
from keras_htaf.datasets.frames import check_framing, event_frames, frame_shape
from keras_htaf.datasets.split import Split

# Up to this size frames stay in memory, so that only the first epoch reads files.
_KEEP_BYTES = 2**30
_MOST = np.iinfo(np.uint16).max


@dataclass(frozen=True)
class _Published:
    """What Tonic does not say of a data set, or says only once it is there."""

    kind: str
    """Tonic's class, and its folder in `data_dir`."""
    host: str
    parts: tuple[str, str]
    """Where training and test recordings lie in that folder."""
    suffix: str
    sizes: tuple[int, int]
    """How many recordings were published."""
    start_us: int | None
    """Where time begins; None where each recording was cut out of a longer one."""

    def files(self, data_dir: Path, train: bool) -> Path:
        return data_dir / self.kind / self.parts[0 if train else 1]

    def is_there(self, data_dir: Path, train: bool) -> bool:
        place = self.files(data_dir, train)
        return place.is_file() or next(place.rglob(f"*{self.suffix}"), None) is not None


_PUBLISHED = {
    "nmnist": _Published(
        "NMNIST", "data.mendeley.com", ("Train", "Test"), ".bin", (60000, 10000), 0
    ),
    "dvs_gesture": _Published(
        "DVSGesture",
        "figshare.com",
        ("ibmGestureTrain", "ibmGestureTest"),
        ".npy",
        (1077, 264),
        None,
    ),
    "shd": _Published(
        "SHD", "zenkelab.org", ("shd_train.h5", "shd_test.h5"), ".h5", (8156, 2264), 0
    ),
}


class EventSource:
    """Recordings that become frames when they are asked for, each once if all fit into memory.

    Args:
        recordings: What gives `(events, label)` for each integer below its length.
        labels: int32, of shape `(N,)`.
        frames: Makes of events the counts of shape `image_shape`.
        image_shape: `(T, ...)`, the shape of all frames of a recording.
    """

    full_scale: float | None = None

    def __init__(
        self,
        recordings: Any,
        labels: np.ndarray,
        frames: Callable[[np.ndarray], np.ndarray],
        image_shape: tuple[int, ...],
    ):
        self._recordings = recordings
        self._labels = labels
        self._frames = frames
        self.image_shape: Any = image_shape  # where images have three numbers
        shape = (len(labels), *image_shape)
        # Memory that is never written is never taken: an unused set costs nothing.
        fits = 2 * int(np.prod(shape)) <= _KEEP_BYTES
        self._counts = np.empty(shape, dtype=np.uint16) if fits else None
        self._kept = np.zeros(len(labels), dtype=bool)

    def __len__(self) -> int:
        return len(self._labels)

    def read(self, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        if self._counts is None:
            return self._read(rows), self._labels[rows]
        for row in np.unique(rows[~self._kept[rows]]):
            self._counts[row] = self._read([row])[0]
            self._kept[row] = True
        return self._counts[rows], self._labels[rows]

    def labels(self, rows: np.ndarray) -> np.ndarray:
        return self._labels[rows]

    def attributes(self, rows: np.ndarray) -> None:
        return None

    def _read(self, rows) -> np.ndarray:
        counts = np.empty((len(rows), *self.image_shape), dtype=np.uint16)
        for place, row in zip(counts, rows, strict=True):
            events, _ = self._recordings[int(row)]
            place[...] = np.minimum(self._frames(events), _MOST)
        return counts


def load_events(
    name: str,
    data_dir: str | os.PathLike[str] | None = None,
    *,
    num_frames: int = 10,
    by: str = "time",
    window_ms: float | None = None,
    pool: int = 1,
    validation: float = 0.1,
    seed: int = 0,
) -> Dataset:
    """Loads event recordings as frames of counts `(time, ...)`, cut into train, validation, test.

    Files are read and binned batch by batch (see `event_frames`); what fits into a GiB is kept.
    Tonic downloads what is not in `data_dir`, and reads the publishers' formats. Tonic is under
    the GPL 3; this package, under the Apache license, imports it here and nowhere else.

    Args:
        name: One of

            - `"nmnist"`: digits seen by a camera that moves (34 x 34 pixels, 2 polarities, 0.3 s);
            - `"dvs_gesture"`: 11 gestures (128 x 128, 2 polarities, about 6 s), as Tonic cut them.
              The people of the test part are not in train; those of the validation part are;
            - `"shd"`: digits spoken in English and German, as spikes of 700 hair cells (1 s).
        data_dir: Folder with (or for) Tonic's folders `NMNIST`, `DVSGesture` and `SHD`. None
            (default) is `datasets` in Keras's folder, `~/.keras` or `$KERAS_HOME`.
        num_frames: Time steps T. Default 10.
        by: `"time"` (default) or `"count"`: frames last equally long or hold as many events.
        window_ms: Milliseconds of a frame, for recordings that keep their speed: longer ones are
            cut, shorter ones end in empty frames. None (default) for a T-th of each recording.
        pool: Pixels, along each side, or hair cells that are counted together. Default 1.
        validation: Share of the training recordings that becomes the validation part, class by
            class, from 0 (no such part) to below 1. Default 0.1.
        seed: Moves the cut between train and validation. Default 0.

    Returns:
        A `Dataset`; its `image_shape` is that of all frames of a recording, `(T, H, W, 2)` or, for
        `"shd"`, `(T, 700)`, and a batch of it `(batch, T, ...)`, float32 counts.

    Raises:
        ValueError: If there is no such data set or an argument is out of range.
        ConnectionError: If it is not in `data_dir` and there is no network.
        ImportError: If the extra `keras-htaf[events]` is missing.

    Example:

    >>> data = load_events("shd", num_frames=100, pool=5)  # doctest: +SKIP
    >>> load_events("shd", num_frames=0)
    Traceback (most recent call last):
    ...
    ValueError: ...

    Reference: Orchard et al. (2015), doi:10.3389/fnins.2015.00437; Amir et al. (2017), CVPR;
    Cramer et al. (2020), arXiv:1910.07407; Lenz et al., Tonic, doi:10.5281/zenodo.5079802.
    """
    if name not in _PUBLISHED:
        raise ValueError(f"Unknown event data {name!r}. Expected one of {sorted(_PUBLISHED)}.")
    if not 0 <= validation < 1:
        raise ValueError(f"Received validation={validation!r}. Expected 0 to below 1.")
    check_framing(num_frames, by, window_ms, pool)
    published = _PUBLISHED[name]
    folder = Path(data_dir or Path(os.environ.get("KERAS_HOME", "~/.keras")) / "datasets")
    folder = folder.expanduser()
    framing = {"num_frames": num_frames, "by": by, "window_ms": window_ms, "pool": pool}
    train, test = (_source(name, published, folder, part, framing) for part in (True, False))
    every = np.arange(len(train))
    rows, held = cut_validation(every, train.labels(every), validation, seed)
    return Dataset(
        name=name,
        train=Split(train, rows),
        validation=None if held is None else Split(train, held),
        test=Split(test),
        class_names=_class_names(train),
    )


def _class_names(source: EventSource) -> tuple[str, ...]:
    names = source._recordings.classes
    return tuple(name.decode() if isinstance(name, bytes) else str(name) for name in names)


def _source(name, published, folder, train, framing) -> EventSource:
    recordings = _open(name, published, folder, train)
    labels = check_labels(
        _labels(recordings), len(recordings.classes), f"labels of {name} in {folder}: y"
    )
    expected = published.sizes[0 if train else 1]
    if len(labels) != expected:
        warnings.warn(
            f"{published.files(folder, train)} holds {len(labels)} recordings of {name!r}, but "
            f"{expected} were published. If this is not a choice of yours, unpack it again.",
            stacklevel=4,
        )
    size = recordings.sensor_size
    shape = (framing["num_frames"], *frame_shape(size, "y" in recordings.ordering, framing["pool"]))
    frames = partial(event_frames, sensor_size=size, start_us=published.start_us, **framing)
    return EventSource(recordings, labels, frames, shape)


def _open(name: str, published: _Published, folder: Path, train: bool) -> Any:
    """Tonic's data set, with its recordings in an order that does not depend on the disk."""
    tonic = require("tonic", f"The event data {name!r}", "events")
    kind = getattr(tonic.datasets, published.kind)
    if published.is_there(folder, train):
        # Tonic would download again where the archive was deleted, or for a part of the data.
        kind = type(published.kind, (kind,), {"_check_exists": lambda self: True})
    elif not network.reachable(published.host):
        raise ConnectionError(_offline_message(name, published, folder, train))
    recordings = kind(str(folder), train=train)
    if recordings.data:
        order = sorted(range(len(recordings.data)), key=recordings.data.__getitem__)
        recordings.data = [recordings.data[i] for i in order]
        recordings.targets = [recordings.targets[i] for i in order]
    return recordings


def _labels(recordings: Any) -> np.ndarray:
    if recordings.data:
        return np.array(recordings.targets)
    import h5py

    with h5py.File(Path(recordings.location_on_system, recordings.data_filename)) as file:
        return file["labels"][()]


def _offline_message(name: str, published: _Published, folder: Path, train: bool) -> str:
    return (
        f"Event data {name!r} is not in {published.files(folder, train)}, and it cannot be "
        f"downloaded: no network ({published.host} was not reached within {network.SECONDS} s). "
        "Do one of:\n"
        f"- load_events({name!r}, data_dir=...) with a folder that holds Tonic's folder "
        f"{published.kind!r};\n"
        "- fetch it where there is a network, and copy the folder, with\n"
        f"    python -c \"import tonic; tonic.datasets.{published.kind}('data', train={train})\""
    )
