"""Small heads and codes with all that is awkward in them, and what enumeration says of them."""

import numpy as np
from hypothesis import strategies as st

from keras_htaf.interpret import Codes


@st.composite
def small_codes(draw, most_bits=8, most_classes=5, samples=6):
    """Codes with labels; ties, zero weights and equal classes are frequent."""
    m = draw(st.integers(1, most_bits))
    classes = draw(st.integers(2, most_classes))
    numbers = st.integers(-3, 3)
    weights = draw(st.lists(numbers, min_size=m * classes, max_size=m * classes))
    weights = np.array(weights, "float64").reshape(m, classes)
    bias = np.array(draw(st.lists(numbers, min_size=classes, max_size=classes)), "float64")
    kind = draw(st.sampled_from(["whole", "tenths", "reals", "equal classes", "far apart"]))
    rng = np.random.default_rng(draw(st.integers(0, 2**16)))
    if kind == "tenths":
        weights, bias = 0.1 * weights, 0.1 * bias
    elif kind == "reals":
        weights = weights * rng.normal(size=weights.shape).astype("float32")
    elif kind == "equal classes":
        weights[:, -1], bias[-1] = weights[:, 0], bias[0]
    elif kind == "far apart":
        weights *= 10.0 ** rng.integers(-8, 1, size=(m, 1))
    bits = rng.integers(0, 2, size=(samples, m)).astype(bool)
    return Codes(bits, weights, bias, labels=rng.integers(0, classes, samples))


def all_codes(m):
    """Every code of m bits, (2**m, m) bool; row i has bit j set where i has."""
    return (np.arange(2**m)[:, None] >> np.arange(m) & 1).astype(bool)


def number(bits):
    """The row of `all_codes` that a code is."""
    return int(np.dot(bits, 1 << np.arange(len(bits))))


def sufficient_table(codes, bits):
    """Whether each set of bits (its members as a code) forces the decision, (2**m,) bool.

    A set does not if a code that is decided otherwise differs from `bits` outside it only.
    """
    everything = all_codes(codes.num_bits)
    decisions = codes.decide(everything)
    start = number(bits)
    spoiled = np.zeros(len(everything), bool)
    spoiled[np.flatnonzero(decisions != decisions[start]) ^ start] = True
    for j in range(codes.num_bits):  # a difference within a set is one within each larger set
        larger = np.flatnonzero(np.arange(len(spoiled)) >> j & 1)
        spoiled[larger] |= spoiled[larger ^ (1 << j)]
    return ~spoiled[::-1]  # of the complement: what is outside the set


def fewest_flips(codes, bits):
    """The distance of the nearest code that is decided otherwise; infinite if there is none."""
    everything = all_codes(codes.num_bits)
    others = codes.decide(everything) != codes.decide(bits)
    return (everything[others] != bits).sum(axis=1).min() if others.any() else np.inf
