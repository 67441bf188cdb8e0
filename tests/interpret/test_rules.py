"""Rules are the model on every code, and as short as enumeration says; shapes' rules are found."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from keras_htaf.datasets import SHAPE_ATTRIBUTES, SHAPE_RULES, shapes
from keras_htaf.interpret.codes import Codes
from keras_htaf.interpret.heads import Loss, fit_dense
from keras_htaf.interpret.minimize import all_codes, holds, minimize
from keras_htaf.interpret.rules import attribute_rules, find_rules, truth_table


@pytest.fixture(scope="module")
def cheapest():
    """For each function of 4 variables, as a number of 16 binary digits, its fewest terms and
    then literals (as 100 * terms + literals), by adding one AND after the other to any function.
    """
    ands = []
    for cube in np.ndindex(3, 3, 3, 3):
        term = tuple((i, bool(v)) for i, v in enumerate(cube) if v < 2)
        ands.append((number(holds((term,), all_codes(4))), 100 + len(term)))
    cost = np.full(2**16, 10**6)
    cost[0] = 0
    functions = np.arange(2**16)
    while True:
        before = cost.copy()
        for covered, price in ands:
            np.minimum.at(cost, functions | covered, cost + price)
        if np.array_equal(before, cost):
            return cost


def number(table):
    return int(np.packbits(table).view(">u2")[0])


@settings(max_examples=60, deadline=None)
@given(on=st.integers(0, 2**16 - 1), free=st.integers(0, 2**16 - 1) | st.just(0))
def test_no_rule_is_shorter(cheapest, on, free):
    table, care = (
        np.unpackbits(np.array([v], ">u2").view(np.uint8)).astype(bool) for v in (on, ~free & 65535)
    )
    terms, minimal = minimize(table, care)
    assert minimal
    np.testing.assert_array_equal(holds(terms, all_codes(4))[care], table[care])
    others = np.arange(2**16)
    allowed = ((others ^ on) & ~free & 65535) == 0
    assert 100 * len(terms) + sum(map(len, terms)) == cheapest[allowed].min()


def test_minimize_at_its_ends():
    assert minimize(np.zeros(8, bool)) == ((), True)
    assert minimize(np.ones(8, bool)) == (((),), True)
    assert minimize(np.ones(1, bool)) == (((),), True)
    parity = all_codes(5).sum(axis=1) % 2 == 1
    terms, minimal = minimize(parity)
    assert minimal
    assert len(terms) == 16
    with pytest.raises(ValueError, match="truth table of shape"):
        minimize(np.zeros(3, bool))
    with pytest.raises(ValueError, match="truth table of shape"):
        minimize(np.zeros(2**13, bool))


def test_minimize_gives_the_best_it_has_when_time_is_up():
    table = np.random.default_rng(0).random(2**9) < 0.5
    terms, _ = minimize(table, seconds=1e-6)
    np.testing.assert_array_equal(holds(terms, all_codes(9)), table)


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(1, 9), st.integers(2, 4))
def test_rules_are_the_model_on_every_code(seed, bits, classes):
    random = np.random.default_rng(seed)
    # Whole numbers make ties, which go to the lowest class.
    head = random.integers(-2, 3, (bits, classes)), random.integers(-2, 3, classes)
    codes = Codes(random.random((20, bits)) < 0.5, *head)
    every = Codes(all_codes(bits), *head)
    found = find_rules(codes)
    assert found.exact
    assert (found.fidelity, found.covered) == (1, 1)
    for k in range(classes):
        np.testing.assert_array_equal(found[k](every.bits), every.decisions == k)
    free = find_rules(codes, unseen="free")
    assert free.exact
    for k in range(classes):
        np.testing.assert_array_equal(free[k](codes.bits), codes.decisions == k)
        assert len(free[k].terms) <= len(found[k].terms)


@pytest.mark.parametrize("seed", range(2))
def test_rules_of_twelve_bits_are_the_model(seed):
    random = np.random.default_rng(seed)
    weights = np.zeros((12, 3))
    weights[np.arange(12), np.arange(12) % 3] = random.integers(1, 3, 12)
    every = Codes(all_codes(12), weights, random.integers(-1, 2, 3))
    found = find_rules(every, seconds=0.5)
    assert found.exact
    assert found.fidelity == 1
    for k in range(3):
        np.testing.assert_array_equal(found[k](every.bits), every.decisions == k)


def test_shapes_rules_are_found():
    """Bits that are the true attributes, and a head fitted to the labels alone."""
    data = shapes(4000, 16)
    bits, labels = data.train.attributes, data.train.labels
    head = fit_dense(Loss(bits, labels, 6, ridge=1e-4))
    codes = Codes(
        bits, *head, labels, class_names=data.class_names, concept_names=data.attribute_names
    )
    assert codes.accuracy() == 1
    found = find_rules(codes, unseen="free")
    for k, terms in enumerate(SHAPE_RULES.values()):
        numbered = {
            frozenset((SHAPE_ATTRIBUTES.index(name), value) for name, value in term.items())
            for term in terms
        }
        assert set(map(frozenset, found[k].terms)) == numbered
        assert found[k].minimal
        assert found[k].exact
    assert found.text().splitlines()[:3] == [
        "A: circle and red",
        "B: circle and not red",
        "C: (square and large) or (square and striped)",
    ]
    assert found.text().endswith("every code of the samples; same decision on 100.0% of samples)")
    test = Codes(data.test.attributes, *head, data.test.labels)
    assert find_rules(codes, held_out=test, unseen="free").fidelity == 1


def test_rules_on_attributes_are_held_against_the_model():
    attributes = all_codes(3)[np.arange(64) % 8]
    red, large, _ = attributes.T
    # A bit that is red and large, but for three samples.
    bits = (red & large)[:, None].copy()
    bits[[7, 15, 23]] = False
    codes = Codes(bits, [[0.0, 1.0]], [0.5, 0.0])
    found = attribute_rules(codes, attributes, ("red", "large", "left"))
    assert found.text().splitlines()[1] == "1: red and large"
    assert found.fidelity == 61 / 64
    assert found[1].precision == 13 / 16
    assert found[1].coverage == 1
    assert not found.exact
    with pytest.raises(ValueError, match="one class only"):
        attribute_rules(Codes(bits, [[0.0, 0.0]], [0.5, 0.0]), attributes, ("a", "b", "c"))


def test_attributes_are_checked():
    codes = Codes([[0], [1], [1]], [[0.0, 1.0]], [0.5, 0.0])
    good = np.array([[0, 1], [1, 0], [1, 1]])
    assert attribute_rules(codes, good).names == ("attribute 0", "attribute 1")
    for attributes, names, held_out, message in (
        (good[:2], None, None, "one row for each sample"),
        (0.5 * good, None, None, "other than 0 and 1"),
        (good, ["a"], None, "Expected 2 names"),
        (good, None, (codes, good[:2]), "one row for each sample"),
        (good, None, (codes, good[:, :1]), "1 held-out attributes. Expected the same 2"),
    ):
        with pytest.raises(ValueError, match=message):
            attribute_rules(codes, attributes, names, held_out=held_out)


def test_truth_table_counts_samples():
    codes = Codes([[0, 1, 1], [0, 1, 0], [1, 1, 1]], [[2, 0], [1, 1], [0, 1]], [0, 0.5])
    table = truth_table(codes)
    assert table.bits.tolist() == [0, 2]  # the second bit is the same for both classes
    assert table.codes.astype(int).tolist() == [[0, 0], [0, 1], [1, 0], [1, 1]]
    assert table.decisions.tolist() == [1, 1, 0, 0]
    assert table.counts.tolist() == [1, 1, 0, 1]


def many_bits(samples=600):
    random = np.random.default_rng(0)
    weights = np.zeros((20, 3))
    weights[[0, 1, 2], [0, 0, 1]] = 4, 4, 3
    weights += random.normal(0, 0.01, weights.shape)
    return Codes(random.random((samples, 20)) < 0.5, weights, [0, 1, 2.5])


def test_rules_of_many_bits_state_what_they_miss():
    codes = many_bits()
    fit, test = codes.rows(slice(300)), codes.rows(slice(300, None))
    found = find_rules(fit, held_out=test)
    assert not found.exact
    assert found.table is None
    fires = np.stack([rule(test.bits) for rule in found.rules], axis=1)
    single = fires.sum(axis=1) == 1
    assert found.covered == single.mean()
    assert found.fidelity == np.mean(single & (fires.argmax(axis=1) == test.decisions))
    assert found.fidelity > 0.8
    for k, rule in enumerate(found.rules):
        assert not rule.exact
        decided = test.decisions == k
        assert rule.precision == pytest.approx(decided[fires[:, k]].mean())
        assert rule.coverage == pytest.approx(fires[decided, k].mean())
    assert "not exact" in found.text()
    assert found.to_dict()["rules"][0]["terms"]
    with pytest.raises(ValueError, match="uses 20 bits"):
        truth_table(codes)


def test_a_class_that_never_wins():
    found = find_rules(Codes([[0], [1]], [[0.0, 1, 0]], [0, 0.5, -9], class_names=list("ABC")))
    assert found[2].text(found.names) == "never"
    assert np.isnan(found[2].precision)
    assert found.to_dict()["rules"][2]["coverage"] is None
    assert found[1].text(found.names) == "always"


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"unseen": "no"}, "unseen='no'"),
        ({"max_bits": 13}, "at most 12 bits"),
        ({"max_leaves": 1}, "2 to 13 leaves"),
        ({"held_out": Codes([[1]], [[1, 2]], [0, 0])}, "held-out codes of 1 bits"),
    ],
)
def test_errors(wrong, message):
    with pytest.raises(ValueError, match=message):
        find_rules(many_bits(20), **wrong)
