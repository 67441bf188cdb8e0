"""Names in files, and wrong decisions by responsible bit."""

import json

import numpy as np
import pytest

from keras_htaf.interpret import ConceptAnalysis, analyze
from keras_htaf.interpret.codes import Codes
from keras_htaf.interpret.names import fingerprint, write_names
from keras_htaf.models import icbm, small_cnn

X, Y = np.random.default_rng(0).normal(size=(12, 8, 8, 1)), np.arange(12) % 3


def test_names_come_back(tmp_path):
    model = icbm(small_cnn((8, 8, 1), width=4, stages=1), 3, 3)
    codes = analyze(model, X, Y).codes
    file = tmp_path / "names.json"
    write_names(file, {1: "dark <b>", 2: " "}, codes.weights, codes.bias)
    analysis = analyze(model, X, Y, concept_names=file)
    assert analysis.codes.concept_names == ("bit 0", "dark <b>", "bit 2")
    assert analysis.run(X).concept_names == ("bit 0", "dark <b>", "bit 2")
    assert analyze(model, X, Y, concept_names=str(file)).codes.concept_names[1] == "dark <b>"

    model.get_layer("head").set_weights([2 * w + 1 for w in model.get_layer("head").get_weights()])
    with pytest.raises(ValueError, match="another model"):
        analyze(model, X, Y, concept_names=file)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{", "holds no names"),
        ('{"names": ["a"]}', "holds no names"),
        ('{"names": {"x": "a"}}', "holds no names"),
        ('{"names": {"2": "a"}}', "bits 0 to 1"),
        ('{"names": {"0": 7}}', "bits 0 to 1"),
        ('{"names": {"0": "a"}, "model": "0"}', "another model"),
    ],
)
def test_files_that_are_no_names(tmp_path, content, message):
    from keras_htaf.interpret.names import read_names

    (tmp_path / "names.json").write_text(content)
    with pytest.raises(ValueError, match=message):
        read_names(tmp_path / "names.json", np.eye(2), np.zeros(2), ["bit 0", "bit 1"])
    with pytest.raises(FileNotFoundError):
        read_names(tmp_path / "none.json", np.eye(2), np.zeros(2), ["bit 0", "bit 1"])


def test_a_fingerprint_is_of_the_head(tmp_path):
    weights = np.random.default_rng(0).normal(size=(4, 3))
    codes = Codes(np.zeros((1, 4)), weights, np.zeros(3))
    assert fingerprint(weights, np.zeros(3)) == fingerprint(codes.weights, codes.bias)
    assert fingerprint(weights, np.zeros(3)) != fingerprint(weights + 1e-3, np.zeros(3))
    write_names(tmp_path / "names.json", {}, weights, np.zeros(3))
    assert json.loads((tmp_path / "names.json").read_text())["names"] == {}


def test_errors_by_bit():
    # Sample 1 is wrong by bit 0 alone; sample 2 by the bias, whatever its bits.
    codes = Codes([[0, 0], [1, 0], [0, 1]], [[3.0, 0.0], [0.0, 0.5]], [0.0, 1.0], labels=[1, 1, 0])
    found = ConceptAnalysis(codes).errors
    assert found.samples.tolist() == [1, 2]
    assert found.bits.tolist() == [0, 0]
    assert found.mends.tolist() == [True, True]
    (group,) = found.groups()
    assert group == {"bit": 0, "name": "bit 0", "errors": 2, "mended": 2, "samples": [1, 2]}

    none = ConceptAnalysis(Codes([[1], [0]], [[1.0, 0.0]], [0.0, 0.5], labels=[0, 1])).errors
    assert none.groups() == []
    constant = ConceptAnalysis(Codes([[1]], [[1.0, 0.0]], [0.0, 0.5], labels=[1])).errors
    assert constant.groups()[0]["bit"] is None
