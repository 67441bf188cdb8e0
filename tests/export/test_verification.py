"""What counts as the same, and what does not."""

from dataclasses import replace

import keras
import numpy as np
import pytest

from keras_htaf.export import elsewhere, export, verification
from keras_htaf.export.program import prepare
from keras_htaf.export.verification import Reference, verify
from keras_htaf.layers import Heaviside, RateEncoding
from keras_htaf.models import spiking_mlp


def two_layers():
    """Bits of x themselves, bits of these, and logits."""
    inputs = keras.Input((2,), name="x")
    ones = keras.layers.Dense(2, "linear", kernel_initializer="identity", name="dense")
    first = Heaviside(name="first")(inputs)
    second = Heaviside(name="second")(ones(first) - 0.5)
    return keras.Model(inputs, keras.layers.Dense(2, kernel_initializer="identity")(second))


def reference(x):
    model = two_layers()
    return Reference.of(prepare(model, model, None, "auto", True), {"x": np.float32(x)})


def verified(given, monkeypatch, changes):
    """`verify` of an artifact that gives what the model gives, but for changes."""
    made = {name: y.copy() for name, y in given.made.items()}
    for name, place, value in changes:
        made[name][place] = value
    monkeypatch.setattr(verification, "_run_apart", lambda *_: [made])
    monkeypatch.setattr(verification.runtimes, "run", lambda *_: [made])
    return verify(given, "onnx", None)


FLIPPED = [("first", (0, 0), 0), ("second", (0, 0), 0), ("logits", (0, 0), 0)]
"""All that follows from another first bit."""


def test_a_bit_at_the_edge_may_flip_and_what_follows_too(monkeypatch):
    result = verified(reference([[1e-6, 1], [1, -1], [1, 1]]), monkeypatch, FLIPPED)
    assert (result.at_rounding, result.samples) == (1, 3)
    assert result.largest == 0
    assert "1 of them at the edge" in str(result)


@pytest.mark.parametrize("x", [1e-3, 1.0])
def test_a_bit_elsewhere_may_not(monkeypatch, x):
    with pytest.raises(RuntimeError, match=r"first .*DIFFER"):
        verified(reference([[x, 1], [1, -1], [1, 1]]), monkeypatch, FLIPPED)


def test_one_bit_at_the_edge_does_not_excuse_another(monkeypatch):
    changes = [*FLIPPED, ("first", (0, 1), 0)]
    with pytest.raises(RuntimeError, match="DIFFER"):
        verified(reference([[1e-6, 1], [1, -1], [1, 1]]), monkeypatch, changes)


def test_nor_a_bit_that_follows_from_nothing(monkeypatch):
    with pytest.raises(RuntimeError, match=r"second .*DIFFER"):
        verified(reference([[1e-6, 1], [1, -1]]), monkeypatch, FLIPPED[1:])


def test_most_samples_must_be_compared(monkeypatch):
    with pytest.raises(RuntimeError, match="at the edge of a step"):
        verified(reference([[1e-6, 1]]), monkeypatch, FLIPPED)


@pytest.mark.parametrize("value", [3.0, np.nan])
def test_values_must_be_close(monkeypatch, value):
    with pytest.raises(RuntimeError, match=r"logits .*DIFFER"):
        verified(reference([[1, -1], [1, 1]]), monkeypatch, [("logits", (0, 1), value)])


def test_outputs_must_be_there(monkeypatch):
    given = reference([[1, -1]])
    without = {name: y for name, y in given.made.items() if name != "second"}
    monkeypatch.setattr(verification, "_run_apart", lambda *_: [without])
    monkeypatch.setattr(verification.runtimes, "run", lambda *_: [without])
    with pytest.raises(RuntimeError, match="gives the outputs"):
        verify(given, "onnx", None)


def test_a_spike_at_the_edge_excuses_later_ones_alone(monkeypatch):
    options = {"encoding": None, "width": 3, "normalization": None}
    model = spiking_mlp((4, 3), 2, neuron_options={"decay": 0.5}, **options)
    eye = np.eye(3, dtype="float32")
    weights = [eye if w.shape == (3, 3) else w for w in model.get_weights()]
    model.set_weights(weights)
    x = np.zeros((3, 4, 3), "float32")
    x[0, 1, 0] = 1 + 1e-6  # a potential next to the threshold at the second step
    x[1:, 2] = 3.0
    given = Reference.of(prepare(model, model, None, "auto", True), {"inputs": x})
    spikes = "layer1_spikes.spike"
    assert given.made[spikes][0].sum() == 1
    later = [(spikes, (0, 1, 0), 0), (spikes, (0, 3, 2), 1)]
    assert verified(given, monkeypatch, later).at_rounding == 1
    with pytest.raises(RuntimeError, match="DIFFER"):
        verified(given, monkeypatch, [*later, (spikes, (0, 0, 2), 1)])


def test_an_artifact_that_decides_otherwise_is_not_left_behind(tmp_path, monkeypatch):
    write, path = elsewhere.write, tmp_path / "model.khtaf"
    model = keras.Sequential([keras.Input((2,)), Heaviside(), keras.layers.Dense(2)])
    assert export(model, path, "packed").equal
    before = {file.name: file.read_bytes() for file in tmp_path.iterdir()}
    assert len(before) == 3

    def other(format, program, place, backend):
        twin = keras.models.clone_model(program.model)
        twin.set_weights([-2.0 * w for w in program.model.get_weights()])
        write(format, replace(program, model=twin), place, backend)

    monkeypatch.setattr(elsewhere, "write", other)
    with pytest.raises(RuntimeError, match="does not give what the model gives"):
        export(model, path, "packed")
    assert {file.name: file.read_bytes() for file in tmp_path.iterdir()} == before
    assert export(model, tmp_path / "wrong.khtaf", "packed", verify=False) is None


def test_a_model_that_draws_cannot_be_compared(monkeypatch):
    model = keras.Sequential([keras.Input((2,), name="x"), RateEncoding(3), Heaviside()])
    program = prepare(model, model, None, "auto", True)
    given = Reference.of(program, {"x": np.full((8, 2), 0.5, "float32")})
    changes = [("output", (slice(None), 0, 0), 7.0)]
    with pytest.raises(RuntimeError, match="draws random numbers"):
        verified(given, monkeypatch, changes)
