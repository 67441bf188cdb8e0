"""The file of a packed network: what is read is what was written, or an error says why not."""

import json
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from packed_case import inputs_for, randomized
from support import BACKEND

import keras_htaf
from keras_htaf import packed
from keras_htaf.models import binary_vgg
from keras_htaf.packed import container
from keras_htaf.packed.graph import Graph

pytestmark = pytest.mark.skipif(BACKEND != "torch", reason="the file does not depend on Keras")


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
        "can be used|cannot be used": lambda g: setattr(conv(g), "inputs", ()),
    }
    for message, change in changes.items():
        graph = container.read(made[2])
        change(graph)
        container.write(graph, path)
        with pytest.raises(ValueError, match=message):
            packed.load(path)


def test_writing_is_atomic(made, tmp_path, monkeypatch):
    path = tmp_path / "model.khtaf"
    path.write_bytes(made[2].read_bytes())

    def interrupted(*arguments):
        raise KeyboardInterrupt

    monkeypatch.setattr("safetensors.numpy.save_file", interrupted)
    with pytest.raises(KeyboardInterrupt):
        packed.load(path).save(path)
    assert path.read_bytes() == made[2].read_bytes()
    assert [each.name for each in tmp_path.iterdir()] == ["model.khtaf"]


def test_use_needs_no_keras(made, tmp_path):
    """The package without its __init__, in a process of its own: no Keras, no framework."""
    x, wanted, path = made
    np.save(tmp_path / "x.npy", x)
    script = f"""
import json, sys, types
package = types.ModuleType("keras_htaf")
package.__path__ = [{str(Path(keras_htaf.__file__).parent)!r}]
sys.modules["keras_htaf"] = package
import numpy as np
from keras_htaf import packed
y = packed.load({str(path)!r}).predict(np.load({str(tmp_path / "x.npy")!r}))
loaded = {{name.split(".")[0] for name in sys.modules}}
print(json.dumps([y.tolist(), sorted(loaded & {{"keras", "tensorflow", "jax", "torch"}})]))
"""
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True, timeout=120
    )
    y, loaded = json.loads(done.stdout.splitlines()[-1])
    assert loaded == []
    np.testing.assert_array_equal(np.float32(y), wanted)
