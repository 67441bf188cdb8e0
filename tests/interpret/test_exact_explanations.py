"""Explanations are what enumeration of all codes finds."""

import itertools
from math import factorial

import numpy as np
import pytest
from code_cases import all_codes, fewest_flips, number, small_codes, sufficient_table
from hypothesis import given, settings
from hypothesis import strategies as st

from keras_htaf.interpret import Codes
from keras_htaf.interpret.explanations import explain
from keras_htaf.interpret.flips import counterfactual, flip_radii
from keras_htaf.interpret.neighbours import hamming, nearest
from keras_htaf.interpret.sufficient import sufficient_set

quick = settings(max_examples=60, deadline=None, derandomize=True)


def large(seed, m=14, classes=4):
    rng = np.random.default_rng(seed)
    weights = rng.normal(size=(m, classes)).astype("float32")
    return Codes(rng.integers(0, 2, size=(2, m)), weights, rng.normal(size=classes))


def shapley(codes, bits, k):
    """By the definition: the mean gain of a bit over all orders in which bits become known.

    The bits that are not known are drawn independently with their shares in the data.
    """
    m, p = codes.num_bits, codes.usage
    everything = all_codes(m)
    logits = codes.logits_of(everything)[:, k]
    value = {}
    for known in itertools.chain.from_iterable(
        itertools.combinations(range(m), size) for size in range(m + 1)
    ):
        chances = np.where(everything, p, 1 - p)
        chances[:, known] = everything[:, known] == bits[list(known)]
        value[known] = chances.prod(axis=1) @ logits
    phi = np.zeros(m)
    for known, worth in value.items():
        for j in set(range(m)) - set(known):
            share = factorial(len(known)) * factorial(m - len(known) - 1) / factorial(m)
            phi[j] += share * (value[tuple(sorted((*known, j)))] - worth)
    return phi


@settings(quick, max_examples=20)
@given(small_codes(most_bits=5, most_classes=3))
def test_contributions_are_shapley_values(codes):
    found = explain(codes, 0)
    size = np.abs(codes.weights).sum() + 1
    for k in range(codes.num_classes):
        expected = shapley(codes, codes.bits[0], k)
        np.testing.assert_allclose(found.contributions[:, k], expected, atol=1e-12 * size)
    # Efficiency, against the mean of the logits themselves.
    total = found.contributions.sum(axis=0)
    np.testing.assert_allclose(total, found.logits - codes.logits.mean(axis=0), atol=1e-12 * size)


@pytest.mark.parametrize("seed", range(2))
def test_contributions_of_ten_bits(seed):
    rng = np.random.default_rng(seed)
    bits = rng.random((7, 10)) < rng.random(10)
    codes = Codes(bits, rng.normal(size=(10, 2)).astype("float32"), rng.normal(size=2))
    found = explain(codes, 3)
    for k in range(2):
        expected = shapley(codes, bits[3], k)
        np.testing.assert_allclose(found.contributions[:, k], expected, atol=1e-12)


def check_sufficient(codes, bits, nodes=2000):
    found = sufficient_set(codes, bits, nodes)
    suffices = sufficient_table(codes, bits)
    sizes = all_codes(codes.num_bits).sum(axis=1)
    fewest = sizes[suffices].min()
    members = np.isin(np.arange(codes.num_bits), found.bits)
    assert suffices[number(members)]
    for j in found.bits:
        assert not suffices[number(members) - (1 << j)]
    assert found.at_least <= fewest <= len(found.bits)
    assert found.minimum == (found.at_least == len(found.bits))
    return found


@quick
@given(small_codes())
def test_sufficient_sets(codes):
    for bits in codes.bits[:3]:
        assert check_sufficient(codes, bits).minimum
        check_sufficient(codes, bits, nodes=0)
        check_sufficient(codes, bits, nodes=3)


@quick
@given(small_codes(most_classes=2))
def test_two_classes_are_always_solved(codes):
    assert all(check_sufficient(codes, bits, nodes=1).minimum for bits in codes.bits)


@quick
@given(small_codes())
def test_flip_radius(codes):
    radii = flip_radii(codes)
    for bits, radius in zip(codes.bits, radii, strict=True):
        fewest, found = fewest_flips(codes, bits), counterfactual(codes, bits)
        assert radius == fewest
        assert (np.inf if found is None else found.radius) == fewest
        if found is not None:
            assert np.array_equal(np.flatnonzero(found.code != bits), np.sort(found.flips))
            assert found.decision == codes.decide(found.code) != codes.decide(bits)


@pytest.mark.parametrize("seed", range(3))
def test_fourteen_bits(seed):
    codes = large(seed)
    assert check_sufficient(codes, codes.bits[0]).minimum
    assert [fewest_flips(codes, bits) for bits in codes.bits] == flip_radii(codes).tolist()


@pytest.mark.parametrize("seed", [8, 9, 16])
def test_search_finds_what_greed_does_not(seed):
    rng = np.random.default_rng(seed)
    weights = rng.normal(size=(12, 8)).astype("float32")
    codes = Codes(rng.integers(0, 2, (1, 12)), weights, rng.normal(size=8))
    greedy = check_sufficient(codes, codes.bits[0], nodes=0)
    found = check_sufficient(codes, codes.bits[0])
    assert found.minimum
    assert not greedy.minimum
    assert len(found.bits) < len(greedy.bits)


def test_ties_go_to_the_lowest_class():
    weights = np.array([[1.0, 0.0]])
    # Off, both logits are 0: class 0 wins, and needs no bit to.
    tied = Codes([[0], [1]], weights, [0.0, 0.0])
    assert tied.decisions.tolist() == [0, 0]
    assert [len(sufficient_set(tied, bits).bits) for bits in tied.bits] == [0, 0]
    assert counterfactual(tied, tied.bits[1]) is None
    # With the classes exchanged class 1 must be strictly larger.
    other = Codes([[0], [1]], weights[:, ::-1], [0.0, 0.0])
    assert other.decisions.tolist() == [0, 1]
    assert [len(sufficient_set(other, bits).bits) for bits in other.bits] == [1, 1]
    assert flip_radii(other).tolist() == [1, 1]


def test_decimal_weights_tie_where_their_sums_do():
    # 0.1 + 0.2 > 0.3 in float64: on the grid both orders of summation say the same.
    weights = np.array([[0.1, 0.0], [0.2, 0.0], [0.0, 0.3], [0.4, 0.4]])
    codes = Codes(all_codes(4), weights, [0.0, 0.0])
    for order in itertools.permutations(range(4)):
        sums = sum(codes.bits[:, [j]] * codes.weights[j] for j in order)
        assert np.array_equal(sums, codes.logits)


def test_explanation_reads_well():
    codes = Codes(
        [[1, 0, 0], [0, 1, 0], [1, 1, 0]],
        [[2.0, 0.0], [0.0, 1.0], [0.0, 1.0]],
        [0.0, 0.5],
        labels=[0, 1, 1],
        class_names=["cat", "dog"],
        concept_names=["ears", "tail", "wings"],
    )
    found = explain(codes, 2)
    assert (found.decision, found.label, found.rival, found.flip_radius) == (0, 1, 1, 1)
    assert found.sufficient.bits.tolist() == [0, 2]
    # Wings are never there: no contribution, in spite of their weight.
    assert [explain(codes, i).absent.tolist() for i in range(3)] == [[1], [0], []]
    np.testing.assert_allclose(found.against("dog").sum(), 0.5 - (4 / 3 - 7 / 6))
    assert found.neighbours.samples.tolist() == [[0, 1]]
    text = str(found)
    assert "'cat' (labelled 'dog')" in text
    assert "ears on" in text
    assert "Forced by ears on, wings off (2; fewest that do)." in text
    assert "Becomes 'dog' with ears off (1 flip at least)." in text
    assert [row["name"] for row in found.top(1, "dog")] == ["tail"]
    assert found.to_dict()["sufficient"]["bits"] == [0, 2]
    same = explain(codes, codes.bits[2])
    assert (same.index, same.label, same.neighbours.samples[0, 0]) == (None, None, 2)
    constant = explain(Codes([[0, 1]], np.zeros((2, 2)), np.zeros(2)), 0)
    assert constant.flip_radius is None
    assert "No code is decided otherwise" in str(constant)
    assert "Forced by no bit (0; fewest that do)" in str(constant)


def test_labels_of_an_explanation():
    head = np.eye(2), np.zeros(2)
    known = Codes(np.eye(2), *head, labels=[1, 1], class_names=["cat", "dog"])
    unknown = Codes(np.eye(2), *head, class_names=["cat", "dog"])
    assert explain(unknown, 0).label is None
    assert explain(unknown, 0, label=1).label == 1
    assert explain(unknown, unknown.bits[0], label="dog").label == 1
    assert explain(known, 0).label == 1
    assert explain(known, 0, label="cat").label == 0
    for wrong in (99, -1, "horse", 0.5, True):
        with pytest.raises(ValueError, match="Received class"):
            explain(unknown, 0, label=wrong)


@pytest.mark.parametrize("nodes", [-1, 0.5, True, None])
def test_no_such_number_of_nodes(nodes):
    with pytest.raises(ValueError, match="Received nodes"):
        explain(large(0), 0, nodes=nodes)


def test_absent_bits():
    codes = Codes([[1, 0, 0], [1, 1, 1]], [[0.0, 1.0], [3.0, 0.0], [0.0, 1.0]], [0.0, 0.0])
    found = explain(codes, 0)
    assert found.decision == 1
    assert found.absent.tolist() == [1, 2]
    assert found.against()[1] == 1.5  # its absence keeps the rival low
    assert explain(codes, 1).absent.tolist() == []


@quick
@given(st.integers(1, 140), st.integers(1, 30), st.integers(0, 99))
def test_neighbours(m, n, seed):
    rng = np.random.default_rng(seed)
    bits = rng.integers(0, 2, size=(n, m)).astype(bool)
    codes = Codes(bits, rng.normal(size=(m, 2)), np.zeros(2))
    distances = (bits[:, None] != bits[None]).sum(axis=2)
    assert np.array_equal(hamming(codes.packed, codes.packed), distances)
    found = nearest(codes, bits[:4], 7)
    expected = np.argsort(distances[:4], axis=1, kind="stable")[:, :7]
    assert np.array_equal(found.samples, expected)
    alone = nearest(codes, bits[:4], 7, leave_out=np.arange(min(4, n)))
    for i, row in enumerate(alone.samples):
        everyone = np.argsort(distances[i], kind="stable")
        assert row.tolist() == everyone[everyone != i][:7].tolist()


@pytest.mark.parametrize("sample", [3, -1, 0.5, True, "0", [1, 0], [2, 0, 1]])
def test_no_such_sample(sample):
    codes = Codes(np.eye(3), np.ones((3, 2)), np.zeros(2))
    with pytest.raises(ValueError, match=r"Received (sample|bits)"):
        explain(codes, sample)
