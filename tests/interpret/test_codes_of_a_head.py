"""Codes: what they accept, and that their sums are exact."""

import numpy as np
import pytest
from code_cases import small_codes
from hypothesis import given, settings
from hypothesis import strategies as st

from keras_htaf.interpret import Codes
from keras_htaf.interpret.codes import on_grid

HEAD = np.ones((2, 3)), np.zeros(3)
BITS = np.eye(2)


@settings(max_examples=40, deadline=None, derandomize=True)
@given(small_codes(most_bits=14), st.integers(0, 999))
def test_sums_are_exact_in_any_order(codes, seed):
    order = np.random.default_rng(seed).permutation(codes.num_bits)
    expected = np.cumsum(
        np.vstack([codes.weights[order] * codes.bits[0, order, None], codes.bias]), axis=0
    )[-1]
    assert np.array_equal(codes.logits[0], expected)
    assert (codes.logits / codes.grid % 1 == 0).all()
    assert codes.decisions[0] == np.flatnonzero(expected == expected.max())[0]
    again, bias = on_grid(codes.weights, codes.bias)
    assert np.array_equal(again, codes.weights)
    assert np.array_equal(bias, codes.bias)


def test_float32_weights_are_kept():
    rng = np.random.default_rng(0)
    weights = (rng.normal(size=(256, 10)) * 10.0 ** rng.uniform(-4, 0, (256, 10))).astype("float32")
    found, bias = on_grid(weights, np.full(10, np.float32(0.1)))
    kept = np.abs(weights) > 1e-5 * np.abs(weights).max()
    assert kept.mean() > 0.8
    assert np.array_equal(found[kept], weights[kept].astype("float64"))
    assert bias[0] == np.float32(0.1)
    np.testing.assert_allclose(found, weights, atol=1e-12 * np.abs(weights).max())


def test_defaults_and_rows():
    codes = Codes(BITS, *HEAD, labels=[[2], [1]], z=BITS - 0.5)
    assert codes.class_names == ("0", "1", "2")
    assert codes.concept_names == ("bit 0", "bit 1")
    assert codes.labels.tolist() == [2, 1]
    assert codes.usage.tolist() == [0.5, 0.5]
    assert codes.packed.tolist() == [[128], [64]]
    second = codes.rows([1])
    assert (len(second), second.labels.tolist(), second.smooth) == (1, [1], None)
    assert Codes(BITS, *HEAD, labels=np.eye(3)[[0, 2]]).labels.tolist() == [0, 2]
    zero = Codes(BITS, np.zeros((2, 2)), np.zeros(2))
    assert zero.decisions.tolist() == [0, 0]
    with pytest.raises(ValueError, match="no smooth bits"):
        codes.smooth_decisions  # noqa: B018
    with pytest.raises(ValueError, match="no labels"):
        zero.accuracy()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"bits": np.zeros((0, 2))}, "at least one"),
        ({"bits": np.zeros(2)}, r"shape \(2,\)"),
        ({"bits": 2 * BITS}, "other than 0 and 1"),
        ({"bits": np.full((2, 2), np.nan)}, "other than 0 and 1"),
        ({"bits": np.eye(3)}, "3 bits"),
        ({"weights": np.ones((2, 1)), "bias": np.zeros(1)}, "two classes"),
        ({"weights": np.ones(2)}, r"weights of shape \(2,\)"),
        ({"bias": np.zeros(2)}, r"bias of shape \(2,\)"),
        ({"bias": [0, np.nan, 0]}, "bias with 1 values"),
        ({"weights": np.full((2, 3), np.inf)}, "weights with 6 values"),
        ({"weights": np.full((2, 3), 1e250)}, "rescale"),
        ({"weights": [["a"] * 3] * 2}, "Expected numbers"),
        ({"labels": [0]}, "2 samples"),
        ({"labels": [0, 3]}, "from 0 to 2"),
        ({"labels": [0, -1]}, "from 0 to 2"),
        ({"labels": [0.5, 1]}, "from 0 to 2"),
        ({"labels": [np.nan, 1]}, "from 0 to 2"),
        ({"labels": ["a", "b"]}, "from 0 to 2"),
        ({"labels": np.ones((2, 3))}, r"shape \(2, 3\)"),
        ({"z": np.zeros((2, 3))}, "z of shape"),
        ({"smooth": np.full((2, 2), np.nan)}, "smooth with 4 values"),
        ({"class_names": ["a"]}, "Expected 3 names"),
        ({"concept_names": "ab"}, "Expected 2 names"),
    ],
)
def test_bad_codes(changes, message):
    fields = {"bits": BITS, "weights": HEAD[0], "bias": HEAD[1], **changes}
    with pytest.raises(ValueError, match=message):
        Codes(**fields)
