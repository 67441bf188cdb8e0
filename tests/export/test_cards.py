"""What a card says of heads, bits, states; how it appears beside its artifact."""

import os
from pathlib import Path

import keras
import numpy as np
import pytest
from keras import layers

from keras_htaf import files
from keras_htaf.export import card, elsewhere, export, publishing, snippets
from keras_htaf.export.given import checked
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
    known = card.known(reference, model, checked(given))
    return card.make(
        reference, model, "exact", "packed", Path(__file__), "model.khtaf", None, known
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
        with pytest.raises(ValueError, match=r"each of the (5 )?bits"):
            card_of(model, tmp_path, card={"usage": wrong})
    with pytest.raises(ValueError, match="each of the 0 bits"):
        made_card(keras.Sequential([keras.Input((2,)), layers.Dense(2)]), usage=[0.5])


KNOWN = {
    "data": np.str_("digits"),
    "metrics": {"exact": np.float32(0.5), "images": np.int64(7), "gaps": np.array([0.25, 0.5])},
    "classes": np.array([0, 1, 2]),
    "preprocessing": {"scale": (1, None, np.bool_(True)), "kind": "unit"},
}


def test_numbers_become_pythons(tmp_path):
    found = card_of(concept_model(), tmp_path, card=KNOWN)
    assert found["data"] == "digits"
    assert found["metrics"] == {"exact": 0.5, "images": 7, "gaps": [0.25, 0.5]}
    assert found["classes"] == ["0", "1", "2"]
    assert found["preprocessing"] == {"scale": [1, None, True], "kind": "unit"}
    tensors = {"accuracy": keras.ops.cast(0.5, "bfloat16"), "lost": keras.Variable(2.0)}
    assert checked({"metrics": tensors})["metrics"] == {"accuracy": 0.5, "lost": 2.0}


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ("digits", "Expected a dict"),
        ({"author": "me", 1: 2}, r"card=\[1, 'author'\]"),
        ({"metrics": "0.9"}, "Expected a dict of numbers by name"),
        ({"metrics": {"gap": float("nan")}}, r"card\['metrics'\]\['gap'\]=nan. .* finite"),
        ({"metrics": {"gap": [np.float32("inf")]}}, r"\['gap'\]\[0\]=inf"),
        ({"metrics": {1: 2}}, "with the key 1"),
        ({"metrics": {"gap": 1j}}, "of type complex. Expected what JSON has"),
        ({"data": Path("digits")}, "card.'data'.=PosixPath"),
        ({"preprocessing": object()}, "of type object"),
        ({"classes": "abc"}, "card..classes..='abc'. Expected a list of names"),
        ({"classes": {"a": 1}}, "Expected a list of names"),
        ({"concepts": [None]}, "Expected a list of names"),
        ({"usage": ["often"] * 5}, "numbers from 0 to 1"),
        ({"usage": {"a": 1}}, "numbers from 0 to 1"),
        ({"classes": ["a", "b"]}, "with 2 names. Expected 3"),
        ({"concepts": ["a", "b"]}, "with 2 names. Expected 5"),
    ],
)
def test_what_a_card_cannot_say_is_refused_before_anything_is_written(
    wrong, message, tmp_path, monkeypatch
):
    monkeypatch.setattr(elsewhere, "write", lambda *_: pytest.fail("written"))
    with pytest.raises(ValueError, match=message):
        card_of(concept_model(), tmp_path, card=wrong)


def test_classes_of_a_single_score():
    inputs = keras.Input((4,), name="x")
    model = keras.Model(inputs, layers.Dense(1, "sigmoid")(inputs))
    assert made_card(model, classes=["no", "yes"])["classes"] == ["no", "yes"]
    with pytest.raises(ValueError, match="Expected 2"):
        made_card(model, classes=["yes"])
    several = keras.Model(inputs, [layers.Dense(2, name=n)(inputs) for n in "ab"])
    assert made_card(several, classes=["x", "y", "z"])["classes"] == ["x", "y", "z"]


def test_bits_and_memory_on_the_page():
    page = snippets.page(made_card(concept_model()))
    table = page.split("## Bits and memory of each layer\n\n")[1].split("\n\n")[0]
    assert "| layer | bits in | bits out | 32-bit weights | KiB |\n" in table
    assert "| concepts | 32 | 1 |  |  |\n| head | 1 | 32 | 18 | 0.07 |\n" in table
    assert table.endswith("| total |  |  | 43 | 0.17 |")


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
