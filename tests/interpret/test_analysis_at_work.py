"""The methods of an analysis that fit, change or use its codes."""

import numpy as np
import pytest

from keras_htaf.interpret import ConceptAnalysis, analyze
from keras_htaf.interpret.codes import Codes
from keras_htaf.models import icbm, small_cnn

RANDOM = np.random.default_rng(0)
X = RANDOM.normal(size=(80, 8, 8, 1)).astype("float32")
Y = np.arange(80) % 3


@pytest.fixture(scope="module")
def analysis():
    model = icbm(small_cnn((8, 8, 1), width=4, stages=1), 6, 3)
    random = np.random.default_rng(1)
    model.set_weights([w + random.normal(0, 0.3, w.shape) ** 2 for w in model.get_weights()])
    norm = model.get_layer("concept_norm")
    gamma, beta, mean, variance = norm.get_weights()
    # Each bit is on for half of the images, whatever weights the layers began with.
    beta = beta - np.median(analyze(model, X, Y).codes.z, axis=0)
    norm.set_weights([gamma, beta, mean, variance])
    return analyze(model, X, Y)


def test_all_together(analysis):
    assert analysis.rules().exact
    assert not analysis.rules(max_bits=2).exact
    assert 0 <= analysis.scorecard().agreement <= 1
    heads = analysis.sparse_heads(necs=[2])
    assert heads.heads["per class"][0].nec == 2
    assert len(heads.random) == 2
    assert analysis.intervene(flip=[0]).after.bits.shape == (80, 6)
    assert analysis.curves().deletion.shape == (7,)
    assert 0 < analysis.retrieval(k=5) <= 1
    assert analysis.monitor(share=0.51).patterns.shape == (3, 6)
    edited = analysis.edit(rename={0: "first"})
    assert analyze(edited, X, Y).codes.concept_names[0] == "first"


def test_fitted_on_training_images():
    """Fit on one analysis, measured on the other: what is reported is of the second."""
    bits = RANDOM.random((300, 4)) < 0.5
    head = np.array([[3.0, 0], [0, 1], [0, 1], [0, 0.5]]), [0, 1.2]
    train = ConceptAnalysis(Codes(bits[:200], *head, bits[:200, 0]))
    test = ConceptAnalysis(Codes(bits[200:], *head, bits[200:, 0]))
    card = test.scorecard(train, max_points=2)
    assert card.head_accuracy == test.codes.accuracy()
    assert test.sparse_heads(train, necs=[1]).random is None
    assert test.rules(train).fidelity == 1
    assert test.monitor(train).patterns.shape == (2, 4)
    assert 0 < test.retrieval(train, k=10) < 1
    with pytest.raises(ValueError, match="no model"):
        test.edit(rename={0: "a"})
    with pytest.raises(ValueError, match="at least two"):
        ConceptAnalysis(test.codes.rows([0])).scorecard()


@pytest.mark.parametrize("weights", [np.eye(3)[:, ::-1], np.ones((4, 3))])
def test_another_model_is_no_training_part(weights, tmp_path):
    labels = np.arange(60) % 3
    bits = np.eye(3, dtype=bool)[labels]
    known = {"attributes": bits, "attribute_names": list("abc")}
    analysis = ConceptAnalysis(Codes(bits, np.eye(3), np.zeros(3), labels), **known)
    others = np.ones((60, len(weights)), bool)
    train = ConceptAnalysis(Codes(others, weights, np.zeros(3), labels), **known)
    for method in ("rules", "scorecard", "sparse_heads", "monitor", "attribute_rules"):
        with pytest.raises(ValueError, match="another head than that of these 3"):
            getattr(analysis, method)(train)
    with pytest.raises(ValueError, match="same model with the same weights"):
        analysis.report(tmp_path / "report.html", train=train)
    assert not list(tmp_path.iterdir())


def test_decisions_as_rules_on_attributes():
    known = RANDOM.random((300, 3)) < 0.5
    read = Codes(known[:, :2], [[0, 2.0], [0, 2.0]], [3.0, 0], known.all(axis=1))
    names = ("red", "large", "left")
    analysis = ConceptAnalysis(read, attributes=known, attribute_names=names)
    alone = analysis.attribute_rules()
    assert alone[1].text(alone.names) == "red and large"
    assert alone.fidelity == analysis.attribute_rules(analysis).fidelity == 1
    with pytest.raises(ValueError, match="No attributes are known"):
        ConceptAnalysis(read).attribute_rules()
    with pytest.raises(ValueError, match="No attributes are known"):
        analysis.attribute_rules(ConceptAnalysis(read))
