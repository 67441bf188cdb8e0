"""Heads fitted on bits: gradients, exact zeros, counts of weights, random bits; scorecards."""

import warnings
from dataclasses import replace

import numpy as np
import pytest
from scipy.optimize import check_grad, minimize

from keras_htaf.interpret.codes import Codes
from keras_htaf.interpret.heads import Loss, fit_dense, fit_lasso, fit_scale
from keras_htaf.interpret.scorecards import scorecard
from keras_htaf.interpret.sparse import random_bits, sparse_heads

RANDOM = np.random.default_rng(0)


@pytest.fixture(scope="module")
def parts():
    """Four classes, two bits each that mean them, noise, a dead bit and a copy."""
    labels = RANDOM.integers(4, size=900)
    bits = RANDOM.random((900, 16)) < 0.5
    for k in range(4):
        bits[:, 2 * k] = labels == k
        bits[:, 2 * k + 1] = (labels == k) ^ (RANDOM.random(900) < 0.1)
    bits[:, 14] = False
    bits[:, 15] = bits[:, 0]
    codes = Codes(bits, RANDOM.normal(size=(16, 4)), np.zeros(4), labels)
    return codes.rows(slice(600)), codes.rows(slice(600, None))


def test_gradients(parts):
    codes, _ = parts
    # Double precision would be needed to compare in more digits: sums are float32.
    loss = Loss(codes.bits[:50], codes.labels[:50], 4, ridge=0.1)
    loss.bits = loss.bits.astype(np.float64)

    def unpacked(v):
        return v[:64].reshape(16, 4), v[64:]

    def value(v):
        weights, bias = unpacked(v)
        logits = codes.bits[:50] @ weights + bias
        own = logits[np.arange(50), codes.labels[:50]]
        cross = np.log(np.exp(logits).sum(axis=1)) - own
        return cross.mean() + 0.05 * np.sum(weights**2)

    def gradient(v):
        _, of_weights, of_bias = loss(*unpacked(v))
        return np.concatenate([of_weights.ravel(), of_bias])

    start = RANDOM.normal(size=68)
    assert loss(*unpacked(start))[0] == pytest.approx(value(start), rel=1e-6)
    assert check_grad(value, gradient, start) < 1e-5


def test_lasso_is_optimal_and_has_exact_zeros(parts):
    codes, _ = parts
    loss = Loss(codes.bits, codes.labels, 4)
    weights, bias = fit_lasso(loss, 0.02, iterations=500)
    assert 4 <= np.count_nonzero(weights) <= 24
    gradient = loss(weights, bias)[1]
    np.testing.assert_allclose(
        gradient[weights != 0], -0.02 * np.sign(weights)[weights != 0], atol=1e-3
    )
    assert np.abs(gradient[weights == 0]).max() < 0.021


def test_counts_of_weights(parts):
    codes, held_out = parts
    random = random_bits(RANDOM.normal(size=(600, 5)), RANDOM.normal(size=(300, 5)), 16)
    found = sparse_heads(codes, held_out, necs=[2, 1, 4, 99], random=random)
    assert found.necs == (1, 2, 4)
    for i, k in enumerate(found.necs):
        for kind, heads in found.heads.items():
            assert heads[i].kind == kind
            assert heads[i].nec == k
            read = heads[i].on(held_out)
            assert read.accuracy() == heads[i].accuracy
        for kind in ("per class", "ternary"):
            counts = np.count_nonzero(found.heads[kind][i].weights, axis=0)
            assert counts.tolist() == [k] * 4
        assert len(np.unique(np.abs(found.heads["ternary"][i].weights))) == 2
        assert found.heads["per class"][i].accuracy == 1
        assert found.heads["ternary"][i].accuracy > 0.98
    assert found.dense.accuracy == 1
    assert found.own == held_out.accuracy()
    assert len(found.random) == 4
    assert max(found.random) < 0.5
    table = found.table().splitlines()
    assert table[0] == "| held-out accuracy, % | NEC 1 | NEC 2 | NEC 4 | all |"
    assert len({line.count("|") for line in table}) == 1
    assert found.to_dict()["heads"]["ternary"][0]["accuracy"] > 0.98


def test_bits_that_never_vary_get_no_weight(parts):
    """One is never on, one always is while fitting: of 16 bits 14 can have weights."""
    codes, held_out = parts
    bits = codes.bits.copy()
    bits[:, 13] = True
    found = sparse_heads(replace(codes, bits=bits), held_out, necs=[13, 14, 15, 16])
    assert found.necs == (13, 14)
    for i, k in enumerate(found.necs):
        for kind in ("per class", "ternary"):
            counts = np.count_nonzero(found.heads[kind][i].weights, axis=0)
            assert counts.tolist() == [k] * 4
        assert found.heads["elastic net"][i].nec == k
    for head in (found.dense, *(h for heads in found.heads.values() for h in heads)):
        assert not head.weights[[13, 14]].any()
    assert sparse_heads(replace(codes, bits=bits), held_out, necs=[16]).necs == (14,)


def test_fits_go_on_to_the_end(parts):
    codes, _ = parts
    loss = Loss(codes.bits, codes.labels, 4, ridge=1e-6)
    weights, bias = fit_dense(loss)
    further, _ = fit_dense(loss, (weights, bias))
    assert loss(weights, bias)[0] < 1.1 * loss(further, bias)[0]
    for fit in (
        lambda: fit_dense(loss, iterations=2),
        lambda: fit_lasso(loss, 1e-3, iterations=2),
        lambda: fit_scale(loss, np.sign(codes.weights), np.zeros(4), iterations=2),
    ):
        with pytest.warns(UserWarning, match="2 iterations were not enough"):
            fit()


def test_a_fit_that_is_stuck_warns(parts):
    class Wrong(Loss):
        def __call__(self, weights, bias):
            value, *gradients = super().__call__(weights, bias)
            return value, *(-g for g in gradients)

    codes, _ = parts
    stuck = Wrong(codes.bits, codes.labels, 4)
    with pytest.warns(UserWarning, match="The per-class head of NEC 3 was not .* no step helps"):
        fit_dense(stuck, name="The per-class head of NEC 3")
    with pytest.warns(UserWarning, match=r"elastic net of strength 0\.01 .* no step helps"):
        fit_lasso(stuck, 0.01)
    # At a bound all slopes that push against it are none.
    with warnings.catch_warnings(action="error"):
        fit_lasso(Loss(codes.bits, codes.labels, 4), 0.02)


def test_warnings_say_which_head(parts, monkeypatch):
    def gives_up(function, start, **options):
        found = minimize(function, start, **options)
        found.status = 1
        return found

    monkeypatch.setattr("scipy.optimize.minimize", gives_up)
    with pytest.warns(UserWarning, match="not fitted to the end") as said:
        sparse_heads(*parts, necs=[2], random=[part.bits for part in parts])
    for name in ("elastic-net head", "per-class head", "ternary head", "head on random bits"):
        assert any(f"The {name} of NEC 2 " in str(each.message) for each in said), name


def test_masked_fit_keeps_zeros(parts):
    codes, _ = parts
    mask = RANDOM.random((16, 4)) < 0.3
    weights, _ = fit_dense(Loss(codes.bits, codes.labels, 4), mask=mask)
    assert not weights[~mask].any()
    assert weights[mask].any()


def test_factor_of_a_ternary_head_is_positive(parts):
    codes, _ = parts
    signs = np.sign(RANDOM.normal(size=(16, 4)))
    weights, _ = fit_scale(Loss(codes.bits, codes.labels, 4), signs, np.zeros(4))
    np.testing.assert_array_equal(np.sign(weights), signs)


def test_a_class_without_samples(parts):
    codes, held_out = parts
    weights = np.pad(codes.weights, ((0, 0), (0, 1)))
    five, test = (Codes(part.bits, weights, np.zeros(5), part.labels) for part in (codes, held_out))
    assert sparse_heads(five, test, necs=[2]).heads["per class"][0].accuracy == 1


def test_random_bits_are_balanced():
    first, second = random_bits(RANDOM.random((100, 4, 4, 1)), RANDOM.random((7, 4, 4, 1)), 9, 3)
    assert first.shape == (100, 9)
    assert second.shape == (7, 9)
    np.testing.assert_array_equal(first.mean(axis=0), 0.5)
    with pytest.raises(ValueError, match="same number"):
        random_bits(np.ones((2, 3)), np.ones((2, 4)), 5)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"necs": []}, "positive integers"),
        ({"necs": [0]}, "positive integers"),
        ({"necs": 5}, "necs=5. Expected positive integers"),
        ({"necs": [None]}, "positive integers"),
        ({"necs": [1.5]}, "positive integers"),
        ({"random": (np.ones((3, 2)), np.ones((300, 2)))}, r"shapes \(3, 2\) and \(300, 2\)"),
        ({"random": (np.ones((600, 3)), np.ones((300, 2)))}, r"Expected \(600, m\)"),
        ({"random": (np.ones((600, 2)), np.ones((300, 2)))}, "All random bits are the same"),
    ],
)
def test_errors(parts, wrong, message, monkeypatch):
    monkeypatch.setattr("keras_htaf.interpret.sparse.fit_dense", pytest.fail)  # before the work
    with pytest.raises(ValueError, match=message):
        sparse_heads(*parts, **wrong)


def test_errors_of_codes(parts):
    codes, held_out = parts
    one = codes.rows(codes.labels == 1)
    with pytest.raises(ValueError, match="one class only"):
        sparse_heads(one, held_out)
    with pytest.raises(ValueError, match="All bits are the same"):
        sparse_heads(replace(codes, bits=np.ones_like(codes.bits)), held_out)
    with pytest.raises(ValueError, match="no labels"):
        sparse_heads(Codes(codes.bits, codes.weights, codes.bias), held_out)
    with pytest.raises(ValueError, match="1 bits"):
        sparse_heads(codes, Codes([[1]], np.ones((1, 4)), np.zeros(4), [0]))


def test_scorecard_is_whole_and_says_what_it_costs(parts):
    codes, held_out = parts
    weights, bias = fit_dense(Loss(codes.bits, codes.labels, 4))
    fitted, test = (Codes(part.bits, weights, bias, part.labels) for part in (codes, held_out))
    card = scorecard(fitted, test, max_points=5)
    assert card.points.dtype.kind == "i"
    assert np.abs(card.points).max() <= 5
    assert card.accuracy == card.on(test).accuracy()
    assert card.head_accuracy == test.accuracy()
    assert card.cost == card.head_accuracy - card.accuracy
    assert card.agreement == np.mean(card.on(test).decisions == test.decisions)
    assert card.accuracy > 0.97
    lines = card.lines(0)
    assert [abs(p) for _, p in lines] == sorted((abs(p) for _, p in lines), reverse=True)
    assert card.text(0).startswith(f"0: start with {card.base[0]}")


def test_scorecard_of_whole_numbers_is_the_head():
    bits = RANDOM.random((200, 6)) < 0.5
    head = RANDOM.integers(-3, 4, (6, 3)), RANDOM.integers(-3, 4, 3)
    codes = Codes(bits, *head, labels=Codes(bits, *head).decisions)
    # Shifts of a bit for all classes change no decision; the scale 1 is among the 64.
    card = scorecard(codes, codes, max_points=8 * int(np.ptp(head[0])))
    assert card.accuracy == 1
    assert card.agreement == 1


def test_scorecard_errors():
    codes = Codes([[0], [1]], [[1.0, 1.0]], [0, 1], labels=[0, 1])
    with pytest.raises(ValueError, match="same weight for all classes"):
        scorecard(codes, codes)
    with pytest.raises(ValueError, match="max_points=0"):
        scorecard(codes, codes, max_points=0)
