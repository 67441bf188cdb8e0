"""Health, code, certificates, classes, stability and purity, against plain loops."""

import json
from dataclasses import replace

import numpy as np
import pytest
from code_cases import small_codes
from hypothesis import given, settings
from hypothesis import strategies as st

from keras_htaf.interpret import Codes
from keras_htaf.interpret.certified import certify
from keras_htaf.interpret.classes import class_view
from keras_htaf.interpret.code import code_quality
from keras_htaf.interpret.correlation import phi
from keras_htaf.interpret.health import effective_rank, health
from keras_htaf.interpret.purity import purity
from keras_htaf.interpret.stability import change_of, compare, match

quick = settings(max_examples=40, deadline=None, derandomize=True)
RNG = np.random.default_rng(0)


def made(n=60, m=6, classes=3, seed=0):
    rng = np.random.default_rng(seed)
    z = rng.normal(size=(n, m)).astype("float32")
    return Codes(
        z > 0,
        rng.normal(size=(m, classes)),
        rng.normal(size=classes),
        labels=rng.integers(0, classes, n),
        z=z,
        smooth=1 / (1 + np.exp(-2 * z)),
    )


def test_phi_is_the_correlation():
    bits = RNG.random((200, 5)) < [0.1, 0.3, 0.5, 0.7, 0.9]
    np.testing.assert_allclose(phi(bits, bits), np.corrcoef(bits.T), atol=1e-12)
    many = RNG.random((100_000, 2)) < 0.3
    assert phi(many, ~many).diagonal().tolist() == [-1, -1]
    assert phi(many, many).diagonal().tolist() == [1, 1]


def test_health():
    n = 400
    z = RNG.normal(size=(n, 6))
    z[:, 1] = -3 * z[:, 0]  # a complement
    z[:, 2] = np.where(np.arange(n) % 2, 0.01, -2)
    z[:, 4], z[:, 5] = -1, 2
    found = health(Codes(z > 0, np.ones((6, 2)), np.zeros(2), z=z))
    assert found.dead.tolist() == [False] * 4 + [True, False]
    assert found.always_on.tolist() == [False] * 5 + [True]
    assert found.partner[:2].tolist() == [1, 0]
    assert found.redundancy[:2].tolist() == [1, 1]
    assert found.complement[:2].all()
    assert found.partner[4:].tolist() == [-1, -1]
    assert found.redundancy[4:].tolist() == [0, 0]
    np.testing.assert_allclose(found.entropy[2:], [1, found.entropy[3], 0, 0])
    np.testing.assert_allclose(found.ambiguous[[2, 4, 5]], [0.5, 0, 0])
    assert 0.04 < found.ambiguous[0] < 0.13
    assert 2.5 < found.effective_bits < 3.01
    rows = found.table()
    assert rows[1]["partner"] == "bit 0"
    assert rows[5]["partner"] is None
    json.dumps(found.to_dict(), allow_nan=False)
    constant = health(Codes(np.ones((3, 2)), np.ones((2, 2)), np.zeros(2)))
    assert constant.effective_bits == 0
    assert constant.table()[0]["ambiguous"] is None


def test_effective_rank():
    np.testing.assert_allclose(effective_rank(np.eye(7)), 7)
    np.testing.assert_allclose(effective_rank(np.ones((4, 4))), 1)


@quick
@given(small_codes(most_bits=3, samples=12))
def test_code_quality(codes):
    found = code_quality(codes, folds=12)  # which is: leave one out
    keys = [tuple(row) for row in codes.bits.tolist()]
    of_key = {
        key: [int(y) for k, y in zip(keys, codes.labels, strict=True) if k == key] for key in keys
    }
    assert found.unique == len(of_key)
    most = sum(max(ys.count(y) for y in ys) for ys in of_key.values())
    assert found.ceiling == most / 12
    assert found.single == sum(len(ys) == 1 for ys in of_key.values()) / 12
    assert found.accuracy <= found.ceiling
    right = seen = 0
    for i, (key, label) in enumerate(zip(keys, codes.labels, strict=True)):
        others = [int(y) for j, y in enumerate(codes.labels) if j != i]
        same = [int(y) for j, y in enumerate(codes.labels) if j != i and keys[j] == key]
        votes = same or others
        right += label == min(range(codes.num_classes), key=lambda y: (-votes.count(y), y))
        seen += bool(same)
    assert (found.held_out, found.held_out_seen) == (right / 12, seen / 12)
    assert found.completeness is None


def test_completeness():
    codes = made()
    found = code_quality(codes)
    assert found.smooth_accuracy == np.mean(codes.smooth_decisions == codes.labels)
    better = code_quality(codes, reference=0.9)
    best = max(better.accuracy, better.held_out)
    np.testing.assert_allclose(better.completeness, (best - better.chance) / (0.9 - better.chance))
    assert code_quality(codes, reference=found.chance).completeness is None
    with pytest.raises(ValueError, match=r"reference=1\.5"):
        code_quality(codes, reference=1.5)
    one_class = replace(codes, labels=np.zeros(60))
    assert code_quality(one_class).chance == 1
    assert code_quality(one_class).completeness is None
    assert code_quality(codes.rows([3])).folds == 1


@settings(quick, max_examples=150)
@given(small_codes(samples=8), st.integers(0, 999), st.sampled_from([1e-7, 0.02, 0.2, 0.7]))
def test_certified_samples_never_disagree(codes, seed, softness):
    rng = np.random.default_rng(seed)
    by = softness * rng.random(codes.bits.shape)
    codes = replace(codes, smooth=np.where(codes.bits, 1 - by, by))
    found = certify(codes)
    agree = codes.smooth_decisions == codes.decisions
    assert agree[found.certified].all()
    assert found.share <= found.agreement == agree.mean()
    # The bound itself, and that it is sharp: where it fails, softness as large can tie or worse.
    for i, y in enumerate(codes.decisions):
        gaps = codes.weights[:, [y]] - codes.weights
        soft = np.abs(codes.smooth[i].astype("float64") - codes.bits[i])
        slack = codes.logits[i, y] - codes.logits[i] - soft @ np.abs(gaps)
        np.testing.assert_allclose(found.slack[i], np.delete(slack, y).min(), atol=1e-9)


def test_exact_bits_are_certified():
    codes = made()
    codes = replace(codes, smooth=codes.bits)
    assert certify(codes).share == 1


@quick
@given(small_codes(most_bits=4, samples=9))
def test_class_view(codes):
    found = class_view(codes)
    n = len(codes)
    for k in range(codes.num_classes):
        mine = codes.bits[codes.labels == k]
        assert found.samples[k] == len(mine)
        if len(mine):
            np.testing.assert_allclose(found.given_class[k], mine.mean(axis=0))
        else:
            assert np.isnan(found.given_class[k]).all()
    for j in range(codes.num_bits):
        information = 0.0
        for value in (False, True):
            for k in range(codes.num_classes):
                joint = np.mean((codes.bits[:, j] == value) & (codes.labels == k))
                apart = np.mean(codes.bits[:, j] == value) * np.mean(codes.labels == k)
                information += joint * np.log2(joint / apart) if joint else 0.0
        np.testing.assert_allclose(found.information[j], information, atol=1e-12)
        probabilities, changed = [], codes.bits.copy()
        for value in (False, True):
            changed[:, j] = value
            powers = np.exp(codes.logits_of(changed))
            probabilities.append(powers / powers.sum(axis=1, keepdims=True))
        effect = (probabilities[1] - probabilities[0]).mean(axis=0)
        np.testing.assert_allclose(found.effect[:, j], effect, atol=1e-12)
        changed[:, j] = ~codes.bits[:, j]
        assert found.flip_rate[j] == np.sum(codes.decide(changed) != codes.decisions) / n
    assert found.information.max() <= found.class_entropy + 1e-12
    json.dumps(found.to_dict(), allow_nan=False)
    assert len(found.table()) == codes.num_bits


def test_contrast_splits_the_margin():
    codes = replace(made(), class_names=["a", "b", "c"])
    view = class_view(codes)
    found = view.contrast("a", 2)
    margin = codes.logits[:, 0] - codes.logits[:, 2]
    between = margin[codes.labels == 0].mean() - margin[codes.labels == 2].mean()
    np.testing.assert_allclose(found.separation.sum(), between)
    assert (np.diff(found.separation) <= 0).all()
    assert np.array_equal(found.weight, (codes.weights[:, 0] - codes.weights[:, 2])[found.bits])
    for pair, message in (
        ((0, 0), "twice"),
        (("a", "d"), "'d'"),
        ((0, 3), "class 3"),
        ((True, 0), "True"),
    ):
        with pytest.raises(ValueError, match=message):
            view.contrast(*pair)
    alone = class_view(replace(codes, labels=np.zeros(60)))
    assert alone.class_entropy == 0
    assert not alone.information.any()
    with pytest.raises(ValueError, match="'b' has no samples"):
        alone.contrast(0, 1)


def test_compare():
    before = made()
    after = replace(before, bits=before.bits ^ (np.arange(6) == 2))
    found = compare(before, after)
    assert found.flips.tolist() == [0, 0, 1, 0, 0, 0]
    assert found.bits_changed == 1
    assert found.decisions_changed == np.mean(before.decisions != after.decisions)
    p = before.usage[0]
    np.testing.assert_allclose(found.by_chance[0], 2 * p * (1 - p))
    assert len(found.table()) == 6
    with pytest.raises(ValueError, match="same samples"):
        compare(before, after.rows(slice(5)))


def test_changes():
    x = np.zeros((50, 8, 8, 1), "float32")
    noisy = change_of(0.5)(x, np.random.default_rng(0))
    assert 0.45 < noisy.std() < 0.55
    assert noisy.dtype == "float32"
    assert change_of("shift")(x, RNG).shape == x.shape
    for wrong in (-1.0, np.inf, "twist", None):
        with pytest.raises(ValueError, match=r"Received|Unknown"):
            change_of(wrong)


def test_match_finds_the_bits_again():
    rng = np.random.default_rng(1)
    first = rng.random((500, 5)) < 0.4
    order, signs = rng.permutation(5), np.array([0, 1, 0, 1, 1], bool)
    noise = rng.random((500, 6)) < 0.02
    second = np.hstack([first[:, order] ^ signs, rng.random((500, 1)) < 0.5]) ^ noise
    found = match(first, second)
    assert all(order[b] == a for a, b in zip(found.first, found.second, strict=True))
    assert np.array_equal(found.phi < 0, signs[found.second])
    assert found.mean > 0.9 > 0.2 > found.by_chance
    assert len(found.table()) == 5
    with pytest.raises(ValueError, match="same samples"):
        match(first, second[:9])


def test_purity():
    rng = np.random.default_rng(2)
    n = 300
    known = rng.random((n, 3)) < [0.5, 0.2, 0.0]
    bits = np.stack([rng.random(n) < 0.5, known[:, 1], ~known[:, 0], np.ones(n)], axis=1) > 0
    bits[:20, 2] ^= True
    found = purity(bits, known, ["round", "red", "none"], shuffles=19)
    for a in range(3):
        for j in range(3):
            scores = []
            for detector in (bits[:, j], ~bits[:, j]):
                hits = np.sum(detector & known[:, a])
                scores.append(2 * hits / (detector.sum() + known[:, a].sum()))
            np.testing.assert_allclose(found.f1[a, j], max(scores))
    assert not found.f1[:, 3].any()  # a bit that never varies
    assert found.best[:2].tolist() == [2, 1]
    assert found.negated[0, 2]
    detector = ~bits[:, 2]
    hits = np.sum(detector & known[:, 0])
    np.testing.assert_allclose(found.precision[0], hits / detector.sum())
    np.testing.assert_allclose(found.recall[0], hits / known[:, 0].sum())
    np.testing.assert_allclose(found.lift[:2], found.precision[:2] / known.mean(axis=0)[:2])
    assert found.lift[2] == found.best_f1[2] == found.recall[2] == 0
    assert found.matched[:2].tolist() == [2, 1]
    assert found.p_value.tolist() == [0.05, 0.05, 1]
    assert (found.null_high[:2] < 0.75 * found.best_f1[:2]).all()
    assert [row["bit"] for row in found.table()][:2] == ["bit 2", "bit 1"]
    few = purity(bits[:, :1], known)
    assert np.sum(few.matched >= 0) == 1
    assert few.attribute_names == ("attribute 0", "attribute 1", "attribute 2")
    json.dumps(few.to_dict(), allow_nan=False)


@pytest.mark.parametrize(
    ("attributes", "names", "message"),
    [
        (np.zeros(9), None, "one row for each sample"),
        (np.full(10, 2), None, "other than 0 and 1"),
        (np.full(10, np.nan), None, "other than 0 and 1"),
        (np.zeros((10, 2)), ["a"], "Expected 2 names"),
        (np.zeros((10, 0)), None, "one row for each sample"),
    ],
)
def test_bad_attributes(attributes, names, message):
    with pytest.raises(ValueError, match=message):
        purity(np.eye(10), attributes, names)
