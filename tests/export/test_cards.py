"""What a card says of heads, bits, states; how it appears beside its artifact."""

import os
from pathlib import Path

import keras
import numpy as np
import pytest
from keras import layers

from keras_htaf import files
from keras_htaf.export import card, export, publishing
from keras_htaf.export.program import prepare
from keras_htaf.export.verification import Reference
from keras_htaf.layers import DeltaEncoding, Heaviside, ReduceTime, Sign
from keras_htaf.models import icbm, streaming

X = np.random.default_rng(0).normal(size=(16, 4)).astype("float32")


def card_of(model, path, **options):
    assert export(model, path / "model.khtaf", "packed", **options).equal
    return card.find(path / "model.khtaf")


def concept_model(step=Heaviside, activation=None, scale=1.0):
    inputs = keras.Input((4,), name="x")
    bits = step(name="concepts")(layers.Dense(5)(inputs))
    if scale != 1.0:
        bits = layers.Rescaling(scale)(bits)
    head = layers.Dense(3, activation, name="head", bias_initializer="random_normal")
    return keras.Model(inputs, head(bits))


def made_card(model, **given):
    """As `card_of`, of models that have no packed form, and quicker."""
    program = prepare(model, model, None, "auto", True)
    size = {x.name: (16, *(n or 3 for n in x.shape[1:])) for x in program.inputs}
    random = np.random.default_rng(1)
    samples = {name: random.normal(size=n).astype("float32") for name, n in size.items()}
    reference = Reference.of(program, samples)
    return card.make(
        reference, model, "exact", "packed", Path(__file__), "model.khtaf", None, given
    )


@pytest.mark.parametrize("activation", [None, "softmax", "sigmoid"])
@pytest.mark.parametrize(("step", "signs"), [(Heaviside, False), (Sign, True)])
def test_head_of_bits_and_signs(step, signs, activation):
    model = concept_model(step, activation)
    found = made_card(model)
    assert found["signs"] is signs
    kernel, bias = model.get_layer("head").get_weights()
    np.testing.assert_allclose(found["head"]["kernel"], kernel, rtol=1e-6)
    np.testing.assert_allclose(found["head"]["bias"], bias, rtol=1e-6)


@pytest.mark.parametrize("scale", [0.5, 2.0])
def test_what_is_called_head_may_be_none(scale):
    found = made_card(concept_model(scale=scale))
    assert (found["head"], found["signs"], found["concepts"]) == (None, None, None)


def test_head_before_something_else():
    model = concept_model()
    model = keras.Model(model.inputs, layers.Dense(3)(model.outputs[0]))
    assert made_card(model)["head"] is None


def test_usage(tmp_path):
    model = icbm(num_concepts=5, num_classes=3, input_shape=(4, 4, 1))
    shares = [0.0, 0.25, 0.5, 0.75, 1.0]
    assert card_of(model, tmp_path, card={"usage": np.array(shares)})["usage"] == shares
    assert card_of(model, tmp_path)["usage"] is None
    for wrong in (shares[:4], [*shares[:4], 1.5], 0.5, [float("nan")] * 5, []):
        with pytest.raises(ValueError, match="each of the 5 bits"):
            card_of(model, tmp_path, card={"usage": wrong})
    with pytest.raises(ValueError, match="each of the 0 bits"):
        made_card(keras.Sequential([keras.Input((2,)), layers.Dense(2)]), usage=[0.5])


def test_initial_states():
    inputs = keras.Input((None, 4), name="x")
    x = DeltaEncoding(initial="first", name="delta")(inputs)
    model = keras.Model(inputs, ReduceTime("max", name="largest")(x))
    found = made_card(streaming(model, 2))
    assert set(found["initial_states"]) == set(found["states"])
    values = {name.split("_")[0]: value for name, value in found["initial_states"].items()}
    assert values == {"delta": "nan", "largest": "-inf"}
    assert made_card(concept_model())["initial_states"] is None


def test_labels_are_not_a_classifier():
    assert made_card(concept_model(activation="sigmoid"))["kind"] == "labels"
    assert made_card(concept_model())["kind"] == "classifier"
    single = keras.Sequential([keras.Input((4,), name="x"), layers.Dense(1, "sigmoid")])
    assert made_card(single)["kind"] == "classifier"


def test_a_stop_between_card_and_artifact_is_seen(tmp_path, monkeypatch):
    """The earlier artifact stays whole, beside a card that is not its own."""
    path = tmp_path / "model.khtaf"
    card_of(icbm(num_concepts=5, num_classes=3, input_shape=(4, 4, 1)), tmp_path)
    before, rename, flushed, renamed = path.read_bytes(), os.replace, [], []

    def flush(folder):
        assert not renamed
        flushed.append(sorted(file.name for file in folder.iterdir()))
        files.flush(folder)

    def stops(source, target):
        if target == path:
            raise KeyboardInterrupt
        if target.parent == path.parent:
            renamed.append(target.name)
        rename(source, target)

    monkeypatch.setattr(publishing, "flush", flush)
    monkeypatch.setattr(os, "replace", stops)
    with pytest.raises(KeyboardInterrupt):
        card_of(icbm(num_concepts=6, num_classes=3, input_shape=(4, 4, 1)), tmp_path)
    names = ["model.khtaf", "model.khtaf.card.json", "model.khtaf.card.md"]
    assert (flushed, sorted(renamed)) == ([names], names[1:])
    assert path.read_bytes() == before
    found = card.find(path)
    assert found["checksum"]["sha256"] != card.checksum(card.files_of(path))
