"""Codes at work: mean average precision against brute force; patterns of classes and AUROC."""

import itertools
import json

import numpy as np
import pytest

from keras_htaf.interpret.codes import Codes
from keras_htaf.interpret.monitor import Monitor, auroc, fit_monitor
from keras_htaf.interpret.retrieval import mean_average_precision

RANDOM = np.random.default_rng(0)


def some(samples, bits, classes=3):
    labels = RANDOM.integers(classes, size=samples)
    return Codes(
        RANDOM.random((samples, bits)) < 0.5, np.ones((bits, classes)), np.zeros(classes), labels
    )


def brute(queries, database, k, alone):
    """The mean over all orders of the database, one query after the other."""
    found = []
    for i, (code, label) in enumerate(zip(queries.bits, queries.labels, strict=True)):
        rows = [j for j in range(len(database)) if not (alone and i == j)]
        total = sum(database.labels[j] == label for j in rows)
        if not total:
            continue
        values = []
        for order in itertools.permutations(rows):
            near = sorted(order, key=lambda j: int((database.bits[j] != code).sum()))[:k]
            hits = [database.labels[j] == label for j in near]
            ranked = [sum(hits[: r + 1]) / (r + 1) for r in range(len(hits)) if hits[r]]
            values.append(sum(ranked) / min(total, k))
        found.append(np.mean(values))
    return np.mean(found)


@pytest.mark.parametrize("k", [1, 3, 5])
@pytest.mark.parametrize("alone", [True, False])
def test_precision_is_the_mean_over_all_orders_of_ties(k, alone):
    database = some(6, 2)
    queries = database if alone else some(5, 2)
    mine = mean_average_precision(queries, None if alone else database, k=k)
    assert mine == pytest.approx(brute(queries, database, k, alone))


def test_precision_without_ties_is_the_usual_one():
    bits = np.tri(40, 40, -1, dtype=bool)[RANDOM.permutation(40)]
    database = Codes(bits, np.ones((40, 2)), [0, 0], RANDOM.integers(2, size=40))
    query = Codes(np.zeros((1, 40), bool), np.ones((40, 2)), [0, 0], [1])
    hits = database.labels[np.argsort(bits.sum(axis=1))][:10] == 1
    expected = (hits * hits.cumsum() / np.arange(1, 11)).sum() / 10
    assert mean_average_precision(query, database, k=10) == pytest.approx(expected)


def test_precision_of_many_samples_and_bits():
    """More than one part, bits that fill no byte, and chance level for random codes."""
    queries = some(3000, 13, 4)
    value = mean_average_precision(queries, k=50)
    assert 0.06 < value < 0.09  # a quarter squared, and a little for luck at the first ranks
    means = np.eye(4, dtype=bool).repeat(4, axis=1)[queries.labels]
    assert mean_average_precision(Codes(means, np.ones((16, 4)), np.zeros(4), queries.labels)) == 1


def test_precision_errors():
    codes = some(5, 3)
    with pytest.raises(ValueError, match="at most 4"):
        mean_average_precision(codes, k=5)
    with pytest.raises(ValueError, match="k=0"):
        mean_average_precision(codes, k=0)
    with pytest.raises(ValueError, match="queries of 3 bits"):
        mean_average_precision(codes, some(5, 4), k=1)
    with pytest.raises(ValueError, match="no labels"):
        mean_average_precision(Codes(codes.bits, codes.weights, codes.bias), k=1)
    alone = Codes(np.eye(3), np.ones((3, 3)), np.zeros(3), [0, 1, 2])
    with pytest.raises(ValueError, match="No query"):
        mean_average_precision(alone, k=1)


@pytest.fixture(scope="module")
def known():
    """Two classes with three bits each that are on, and four free ones."""
    labels = RANDOM.integers(2, size=2000)
    bits = RANDOM.random((2000, 10)) < 0.5
    bits[:, :3], bits[:, 3:6] = (labels == 0)[:, None], (labels == 1)[:, None]
    bits ^= np.where(np.arange(10) < 6, RANDOM.random((2000, 10)) < 0.005, False)
    weights = np.zeros((10, 2))
    weights[:3, 0] = weights[3:6, 1] = 1
    codes = Codes(bits, weights, [0, 0], labels, class_names=["a", "b"])
    return codes.rows(slice(1000)), codes.rows(slice(1000, None))


def test_patterns_scores_and_flags(known, tmp_path):
    monitor = fit_monitor(*known)
    assert monitor.patterns.tolist() == [[1] * 3 + [0] * 3 + [-1] * 4, [0] * 3 + [1] * 3 + [-1] * 4]
    code = np.array([[1, 1, 0, 0, 0, 1, 0, 1, 1, 0]], bool)
    np.testing.assert_allclose(monitor.distances(code), [[2 / 6, 4 / 6]])
    np.testing.assert_allclose(monitor.score(code), [2 / 6])
    strange = Codes(RANDOM.random((500, 10)) < 0.5, known[0].weights, [0, 0])
    watch = monitor.evaluate(known[1], strange)
    assert watch.false_alarms <= 0.05
    assert watch.false_alarms == monitor.flags(known[1].bits).mean()
    assert watch.caught == monitor.flags(strange.bits).mean()
    assert watch.auroc > 0.95
    inside, outside = (monitor.score(codes.bits) for codes in (known[1], strange))
    pairs = (outside > inside[:, None]) + 0.5 * (outside == inside[:, None])
    assert watch.auroc == pytest.approx(pairs.mean())

    monitor.save(tmp_path / "monitor.json")
    loaded = Monitor.load(tmp_path / "monitor.json")
    np.testing.assert_array_equal(loaded.patterns, monitor.patterns)
    assert (loaded.threshold, loaded.class_names) == (monitor.threshold, ("a", "b"))


def test_false_alarms_are_at_most_as_many_as_asked_for(known):
    for rate in (0.0, 0.01, 0.2):
        monitor = fit_monitor(*known, false_alarms=rate)
        assert monitor.flags(known[1].bits).mean() <= rate


def test_classes_without_pattern(known):
    codes = Codes(known[0].bits, np.pad(known[0].weights, ((0, 0), (0, 1))), [0, 0, -9])
    monitor = fit_monitor(codes, codes)
    assert np.isinf(monitor.distances(codes.bits[:2])[:, 2]).all()
    assert np.isfinite(monitor.score(codes.bits)).all()


@pytest.mark.parametrize("share", [0.6, 0.7, 0.8, 0.9, 0.98])
def test_a_bit_and_its_opposite_are_treated_alike(share):
    """On for exactly the share of a class, or off for it; and on one sample fewer."""
    on = np.arange(100) < round(100 * share)
    bits = np.stack([on, ~on, on & (np.arange(100) > 0), ~on | (np.arange(100) == 0)], axis=1)
    codes = Codes(bits, np.zeros((4, 2)), [1, 0])
    assert fit_monitor(codes, codes, share=share).patterns[0].tolist() == [1, 0, -1, -1]


def test_auroc_of_equal_and_separate_scores():
    assert auroc(np.ones(3), np.ones(5)) == 0.5
    assert auroc(np.zeros(3), np.ones(5)) == 1


def test_monitor_errors(known, tmp_path):
    with pytest.raises(ValueError, match="share=0"):
        fit_monitor(*known, share=0)
    with pytest.raises(ValueError, match="false_alarms=1"):
        fit_monitor(*known, false_alarms=1)
    coins = some(400, 5, 2)
    with pytest.raises(ValueError, match="smaller share"):
        fit_monitor(coins, coins)
    with pytest.raises(ValueError, match=r"Expected \(n, 10\)"):
        fit_monitor(*known).score(np.zeros((2, 3)))
    file = tmp_path / "monitor.json"
    good = {"patterns": [[0, 1]], "threshold": 0.5, "class_names": ["a"]}
    for broken in ("[]", "{", "{}", *(json.dumps({**good, **w}) for w in WRONG)):
        file.write_text(broken)
        with pytest.raises(ValueError, match="holds no monitor"):
            Monitor.load(file)


WRONG = ({"patterns": [[2]]}, {"patterns": [0]}, {"class_names": []}, {"threshold": float("inf")})
