"""Event recordings: small files in the publishers' formats, and frames against brute force."""

import sys

import h5py
import keras
import numpy as np
import pytest

from keras_htaf import datasets
from keras_htaf.datasets import event_frames

FIELDS = [("x", "int64"), ("y", "int64"), ("t", "int64"), ("p", "int64")]
DVS_LABELS = {"user01_led": (0, 10), "user02_natural": (3,)}
SHD_UNITS = ([3, 699, 3], [], [0, 350, 700 - 1, 12])


@pytest.fixture
def events(rng):
    def make(count, width=7, height=5, duration=90):
        found = np.zeros(count, FIELDS)
        for name, limit in (("x", width), ("y", height), ("t", duration), ("p", 2)):
            found[name] = rng.integers(0, limit, count)
        return found  # not in the order of time

    return make


def nmnist_bytes(events):
    """40 bits an event: x, y, and polarity with 23 bits of microseconds."""
    lines = [(x, y, p << 7 | t >> 16, t >> 8 & 255, t & 255) for x, y, t, p in events.tolist()]
    return np.array(lines, "uint8").tobytes()


def write_nmnist(folder, events, count=6):
    for part in ("Train", "Test"):
        for i in range(count):
            place = folder / "NMNIST" / part / str(i % 3)
            place.mkdir(parents=True, exist_ok=True)
            recording = np.sort(events(40 + i, 34, 34, 300_000), order="t")
            (place / f"{i:05}.bin").write_bytes(nmnist_bytes(recording))
            yield part, i % 3, recording


def write_dvs_gesture(folder, events):
    for part in ("ibmGestureTrain", "ibmGestureTest"):
        for user, labels in DVS_LABELS.items():
            place = folder / "DVSGesture" / part / user
            place.mkdir(parents=True)
            for label in labels:
                found = np.sort(events(50 + label, 128, 128, 6000), order="t")
                rows = np.stack([found[name] for name in "xypt"], axis=1)  # t in milliseconds
                np.save(place / f"{label}.npy", rows)
                yield part, label, found


def write_shd(folder):
    (folder / "SHD").mkdir()
    for part in ("train", "test"):
        with h5py.File(folder / "SHD" / f"shd_{part}.h5", "w") as file:
            for name, kind in (("times", "float16"), ("units", "uint16")):
                file.create_dataset(f"spikes/{name}", (3,), h5py.vlen_dtype(np.dtype(kind)))
            for i, units in enumerate(SHD_UNITS):
                file["spikes/units"][i] = np.array(units, "uint16")
                file["spikes/times"][i] = np.linspace(0.25, 0.75, len(units), dtype="float16")
            file["labels"] = np.array([0, 19, 7], "uint16")
            file["extra/keys"] = np.array([f"w{i}" for i in range(20)], "S3")
            file["extra/speaker"] = np.zeros(3, "uint16")


@pytest.fixture
def load(tmp_path):
    pytest.importorskip("tonic")

    def reader(name, **options):
        with pytest.warns(UserWarning, match="were published"):
            return datasets.load_events(name, tmp_path, validation=0, **options)

    return reader


def brute_force(events, size, num_frames, by="time", window_ms=None, start_us=None, pool=1):
    width, height, polarities = (-(-size[0] // pool), -(-size[1] // pool), size[2])
    frames = np.zeros((num_frames, height, width, polarities), int)
    events = sorted(events.tolist(), key=lambda event: event[2])
    first, last = events[0][2], events[-1][2]
    for i, (x, y, t, p) in enumerate(events):
        if by == "count":
            k = max(k for k in range(num_frames) if i >= k * len(events) / num_frames)
        elif window_ms is None:
            span = (last - first + 1) / num_frames
            k = max(k for k in range(num_frames) if t - first >= k * span - 1e-9)
        else:
            k = int(np.floor((t - (first if start_us is None else start_us)) / (window_ms * 1000)))
        if 0 <= k < num_frames:
            frames[k, y // pool, x // pool, p] += 1
    return frames


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"num_frames": 4},
        {"num_frames": 200},
        {"by": "count", "num_frames": 7},
        {"by": "count", "num_frames": 100},
        {"window_ms": 0.013},
        {"window_ms": 0.005, "num_frames": 4},
        {"window_ms": 0.02, "start_us": 30},
        {"window_ms": 0.02, "start_us": -25, "num_frames": 3},
        {"pool": 2},
        {"pool": 3, "by": "count"},
    ],
    ids=str,
)
def test_frames_equal_brute_force(events, options):
    for count in (1, 61):
        found = events(count)
        options = {"num_frames": 10, **options}
        frames = event_frames(found, (7, 5, 2), **options)
        np.testing.assert_array_equal(frames, brute_force(found, (7, 5, 2), **options))
        if "window_ms" not in options:
            assert frames.sum() == count
    if options.get("by") == "count":
        assert np.ptp(frames.sum(axis=(1, 2, 3))) <= 1


def test_frames_of_nothing_and_of_one_moment(events):
    assert event_frames(events(0), (7, 5, 2), 3).sum() == 0
    once = events(9)
    once["t"] = 5
    assert event_frames(once, (7, 5, 2), 3)[0].sum() == 9


def test_frames_equal_those_of_tonic(events):
    tonic = pytest.importorskip("tonic")
    found = np.sort(events(200, duration=5000), order="t")
    size = (7, 5, 2)
    for ours, theirs in (
        ({"by": "count", "num_frames": 4}, {"n_event_bins": 4}),
        ({"window_ms": 0.5, "num_frames": 9}, {"time_window": 500}),
    ):
        expected = tonic.transforms.ToFrame(sensor_size=size, **theirs)(found)
        frames = event_frames(found, size, **ours)
        np.testing.assert_array_equal(np.moveaxis(frames, -1, 1), expected)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"num_frames": 0}, "num_frames=0"),
        ({"num_frames": True}, "num_frames=True"),
        ({"pool": 1.5}, "pool=1.5"),
        ({"by": "events"}, "by='events'"),
        ({"by": "count", "window_ms": 1}, "window_ms with by='count'"),
        ({"window_ms": 0}, "window_ms=0"),
        ({"window_ms": 0.0015}, "whole number of microseconds"),
        ({"window_ms": float("nan")}, "window_ms=nan"),
    ],
    ids=str,
)
def test_bad_framing(events, options, message, tmp_path):
    with pytest.raises(ValueError, match=message):
        event_frames(events(5), (7, 5, 2), **options)
    with pytest.raises(ValueError, match=message):
        datasets.load_events("shd", tmp_path, **options)


def test_bad_events(events):
    with pytest.raises(ValueError, match=r"y in 0\.\.4.*Expected 0 to 3"):
        event_frames(events(99), (7, 4, 2))
    with pytest.raises(ValueError, match="fields"):
        event_frames(np.zeros(3, [("t", int), ("y", int)]), (7, 5, 2))
    with pytest.raises(ValueError, match="fields"):
        event_frames(np.zeros(3, [("t", int), ("x", int), ("y", int)]), (7, 5, 2))


@pytest.mark.parametrize("options", [{}, {"by": "count"}, {"window_ms": 30.0, "pool": 2}], ids=str)
def test_nmnist(load, tmp_path, events, options):
    written = list(write_nmnist(tmp_path, events))
    data = load("nmnist", num_frames=5, **options)
    side = 17 if options.get("pool") else 34
    assert data.image_shape == (5, side, side, 2)
    assert (data.num_classes, len(data.train), len(data.test)) == (10, 6, 6)
    for part, split in (("Train", data.train), ("Test", data.test)):
        found = sorted((w for w in written if w[0] == part), key=lambda w: w[1])
        x, y = split.read(np.arange(6))
        assert x.dtype == np.float32
        assert y.tolist() == [label for _, label, _ in found]
        start = {"start_us": 0} if "window_ms" in options else {}
        for frames, (_, _, recording) in zip(x, found, strict=True):
            expected = brute_force(recording, (34, 34, 2), 5, **options, **start)
            np.testing.assert_array_equal(frames, expected)
        np.testing.assert_array_equal(split.read(np.arange(6))[0], x)  # what was kept


def test_dvs_gesture(load, tmp_path, events):
    written = list(write_dvs_gesture(tmp_path, events))
    data = load("dvs_gesture", num_frames=3, pool=8, window_ms=1500)
    assert data.image_shape == (3, 16, 16, 2)
    assert data.class_names[10] == "Other gestures"
    x, y = data.test.arrays()
    assert y.tolist() == [0, 10, 3]
    recordings = [found for part, _, found in written if part == "ibmGestureTest"]
    for frames, recording in zip(x, recordings, strict=True):
        recording["t"] *= 1000
        expected = brute_force(recording, (128, 128, 2), 3, window_ms=1500, pool=8)
        np.testing.assert_array_equal(frames, expected)


def test_shd(load, tmp_path):
    write_shd(tmp_path)
    data = load("shd", num_frames=4, window_ms=250)
    assert data.image_shape == (4, 700)
    assert (data.num_classes, data.class_names[19]) == (20, "w19")
    x, y = data.train.arrays()
    assert y.tolist() == [0, 19, 7]
    expected = np.zeros((3, 4, 700))
    expected[0, 1, 3] = expected[0, 2, 699] = expected[0, 3, 3] = 1
    expected[2, 1, [0, 350]] = expected[2, 2, 699] = expected[2, 3, 12] = 1
    np.testing.assert_array_equal(x, expected)
    assert load("shd", num_frames=4, pool=5).train.arrays()[0].shape == (3, 4, 140)


def test_too_much_to_keep_is_read_again(load, tmp_path, monkeypatch):
    write_shd(tmp_path)
    kept = load("shd").train.arrays()[0]
    monkeypatch.setattr("keras_htaf.datasets.events._KEEP_BYTES", 1)
    data = load("shd").train
    np.testing.assert_array_equal(data.arrays()[0], kept)
    np.testing.assert_array_equal(data.arrays()[0], kept)


def test_batches_train_a_model(load, tmp_path):
    write_shd(tmp_path)
    data = load("shd", num_frames=4, pool=100)
    batches = data.train.batches(2, shuffle=True, seed=3)
    assert batches[0][0].shape == (2, 4, 7)
    model = keras.Sequential(
        [keras.Input(data.image_shape), keras.layers.Flatten(), keras.layers.Dense(20)]
    )
    model.compile("adam", keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    history = model.fit(batches, validation_data=data.test.batches(2), epochs=2, verbose=0)
    assert np.all(np.isfinite(history.history["loss"]))


def test_validation_is_cut_out_of_the_training_part(load, tmp_path, events):
    list(write_nmnist(tmp_path, events, count=12))
    with pytest.warns(UserWarning, match="12 recordings of 'nmnist', but 60000"):
        data = datasets.load_events("nmnist", tmp_path, validation=0.25)
    assert [len(part) for part in (data.train, data.validation, data.test)] == [9, 3, 12]
    assert sorted(data.validation.labels) == [0, 1, 2]


@pytest.mark.usefixtures("offline")
@pytest.mark.parametrize("name", ["nmnist", "dvs_gesture", "shd"])
def test_offline_error_names_the_folder(name, tmp_path):
    pytest.importorskip("tonic")
    with pytest.raises(ConnectionError) as error:
        datasets.load_events(name, tmp_path)
    for part in (name, str(tmp_path), "no network", "data_dir"):
        assert part in str(error.value)
    assert not list(tmp_path.iterdir())


def test_other_errors(tmp_path, monkeypatch):
    with pytest.raises(ValueError, match=r"'n-mnist'.*'nmnist'"):
        datasets.load_events("n-mnist", tmp_path)
    with pytest.raises(ValueError, match="validation=1"):
        datasets.load_events("shd", tmp_path, validation=1)
    monkeypatch.setitem(sys.modules, "tonic", None)
    with pytest.raises(ImportError, match=r"keras-htaf\[events\]"):
        datasets.load_events("shd", tmp_path)
