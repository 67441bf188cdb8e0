"""What would be decided with other bits; deletion and insertion curves against one by one."""

import numpy as np
import pytest

from keras_htaf.interpret.codes import Codes
from keras_htaf.interpret.interventions import curves, intervene

RANDOM = np.random.default_rng(0)
NAMES = ["red", "large", "left", "top", "twin", "twin"]
CODES = Codes(
    RANDOM.random((30, 6)) < 0.5,
    RANDOM.normal(size=(6, 3)),
    np.zeros(3),
    z=np.zeros((30, 6)),
    concept_names=NAMES,
)


def test_pin_and_flip():
    done = intervene(CODES, pin={"red": True, 1: False}, flip=["left", 5])
    expected = CODES.bits.copy()
    expected[:, 0], expected[:, 1] = True, False
    expected[:, [2, 5]] ^= True
    np.testing.assert_array_equal(done.after.bits, expected)
    np.testing.assert_array_equal(done.changed, CODES.decide(expected) != CODES.decisions)
    assert done.transitions.sum() == 30
    assert np.trace(done.transitions) == (~done.changed).sum()
    assert done.after.z is None
    assert not intervene(CODES).changed.any()


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"pin": {6: True}}, "the bit 6"),
        ({"pin": {-1: True}}, "the bit -1"),
        ({"flip": ["green"]}, "the bit 'green'"),
        ({"flip": ["twin"]}, "a name that one bit has"),
        ({"pin": {0: True}, "flip": ["red"]}, "both pinned and flipped"),
    ],
)
def test_errors(wrong, message):
    with pytest.raises(ValueError, match=message):
        intervene(CODES, **wrong)


def test_curves_one_by_one():
    found = curves(CODES)
    expected = np.zeros((2, 7))
    for i, decided in enumerate(CODES.decisions):
        second = np.argsort(-CODES.logits[i], kind="stable")[1]
        lead = CODES.weights[:, decided] - CODES.weights[:, second]
        order = np.argsort(-lead * (CODES.bits[i] - CODES.usage), kind="stable")
        for t in range(7):
            for j, replaced in enumerate((order[:t], order[t:])):
                values = CODES.bits[i].astype(float)
                values[replaced] = CODES.usage[replaced]
                expected[j, t] += CODES.decide(values) == decided
    np.testing.assert_allclose(found.deletion, expected[0] / 30)
    np.testing.assert_allclose(found.insertion, expected[1] / 30)
    for curve in (found.deletion, found.random_deletion):
        assert curve[0] == 1
        assert curve[-1] == found.insertion[0]
    areas = found.areas
    assert areas["deletion"] < areas["random_deletion"]
    assert areas["insertion"] > areas["random_insertion"]
    assert curves(CODES, seed=1).random_deletion.tolist() != found.random_deletion.tolist()
