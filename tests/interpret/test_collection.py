"""From models to codes, and the whole analysis of a small one."""

import keras
import numpy as np
import pytest
from support import to_numpy

from keras_htaf import harden, soften
from keras_htaf.interpret import Codes, ConceptAnalysis, analyze, collect
from keras_htaf.interpret.collection import Collector
from keras_htaf.layers import HTAF, Heaviside, Sign
from keras_htaf.models import icbm

X = np.random.default_rng(0).normal(size=(21, 5)).astype("float32")
Y = np.arange(21) % 3


def small(step=None, classes=3, features=None, **kwargs):
    """An ICBM on features, which compiles in no time, with weights that are not as initialised."""
    keras.utils.set_random_seed(0)
    inputs = keras.Input((5,))
    backbone = keras.Model(inputs, (features or keras.layers.Dense(4, "tanh"))(inputs), name="body")
    options = {"activation": step} if step else {}
    model = icbm(backbone, 6, classes, alpha=4.0, **options, **kwargs)
    random = np.random.default_rng(1)
    model.set_weights([w + np.abs(random.normal(0, 0.3, w.shape)) for w in model.get_weights()])
    return model


def outputs(model, layer="concepts"):
    """What a layer gives and what the model does."""
    found = keras.Model(model.input, [model.get_layer(layer).output, model.output])(X)
    return [to_numpy(a) for a in found]


@pytest.fixture(scope="module")
def analysis():
    return analyze(
        small(concept_dropout=0.5),
        X,
        Y,
        attributes=X[:, :2] > 0,
        attribute_names=["warm", "wet"],
        class_names=["a", "b", "c"],
        batch_size=8,
    )


def test_codes_are_what_the_model_computes(analysis):
    codes = analysis.codes
    bits, hard = outputs(harden(analysis.model))
    smooth, soft = outputs(soften(analysis.model))
    assert np.array_equal(codes.bits, bits == 1)
    np.testing.assert_allclose(codes.logits, hard, atol=1e-5)
    np.testing.assert_allclose(codes.smooth, smooth, atol=1e-6)
    np.testing.assert_allclose(codes.logits_of(codes.smooth), soft, atol=1e-5)
    assert np.array_equal(codes.bits, codes.z > 0)
    assert 0 < codes.bits.mean() < 1
    assert codes.labels.tolist() == Y.tolist()


def test_hardened_models_give_the_same(analysis):
    again = collect(harden(analysis.model), X, np.eye(3)[Y])
    assert np.array_equal(again.bits, analysis.codes.bits)
    np.testing.assert_allclose(again.smooth, analysis.codes.smooth, atol=1e-6)
    assert again.labels.tolist() == Y.tolist()


def test_signs_become_bits():
    model = small(Sign("htaf", name="concepts"))
    codes = collect(model, X)
    signs, logits = outputs(harden(model))
    assert np.array_equal(codes.bits, signs == 1)
    np.testing.assert_allclose(codes.logits, logits, atol=1e-5)
    smooth, soft = outputs(soften(model))
    np.testing.assert_allclose(codes.smooth, (1 + smooth) / 2, atol=1e-6)
    np.testing.assert_allclose(codes.logits_of(codes.smooth), soft, atol=1e-5)


def test_one_logit_becomes_two_classes():
    model = small(classes=1)
    codes = collect(model, X, Y > 0)
    _, logits = outputs(harden(model))
    assert codes.num_classes == 2
    assert np.array_equal(codes.decisions, logits[:, 0] > 0)


def test_steps_before_the_concepts_are_exact_too():
    model = small(features=HTAF(2.0, 0.5))
    codes = collect(model, X)
    bits, _ = outputs(harden(model))
    smooth, _ = outputs(soften(model))
    assert np.array_equal(codes.bits, bits == 1)
    np.testing.assert_allclose(codes.smooth, smooth, atol=1e-6)


@pytest.mark.parametrize("policy", ["mixed_float16", "mixed_bfloat16"])
def test_half_precision(policy):
    keras.config.set_dtype_policy(policy)
    try:
        model = small(Heaviside("atan", forward="hard", name="concepts"))
    finally:
        keras.config.set_dtype_policy("float32")
    codes = collect(model, X)
    bits, logits = outputs(model)
    assert np.array_equal(codes.bits, bits == 1)
    np.testing.assert_allclose(codes.logits, logits, atol=1e-5)


def test_analysis(analysis):
    assert analysis.health.usage.shape == (6,)
    assert analysis.code.samples == 21
    assert analysis.certified.share <= analysis.certified.agreement
    assert analysis.classes.contrast("a", "b").bits.shape == (6,)
    assert analysis.completeness(1.0) <= 1
    assert [row["attribute"] for row in analysis.purity.table()] == ["warm", "wet"]
    assert analysis.match(analysis).mean == pytest.approx(np.mean(analysis.health.varies))
    by_number, by_image = analysis.explain(4), analysis.explain(X[4])
    assert np.array_equal(by_number.contributions, by_image.contributions)
    assert (by_number.label, by_image.label) == (1, None)
    assert analysis.explain(X[4], label="b", neighbours=2).label == 1
    assert analysis.flip_radii[4] in (by_number.flip_radius, np.inf)
    still = analysis.stability(1e-7)
    assert still.flips.max() == 0
    moved = analysis.stability(lambda x, rng: -x, samples=9)
    assert moved.flips.max() > 0
    assert analysis.stability(lambda x, rng: -x, samples=9).flips.tolist() == moved.flips.tolist()


def test_summary(analysis):
    text = analysis.summary()
    assert "6 bits and a linear head decide" in text
    assert "a guess, until" in text
    assert max(map(len, text.splitlines())) <= 100
    assert not any(line.strip().startswith("%") for line in text.splitlines())
    one = ConceptAnalysis(Codes([[0], [0]], [[1.0, 0.0]], [0, 0.5], labels=[0, 1])).summary()
    assert "1 bit and a linear head" in one
    assert "1 bit is never on and says nothing: 'bit 0'." in one
    assert "1 bit in the median, 1 bit at least" in one
    bits = np.ones((4, 3)), np.eye(3)[:, :2], np.zeros(2)
    dull = ConceptAnalysis(Codes(*bits, labels=np.zeros(4))).summary()
    for words in ("3 bits are always on", "All samples are of class '0'", "no better than always"):
        assert words in dull


def test_needs(analysis):
    bare = ConceptAnalysis(analysis.codes)
    assert bare.explain(0).decision == analysis.explain(0).decision
    for call in (lambda: bare.explain(X[0]), lambda: bare.stability(0.1), lambda: bare.maps([0])):
        with pytest.raises(ValueError, match="has no model"):
            call()
    with pytest.raises(ValueError, match="No attributes are known"):
        bare.purity  # noqa: B018
    with pytest.raises(ValueError, match="Expected one of shape"):
        analysis.explain(np.zeros(7))
    with pytest.raises(ValueError, match="Expected the same shape"):
        analysis.stability(lambda x, rng: x[:2])
    with pytest.raises(ValueError, match="no labels"):
        ConceptAnalysis(Codes(analysis.codes.bits, np.ones((6, 2)), np.zeros(2)))


@pytest.mark.parametrize(
    ("x", "y", "more", "message"),
    [
        (X[:0], Y[:0], {}, "at least one"),
        (X, Y[:5], {}, "21 samples"),
        (X, Y + 1, {}, "from 0 to 2"),
        (X, None, {}, "y=None"),
        (np.where(X > 2, np.nan, X), Y, {}, r"concept logits of x\[\d+\] are NaN"),
        (X, Y, {"attributes": np.zeros(20)}, "one row for each sample"),
        (X, Y, {"attribute_names": ["a"]}, "without attributes"),
        (X, Y, {"class_names": ["a"]}, "Expected 3 names"),
        (X, Y, {"batch_size": 0}, "batch_size=0"),
        (X, Y, {"concepts": "bits"}, "has no layer 'bits'"),
        (X, Y, {"head": "body"}, "Expected a keras.layers.Dense"),
    ],
)
def test_bad_input(analysis, x, y, more, message):
    with pytest.raises(ValueError, match=message):
        analyze(analysis.model, x, y, **more)


def test_models_without_bits():
    with pytest.raises(ValueError, match="of type Activation, which gives no bits"):
        collect(small("relu"), X)
    plain = keras.Sequential([keras.Input((5,)), keras.layers.Dense(3, name="head")])
    with pytest.raises(ValueError, match="has no layer 'concepts', but"):
        collect(plain, X)
    nested = keras.Sequential([keras.Input((5,)), small()])
    with pytest.raises(ValueError, match="only within a nested model"):
        collect(nested, X)
    with pytest.raises(ValueError, match=r"Expected a keras\.Model"):
        collect(X, X)
    two = [keras.Input((5,)), keras.Input((5,))]
    with pytest.raises(ValueError, match="has 2 inputs"):
        collect(keras.Model(two, keras.layers.Add()(two)), X)
    between = [HTAF(name="concepts"), keras.layers.ReLU(3.0, 0.5, 0.1)]
    apart = keras.Sequential([keras.Input((5,)), *between, keras.layers.Dense(3, name="head")])
    with pytest.raises(ValueError, match="does not read what its concept layer gives"):
        collect(apart, X)


def test_quantized_heads_are_refused():
    """Their kernels are integers, without the scale."""
    model = small()
    model.get_layer("head").quantize("int8")
    with pytest.raises(ValueError, match=r"'head' .* was quantized to 'int8'"):
        collect(model, X)


class Own(keras.Model):
    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.concepts = Heaviside(name="concepts")
        self.head = keras.layers.Dense(3, name="head")

    def call(self, x):
        return self.head(self.concepts(x))


def test_subclassed_models_are_refused():
    model = Own()
    model(X)
    with pytest.raises(ValueError, match="is not a functional or sequential model"):
        Collector(model)
