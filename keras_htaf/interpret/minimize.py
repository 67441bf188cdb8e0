"""Boolean functions as the shortest OR of ANDs, exactly, for up to some twelve variables.

Among libraries, sympy's `SOPform` does not promise the shortest form and takes a third of a second
at 8 variables, and PyEDA's Espresso is a heuristic that no longer builds everywhere. Here arrays
find all prime implicants, and the integer solver HiGHS, in scipy, picks the fewest.
"""

from __future__ import annotations

import numpy as np

from keras_htaf.interpret.packages import needs

Term = tuple[tuple[int, bool], ...]
"""An AND: pairs of a variable's number, ascending, and the value that it must have."""

MOST_VARIABLES = 12
"""A cube leaves a variable 0, 1 or free: 12 of them have 3**12 = 531,441 cubes."""

_ANY = 2


def minimize(
    on: np.ndarray, care: np.ndarray | None = None, seconds: float = 10.0
) -> tuple[tuple[Term, ...], bool]:
    """The fewest ANDs whose OR is a function; among these, one with the fewest literals.

    Args:
        on: bool, one value for each of the 2**m codes. The codes count up in binary, variable 0
            being the highest digit, as `all_codes(m)` lists them.
        care: bool, like `on`; where it is False the result may have any value. Default: all True.
        seconds: Time after which the solver gives the best that it has. Default 10.

    Returns:
        `(terms, minimal)`: the ANDs, the shortest first, and whether fewer were proved impossible.
        No terms: never; one empty term: always.

    Raises:
        ValueError: If there are more than 12 variables, or not 2**m values.

    Example:

    >>> minimize(np.array([0, 1, 1, 1], bool))
    ((((0, True),), ((1, True),)), True)
    """
    on = np.asarray(on, bool)
    variables = on.size.bit_length() - 1
    if on.ndim != 1 or on.size != 2**variables or variables > MOST_VARIABLES:
        raise ValueError(
            f"Received a truth table of shape {on.shape}. Expected 2**m values of m <= "
            f"{MOST_VARIABLES} variables."
        )
    care = np.ones_like(on) if care is None else np.asarray(care, bool)
    wanted = np.flatnonzero(on & care)
    if not len(wanted):
        return (), True
    if not variables:
        return ((),), True
    primes = _prime_cubes((on | ~care).reshape((2,) * variables))
    digits = all_codes(variables)[wanted]
    covers = np.ones((len(primes), len(digits)), bool)
    for prime, digit in zip(primes.T[:, :, None], digits.T, strict=True):
        covers &= (prime == _ANY) | (prime == digit)
    primes, covers = primes[covers.any(axis=1)], covers[covers.any(axis=1)]
    chosen, minimal = _cover(covers, (primes != _ANY).sum(axis=1), seconds)
    terms = [
        tuple((int(i), bool(cube[i])) for i in np.flatnonzero(cube != _ANY))
        for cube in primes[chosen]
    ]
    terms.sort(key=lambda term: (len(term), [(i, not value) for i, value in term]))
    return tuple(terms), minimal


def all_codes(variables: int) -> np.ndarray:
    """All codes, counting up in binary: bool, `(2**variables, variables)`."""
    numbers = np.arange(2**variables)[:, None]
    return (numbers >> np.arange(variables)[::-1] & 1).astype(bool)


def holds(terms: tuple[Term, ...], bits: np.ndarray) -> np.ndarray:
    """Where an OR of ANDs is true: bool `(n,)` for bool `(n, m)`."""
    result = np.zeros(len(bits), bool)
    for term in terms:
        columns = [i for i, _ in term]
        result |= (bits[:, columns] == [value for _, value in term]).all(axis=1)
    return result


def _prime_cubes(may: np.ndarray) -> np.ndarray:
    """The largest cubes within a set of codes `(2,) * m`, as rows of 0, 1 and _ANY."""
    inside = may
    for axis in range(may.ndim):  # a cube with the axis free is inside if both its halves are
        both = inside.take([0], axis) & inside.take([1], axis)
        inside = np.concatenate([inside, both], axis)
    prime = inside.copy()
    for axis in range(may.ndim):
        freed = inside.take([_ANY], axis)
        prime &= ~np.concatenate([freed, freed, np.zeros_like(freed)], axis)
    return np.argwhere(prime)


def _cover(covers: np.ndarray, literals: np.ndarray, seconds: float) -> tuple[np.ndarray, bool]:
    """Which of the rows together cover all columns, at the least number, then literals."""
    only = covers[:, covers.sum(axis=0) == 1].any(axis=1)
    missing = ~covers[only].any(axis=0)
    if not missing.any():
        return np.flatnonzero(only), True
    rest = np.flatnonzero(~only)
    needs("scipy", "Finding the shortest rules")
    from scipy.optimize import Bounds, LinearConstraint, milp
    from scipy.sparse import csr_array

    table = np.unique(covers[np.ix_(rest, missing)], axis=1)
    cost = literals.sum() + 1.0 + literals[rest]
    found = milp(
        cost,
        integrality=np.ones(len(rest)),
        bounds=Bounds(0, 1),
        constraints=LinearConstraint(csr_array(table.T.astype(float)), lb=1),
        options={"time_limit": seconds, "mip_rel_gap": 0.0},
    )
    if found.x is None:
        return np.union1d(np.flatnonzero(only), rest[_greedy(table)]), False
    picked = np.flatnonzero(only | np.isin(np.arange(len(covers)), rest[found.x > 0.5]))
    return picked, found.status == 0


def _greedy(table: np.ndarray) -> list[int]:
    """Rows that cover all columns, each time the one that covers the most new ones."""
    chosen, missing = [], np.ones(table.shape[1], bool)
    while missing.any():
        chosen.append(int(table[:, missing].sum(axis=1).argmax()))
        missing &= ~table[chosen[-1]]
    return chosen
