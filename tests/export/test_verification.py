"""What counts as the same, and what does not."""

from dataclasses import replace

import keras
import numpy as np
import pytest

from keras_htaf.export import elsewhere, export, processor, verification
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
    head = keras.layers.Dense(2, kernel_initializer="identity", name="head")
    return keras.Model(inputs, head(second))


def reference(x, bits=True, outputs="auto"):
    model = two_layers()
    return Reference.of(prepare(model, model, None, outputs, bits), {"x": np.float32(x)})


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


@pytest.mark.parametrize(("others", "places"), [(15, [0]), (14, [0]), (31, [0, 1])])
def test_without_bits_few_samples_may_differ(monkeypatch, others, places):
    at_the_edge = [[1e-6, 1]] * len(places)
    given = reference([*at_the_edge, *[[1, -1]] * (others + 1 - len(places))], bits=False)
    changes = [("logits", (i, 0), 0) for i in places]
    if (others + 1) // 16 >= len(places):
        assert verified(given, monkeypatch, changes).at_rounding == len(places)
    else:
        with pytest.raises(RuntimeError, match=r"one difference in 16 samples"):
            verified(given, monkeypatch, changes)


def test_more_differences_excuse_none(monkeypatch):
    """Each of these alone could be rounding; an artifact that is wrong for all is none."""
    given = reference([[1e-6, 1]] * 2 + [[1, -1]] * 14, bits=False)
    changes = [("logits", (i, 0), 0) for i in range(2)]
    with pytest.raises(RuntimeError, match=r"logits .*DIFFER"):
        verified(given, monkeypatch, changes)
    with pytest.raises(RuntimeError, match=r"logits .*DIFFER"):  # nor one that is not at an edge
        verified(given, monkeypatch, [("logits", (5, 0), 0)])


@pytest.mark.parametrize("scores", ["logits", "label_logits"])
def test_labels_are_compared_one_by_one(monkeypatch, scores):
    """The largest stays the largest: only labels see that another one changes its side."""
    given = reference([[1, -1]] * 4)
    made = {name: y.copy() for name, y in given.made.items()}
    made["logits"] = np.tile(np.float32([9, 1e-3]), (4, 1))
    given = replace(given, program=replace(given.program, scores=scores), made=made)
    changes = [("logits", (0, 1), -1e-3)]
    if scores == "logits":
        assert verified(given, monkeypatch, changes).equal
    else:
        with pytest.raises(RuntimeError, match=r"logits .*DIFFER"):
            verified(given, monkeypatch, changes)


def test_processes_that_do_not_end(tmp_path, monkeypatch):
    def endless(command, timeout, **_):
        raise verification.subprocess.TimeoutExpired(command, timeout)

    given = reference([[1, -1]])
    monkeypatch.setattr(verification.subprocess, "run", endless)
    with pytest.raises(RuntimeError, match="gave nothing in 600 seconds"):
        verification._run_apart("onnx", tmp_path / "x.onnx", [given.samples], [])
    other = "jax" if keras.config.backend() == "torch" else "torch"
    with pytest.raises(RuntimeError, match="was not done in 3600 seconds"):
        elsewhere.write("onnx", given.program, tmp_path / "x.onnx", other)


def test_second_processes_see_no_accelerator(tmp_path, monkeypatch):
    seen = []

    def noted(command, env, **_):
        seen.append(env)
        raise verification.subprocess.TimeoutExpired(command, 1)

    given = reference([[1, -1]])
    monkeypatch.setattr(verification.subprocess, "run", noted)
    with pytest.raises(RuntimeError):
        verification._run_apart("onnx", tmp_path / "x.onnx", [given.samples], [])
    other = "jax" if keras.config.backend() == "torch" else "torch"
    with pytest.raises(RuntimeError):
        elsewhere.write("onnx", given.program, tmp_path / "x.onnx", other)
    for env in seen:
        assert env["CUDA_VISIBLE_DEVICES"] == ""
        assert (env["JAX_PLATFORMS"], env["KERAS_TORCH_DEVICE"]) == ("cpu", "cpu")
    assert len(seen) == 2


def test_weights_on_an_accelerator_are_moved(monkeypatch):
    model = two_layers()
    assert processor.moved(model) is model
    monkeypatch.setattr(processor, "_is_away", lambda tensor: True)
    here = processor.moved(model)
    assert here is not model
    for a, b in zip(model.get_weights(), here.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)


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
