"""The file of a packed network: what is read is what was written, or an error says why not."""

import json
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
from packed_case import inputs_for, randomized
from support import BACKEND

from keras_htaf import packed
from keras_htaf.models import binary_vgg
from keras_htaf_packed import container
from keras_htaf_packed.graph import Graph

pytestmark = pytest.mark.skipif(BACKEND != "torch", reason="the file does not depend on Keras")
CRAFTED = int(os.environ.get("CRAFTED_FILES", "400"))


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A packed network, what it gives, and its file."""
    model = randomized(binary_vgg((4, 4, 2), 3, filters=(3, 4), dense_units=(5,)))
    path = tmp_path_factory.mktemp("packed") / "model.khtaf"
    network = packed.pack(model)
    network.save(path)
    x = inputs_for(model)
    return x, network.predict(x), path


def test_round_trip(made):
    x, wanted, path = made
    again = packed.load(path)
    np.testing.assert_array_equal(again.predict(x), wanted)
    assert str(again.summary()) == str(packed.load(str(path)).summary())


def test_others_may_read_it(made):
    *_, path = made
    plain = path.with_suffix(".txt")
    plain.write_text("")
    assert path.stat().st_mode == plain.stat().st_mode


def test_several_callers_at_once(made):
    x, wanted, path = made
    network = packed.load(path)
    with ThreadPoolExecutor(4) as pool:
        for found in pool.map(lambda _: network.predict(x), range(40)):
            np.testing.assert_array_equal(found, wanted)


def same(one: Graph, other: Graph) -> bool:
    first, second = one.arrays(), other.arrays()
    return (
        one.to_json() == other.to_json()
        and first.keys() == second.keys()
        and all(np.array_equal(first[key], second[key]) for key in first)
    )


def test_damaged_files(made, tmp_path):
    """What is cut off or changed is found, or has changed nothing."""
    content = made[2].read_bytes()
    whole, path = container.read(made[2]), tmp_path / "damaged.khtaf"
    random = np.random.default_rng(0)
    cuts = {*range(0, 64), *random.integers(0, len(content), 100), len(content) - 1}
    pieces = [content[:cut] for cut in cuts]
    pieces += [content + b"\0", content[:100] + content[101:], content * 2]
    for place in range(0, len(content), 2):
        changed = bytearray(content)
        changed[place] ^= 1 << int(random.integers(8))
        pieces.append(bytes(changed))
    for piece in pieces:
        path.write_bytes(piece)
        found = message = None
        try:
            found = container.read(path)
        except ValueError as error:
            message = str(error)
        assert same(found, whole) if message is None else str(path) in message


def test_foreign_files(made, tmp_path):
    from safetensors.numpy import save_file

    path = tmp_path / "other.khtaf"
    with pytest.raises(FileNotFoundError):
        packed.load(path)
    with pytest.raises(FileNotFoundError):
        packed.load(tmp_path)
    np.savez(tmp_path / "arrays.npz", np.ones(3))
    (tmp_path / "text").write_text('{"graph": []}')
    for name in ("arrays.npz", "text"):
        with pytest.raises(ValueError, match="is no packed model"):
            packed.load(tmp_path / name)
    save_file({"0.kernel": np.ones(3)}, path)
    with pytest.raises(ValueError, match="but no packed model"):
        packed.load(path)


def test_newer_version(made, tmp_path, monkeypatch):
    path = tmp_path / "newer.khtaf"
    graph = container.read(made[2])
    with monkeypatch.context() as newer:
        newer.setattr(container, "VERSION", 2)
        container.write(graph, path)
    with pytest.raises(ValueError, match=r"has version '2'.*reads version 1"):
        packed.load(path)


def test_a_graph_that_does_not_fit_is_refused(made, tmp_path):
    """Checksums do not help against who writes them: each operation is checked, too."""
    path = tmp_path / "wrong.khtaf"

    def conv(graph):
        return next(o for o in graph.operations if o.kind == "product")

    changes = {
        "kernel of": lambda g: conv(g).arrays.update(kernel=np.zeros((1, 1), np.uint8)),
        "threshold": lambda g: conv(g).arrays.pop("threshold"),
        "kernel_size": lambda g: conv(g).attributes.update(kernel_size=[3, 3, 3]),
        "padding": lambda g: conv(g).attributes.update(padding=[-1, 0, 0, 0]),
        "kind": lambda g: setattr(conv(g), "kind", "os.system"),
        "earlier": lambda g: setattr(conv(g), "inputs", ("head",)),
        "can be saved": lambda g: setattr(conv(g), "kind", "keras"),
        "no operations": lambda g: g.operations.clear(),
        "missing 1 required positional": lambda g: setattr(conv(g), "inputs", ()),
    }
    for message, change in changes.items():
        graph = container.read(made[2])
        change(graph)
        container.write(graph, path)
        with pytest.raises(ValueError, match=message):
            packed.load(path)


VALUES = (
    *(0, 1, -1, 2, 3, 7, 2**20, 2**31 - 1, 2**31, 2**63, 10**30, 0.5, 1e300, True, None),
    *("", "sign", "bit", "max", "conv1", [], [1], [3, 3], [0] * 4, [2**31 - 1] * 2, {}),
)


def places_in(value, place=()):
    """Where something can be changed in what JSON can hold."""
    if isinstance(value, (dict, list)):
        for key, item in value.items() if isinstance(value, dict) else enumerate(value):
            yield (*place, key)
            yield from places_in(item, (*place, key))


def mutated(description, arrays, random):
    """A description and arrays, changed in one to three places."""
    description, arrays = json.loads(json.dumps(description)), dict(arrays)
    for _ in range(random.integers(1, 4)):
        what = random.integers(10)
        if what < 7:
            places = [*places_in(description)]
            *path, last = places[random.integers(len(places))]
            at = description
            for key in path:
                at = at[key]
            if what == 0:
                at.pop(last)
            elif what == 1 and isinstance(at, list):
                at.insert(last, json.loads(json.dumps(at[random.integers(len(at))])))
            elif what == 2 and isinstance(at[last], int):
                at[last] += int(random.integers(-2, 3))
            else:
                at[last] = VALUES[random.integers(len(VALUES))]
        else:
            key = [*arrays][random.integers(len(arrays))]
            if what == 7:
                arrays[f"{random.integers(-1, 12)}.kernel"] = arrays.pop(key)
            elif what == 8:
                octets = random.integers(0, 256, arrays[key].nbytes).astype(np.uint8)
                arrays[key] = octets.view(arrays[key].dtype).reshape(arrays[key].shape)
            else:
                arrays[key] = arrays[key].reshape(-1)[: random.integers(5)]
    return description, arrays


@contextmanager
def little_memory(more):
    """The process may take so many bytes more than it has."""
    resource = pytest.importorskip("resource")
    with open("/proc/self/statm") as statm:
        now = int(statm.read().split()[0]) * resource.getpagesize()
    old = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (now + more, old[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_AS, old)


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="sees memory in Linux's way")
def test_crafted_files_are_refused_or_work(made, tmp_path, monkeypatch):
    """With the right checksum, what is behind it is reached; nothing takes much memory."""
    graph, path = container.read(made[2]), tmp_path / "crafted.khtaf"
    random, worked = np.random.default_rng(0), 0
    for _ in range(CRAFTED):
        description, arrays = mutated(graph.to_json(), graph.arrays(), random)
        monkeypatch.setattr(Graph, "to_json", lambda self, text=description: text)
        monkeypatch.setattr(Graph, "arrays", lambda self, arrays=arrays: arrays)
        container.write(graph, path)
        monkeypatch.undo()
        cause = None
        try:
            with little_memory(2**29):
                network = packed.load(path)
                if max(spec.size for spec in network.specs.values()) < 2**20:
                    x = random.normal(size=(2, *network.input_shape[1:]))
                    with np.errstate(all="ignore"):
                        assert network.predict(x).shape == (2, *network.output_shape[1:])
                    worked += 1
        except ValueError as error:
            cause = error.__cause__
        assert not isinstance(cause, MemoryError), description
    assert CRAFTED / 20 < worked < CRAFTED / 2


def test_arrays_belong_to_an_operation(made):
    graph = container.read(made[2])
    for key in ("-1.kernel", ".kernel", "99.kernel", "kernel", "1_0.kernel"):
        with pytest.raises(ValueError, match="describes no network"):
            Graph.from_json(graph.to_json(), {key: np.zeros(1)})


def test_writing_is_atomic(made, tmp_path, monkeypatch):
    path = tmp_path / "model.khtaf"
    path.write_bytes(made[2].read_bytes())

    def interrupted(path, content):
        with path.open("wb") as file:
            file.write(content[:100])
        raise KeyboardInterrupt

    monkeypatch.setattr(Path, "write_bytes", interrupted)
    with pytest.raises(KeyboardInterrupt):
        packed.load(path).save(path)
    assert path.read_bytes() == made[2].read_bytes()
    assert [each.name for each in tmp_path.iterdir()] == ["model.khtaf"]


def test_use_needs_no_keras(made, tmp_path):
    """A process that never loads Keras, until it uses something else of the package."""
    x, wanted, path = made
    np.save(tmp_path / "x.npy", x)
    script = f"""
import json, sys
import numpy as np
from keras_htaf_packed import load
y = load({str(path)!r}).predict(np.load({str(tmp_path / "x.npy")!r}))
loaded = {{name.split(".")[0] for name in sys.modules}}
print(json.dumps([y.tolist(), sorted(loaded & {{"keras", "tensorflow", "jax", "torch"}})]))
import keras_htaf
assert keras_htaf.layers.Sign and keras_htaf.packed.load is load
import keras
assert keras.saving.get_registered_object("keras_htaf>Sign") is keras_htaf.layers.Sign
"""
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True, timeout=120
    )
    y, loaded = json.loads(done.stdout.splitlines()[-1])
    assert loaded == []
    np.testing.assert_array_equal(np.float32(y), wanted)
