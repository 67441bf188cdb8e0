"""Edited concepts: the model does what the edited bits say, and survives saving and exporting."""

import keras
import numpy as np
import pytest
from support import BACKEND, to_numpy

from keras_htaf import hardening, load_model
from keras_htaf.export import export
from keras_htaf.interpret.collection import collect, saved_names
from keras_htaf.interpret.editing import edit_concepts
from keras_htaf.layers import HTAF, Sign
from keras_htaf.models import icbm, small_cnn

RANDOM = np.random.default_rng(0)
X = RANDOM.normal(size=(60, 8, 8, 1)).astype("float32")


def built(activation="htaf", classes=3):
    backbone = small_cnn((8, 8, 1), width=4, stages=1)
    model = icbm(backbone, 6, classes, activation=activation, concept_dropout=0.1)
    random = np.random.default_rng(1)
    model.set_weights([w + np.abs(random.normal(0, 0.3, w.shape)) for w in model.get_weights()])
    logits = keras.Model(model.input, model.get_layer("concept_logits").output)
    z = logits.predict(X, verbose=0)
    norm = model.get_layer("concept_norm")
    norm.set_weights([np.ones(6), np.zeros(6), z.mean(axis=0), z.var(axis=0)])  # balanced bits
    return model


@pytest.fixture(scope="module")
def model():
    return built()


@pytest.fixture(scope="module")
def codes(model):
    codes = collect(model, X, RANDOM.integers(3, size=60))
    assert codes.varies.all()
    return codes


def test_merged_bits_are_what_their_names_say(model, codes):
    edited = edit_concepts(
        model,
        codes,
        rename={4: "kept"},
        merge={"or": ("any", [1, 0]), "most": ("most", [2, 3, "bit 5"])},
    )
    found = collect(edited, X)
    assert found.concept_names == ("or", "most", "kept") == saved_names(edited)
    bits = codes.bits
    np.testing.assert_array_equal(found.bits[:, 0], bits[:, 0] | bits[:, 1])
    np.testing.assert_array_equal(found.bits[:, 1], bits[:, [2, 3, 5]].sum(axis=1) >= 2)
    np.testing.assert_array_equal(found.bits[:, 2], bits[:, 4])
    both = collect(edit_concepts(model, codes, merge={"and": ("all", [4, 1])}), X)
    assert both.concept_names == ("bit 0", "bit 2", "bit 3", "and", "bit 5")
    np.testing.assert_array_equal(both.bits[:, 3], bits[:, 1] & bits[:, 4])


def test_head_of_the_edited(model, codes):
    """Renaming changes no decision; removing takes the mean; merging keeps the mean of s."""
    renamed = collect(edit_concepts(model, codes, rename={0: "a", "bit 1": "b"}), X)
    np.testing.assert_array_equal(renamed.decisions, codes.decisions)
    np.testing.assert_allclose(renamed.logits, codes.logits, atol=1e-5)
    fewer = collect(edit_concepts(model, codes, remove=[2, 5]), X)
    values = codes.bits.astype(float)
    values[:, [2, 5]] = codes.usage[[2, 5]]
    np.testing.assert_allclose(fewer.logits, codes.logits_of(values), atol=1e-5)
    merged = collect(edit_concepts(model, codes, merge={"m": ("all", [0, 1, 2])}), X)
    np.testing.assert_allclose(merged.logits.mean(0), codes.logits.mean(0), atol=1e-5)


def test_refitted_head(model):
    codes = collect(model, X)
    codes = collect(model, X, codes.bits[:, 0] & codes.bits[:, 1])
    arguments = {"merge": {"m": ("all", [0, 1])}, "remove": [2, 3, 4, 5]}
    edited = edit_concepts(model, codes, refit=True, **arguments)
    assert collect(edited, X, codes.labels).accuracy() == 1
    assert saved_names(model) is None


def test_edited_twice(model, codes):
    once = edit_concepts(model, codes, merge={"m": ("any", [0, 1])}, remove=[5])
    seen = collect(once, X)
    twice = edit_concepts(once, seen, merge={"n": ("all", ["m", "bit 2"])})
    assert saved_names(twice) == ("n", "bit 3", "bit 4")
    expected = (codes.bits[:, 0] | codes.bits[:, 1]) & codes.bits[:, 2]
    np.testing.assert_array_equal(collect(twice, X).bits[:, 0], expected)


@pytest.mark.parametrize(
    ("activation", "classes"),
    [
        (HTAF(5.0, per_channel=True, name="concepts"), 3),
        (Sign(name="concepts"), 3),
        (Sign(name="concepts"), 1),
    ],
)
def test_other_steps_and_heads(activation, classes):
    model = built(activation, classes)
    codes = collect(model, X)
    edited = edit_concepts(model, codes, merge={"m": ("any", [0, 1])}, remove=[3])
    assert edited.get_layer("head").units == classes
    found = collect(edited, X)
    np.testing.assert_array_equal(found.bits[:, 0], codes.bits[:, 0] | codes.bits[:, 1])
    np.testing.assert_array_equal(found.bits[:, 1:], codes.bits[:, [2, 4, 5]])
    lead = found.logits - found.logits.mean(axis=1, keepdims=True)
    before = codes.logits - codes.logits.mean(axis=1, keepdims=True)
    np.testing.assert_allclose(lead.mean(axis=0), before.mean(axis=0), atol=1e-5)
    (step,) = hardening.step_layers(edited)
    if step.per_channel:
        old = to_numpy(activation.sharpness)
        np.testing.assert_array_equal(to_numpy(step.sharpness), old[[0, 2, 4, 5]])


def test_saved_trained_and_exported(model, codes, tmp_path):
    edited = edit_concepts(model, codes, merge={"<b>": ("most", [0, 1, 2])}, remove=[3])
    expected = to_numpy(edited(X))
    edited.save(tmp_path / "edited.keras")
    loaded = load_model(tmp_path / "edited.keras")
    assert saved_names(loaded) == ("<b>", "bit 4", "bit 5")
    np.testing.assert_allclose(to_numpy(loaded(X)), expected, atol=1e-6)
    if BACKEND != "torch":  # which another process would have to export
        import tensorflow as tf

        export(edited, tmp_path / "exported", verify=False)
        artifact = tf.saved_model.load(str(tmp_path / "exported"))
        np.testing.assert_allclose(artifact.serve(X).numpy(), expected, atol=1e-5)
    loaded.compile("sgd", keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    before = loaded.get_layer("concept_logits").get_weights()[0]
    loaded.fit(X, codes.labels, verbose=0)
    after = loaded.get_layer("concept_logits").get_weights()[0]
    assert (np.abs(after - before).sum(axis=0) > 0)[[4, 5]].all()
    assert not np.abs(after - before)[:, 3].any()  # removed


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"remove": range(6)}, "All concepts"),
        ({"remove": [6]}, "the bit 6"),
        ({"rename": {0: "bit 1"}}, "used twice"),
        ({"rename": {0: "a"}, "remove": [0]}, "more than once"),
        ({"merge": {"m": ("any", [0, 1]), "n": ("any", [1, 2])}}, "more than once"),
        ({"merge": {"m": ("xor", [0, 1])}}, "'xor'"),
        ({"merge": {"m": ("any", [0])}}, "at least two"),
        ({"concepts": "stem"}, "no step layer 'stem'"),
    ],
)
def test_errors(model, codes, wrong, message):
    with pytest.raises(ValueError, match=message):
        edit_concepts(model, codes, **wrong)
