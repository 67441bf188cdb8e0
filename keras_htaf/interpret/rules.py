"""When a model decides for a class, as rules on its bits."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from keras_htaf.interpret.codes import Codes, names_of
from keras_htaf.interpret.heads import Loss, fit_dense
from keras_htaf.interpret.minimize import MOST_VARIABLES, Term, all_codes, holds, minimize
from keras_htaf.interpret.packages import needs
from keras_htaf.interpret.purity import as_attributes
from keras_htaf.interpret.results import Result

UNSEEN = ("decided", "free")


@dataclass(frozen=True)
class Rule(Result):
    """When a model decides for one class: an OR of ANDs of bits.

    Attributes:
        class_index: The class.
        terms: The ANDs, pairs of the number of a bit and the value that it must have.
        exact: Whether the rule was compared with the model on every code that counts, and is it.
        minimal: Whether it was proved that no rule with fewer ANDs (then literals) is the same.
        precision: Of the samples on which the rule holds, the share for which the model decides
            for the class; NaN where it holds on none.
        coverage: Of the samples for which the model decides for the class, the share on which the
            rule holds; NaN where there are none.
    """

    class_index: int
    terms: tuple[Term, ...]
    exact: bool
    minimal: bool
    precision: float
    coverage: float

    def __call__(self, bits: np.ndarray) -> np.ndarray:
        """Where the rule holds: bool `(n,)` for bits `(n, m)`."""
        return holds(self.terms, np.asarray(bits, bool))

    @property
    def num_literals(self) -> int:
        """Length of the rule: its literals, counted in each AND."""
        return sum(map(len, self.terms))

    def text(self, names: tuple[str, ...]) -> str:
        """The rule in words, with these names of the bits."""
        if not self.terms:
            return "never"
        ands = [
            " and ".join(names[i] if value else f"not {names[i]}" for i, value in term) or "always"
            for term in self.terms
        ]
        if len(ands) == 1:
            return ands[0]
        return " or ".join(f"({a})" if " and " in a else a for a in ands)


@dataclass(frozen=True)
class TruthTable(Result):
    """What a head decides on every code of the bits that it uses.

    Attributes:
        bits: Numbers of those bits, `(u,)`.
        codes: bool, `(2**u, u)`, counting up in binary.
        decisions: The class that the head decides for on each code, `(2**u,)`.
        counts: How many samples have the code, `(2**u,)`.
    """

    bits: np.ndarray
    codes: np.ndarray
    decisions: np.ndarray
    counts: np.ndarray


@dataclass(frozen=True)
class RuleSet(Result):
    """One rule for each class.

    Attributes:
        rules: In the order of the classes.
        exact: Whether all rules together are the model on every code that counts.
        unseen: Whether codes that no sample has count as the model decides ("decided") or not at
            all ("free").
        fidelity: Share of the samples on which exactly one rule holds and its class is the model's.
        covered: Share of the samples on which exactly one rule holds.
        table: The truth table; None where the head uses too many bits for one.
        names: Names of all bits.
        class_names: Names of the classes.
    """

    rules: tuple[Rule, ...]
    exact: bool
    unseen: str
    fidelity: float
    covered: float
    table: TruthTable | None
    names: tuple[str, ...]
    class_names: tuple[str, ...]

    def __getitem__(self, class_index: int) -> Rule:
        return self.rules[class_index]

    def text(self) -> str:
        """All rules in words, and how far they are the model."""
        lines = [f"{self.class_names[r.class_index]}: {r.text(self.names)}" for r in self.rules]
        on = "every code" if self.unseen == "decided" else "every code of the samples"
        claim = f"exactly the model, on {on}" if self.exact else "not exact"
        return "\n".join([*lines, f"({claim}; same decision on {self.fidelity:.1%} of samples)"])


def find_rules(
    codes: Codes,
    *,
    held_out: Codes | None = None,
    unseen: str = "decided",
    max_bits: int = MOST_VARIABLES,
    max_leaves: int = 8,
    seconds: float = 10.0,
) -> RuleSet:
    """The rules by which a linear head on bits decides.

    A bit is used if its weights are not the same for all classes. Up to `max_bits` used bits, the
    truth table is written out and each class's part of it minimised (the fewest ANDs, then the
    fewest literals): such rules are the model. For more, each class gets a decision tree with few
    leaves (scikit-learn), fitted to the model's decisions on `codes`, whose own truth table is
    minimised; how far the result is the model is measured on `held_out`.

    Args:
        codes: Bits of samples, and the head.
        held_out: The samples that precision, coverage and fidelity are measured on. Default:
            `codes` again, which flatters trees.
        unseen: `"decided"` (default): the rules are right on every code there can be. `"free"`:
            on those that samples have; shorter where concepts exclude each other.
        max_bits: Up to how many used bits rules are exact, at most 12. Default 12.
        max_leaves: Leaves of a tree, from 2 to 13. Default 8.
        seconds: For minimising one class's rule; after that it is exact but may not be the
            shortest. Default 10.

    Returns:
        A `RuleSet`.

    Raises:
        ValueError: If an option is out of range, or `held_out` has another number of bits.
        ImportError: If scipy or scikit-learn is needed and missing.

    Example:

    >>> codes = Codes(
    ...     [[0, 1], [1, 1]], [[0, 1], [0, 1]], [1.5, 0], concept_names=["red", "large"]
    ... )
    >>> print(find_rules(codes).text())
    0: not red or not large
    1: red and large
    (exactly the model, on every code; same decision on 100.0% of samples)
    """
    held_out = codes if held_out is None else held_out
    if unseen not in UNSEEN:
        raise ValueError(f"Received unseen={unseen!r}. Expected one of {UNSEEN}.")
    if not 0 <= max_bits <= MOST_VARIABLES or not 2 <= max_leaves <= MOST_VARIABLES + 1:
        raise ValueError(
            f"Received max_bits={max_bits!r} and max_leaves={max_leaves!r}. Expected at most "
            f"{MOST_VARIABLES} bits, and 2 to {MOST_VARIABLES + 1} leaves."
        )
    if held_out.num_bits != codes.num_bits:
        raise ValueError(
            f"Received held-out codes of {held_out.num_bits} bits. Expected {codes.num_bits}."
        )
    table = truth_table(codes) if len(used_bits(codes)) <= max_bits else None
    found = [
        _tree(codes.bits, codes.decisions == k, max_leaves, seconds)
        if table is None
        else _minimal(table, k, unseen, seconds)
        for k in range(codes.num_classes)
    ]
    unseen = "free" if table is None else unseen
    return _measured(found, held_out.bits, codes.decide(held_out.bits), codes, unseen, table)


def attribute_rules(
    codes: Codes,
    attributes: np.ndarray,
    names: Sequence[str] | None = None,
    *,
    held_out: tuple[Codes, np.ndarray] | None = None,
    **options,
) -> RuleSet:
    """The rules, in known attributes, that a model's decisions amount to.

    A linear head on the attributes is fitted to what the model decides (not to the labels), and the
    rules of that head are found. They are about the world and so never exactly the model; how far
    they are is measured on `held_out`.

    Args:
        codes: Bits of samples, and the model's head.
        attributes: 0 and 1, `(n, a)`.
        names: Of the attributes; `None`: "attribute 0", ...
        held_out: Codes and as many attributes to measure on. Default: the same again.
        options: For `find_rules`; `unseen` is `"free"` unless given, since attributes often exclude
            each other.

    Returns:
        A `RuleSet` whose `names` are the attributes'.

    Raises:
        ValueError: If the model decides for a single class, attributes or names do not fit, or an
            option is out of range.
        ImportError: If scipy, or for many attributes scikit-learn, is missing.

    Example:

    >>> attributes = np.array([[0, 0], [0, 1], [1, 0], [1, 1]] * 9, bool)
    >>> codes = Codes(attributes.all(axis=1)[:, None], [[0.0, 1.0]], [0.5, 0.0])
    >>> print(attribute_rules(codes, attributes, ("red", "large")).text())
    0: not red or not large
    1: red and large
    (not exact; same decision on 100.0% of samples)
    """
    attributes = as_attributes(attributes, len(codes))
    names = names_of("names", names, "attribute ", attributes.shape[1])
    measured, known = held_out or (codes, attributes)
    known = as_attributes(known, len(measured))
    if known.shape[1] != len(names):
        raise ValueError(
            f"Received {known.shape[1]} held-out attributes. Expected the same {len(names)} in the "
            "same order."
        )
    if len(np.unique(codes.decisions)) < 2:
        raise ValueError("The model decides for one class only. Expected at least two.")
    weights, bias = fit_dense(Loss(attributes, codes.decisions, codes.num_classes))
    read = Codes(attributes, weights, bias, class_names=codes.class_names, concept_names=names)
    found = find_rules(read, **{"unseen": "free", **options})
    terms = [(rule.terms, False, rule.minimal) for rule in found.rules]
    return _measured(terms, known, measured.decisions, read, found.unseen, found.table)


def _measured(found, bits, decisions, codes: Codes, unseen: str, table) -> RuleSet:
    """Rules as found (terms, exact, minimal), held against decisions for samples."""
    fires = np.stack([holds(terms, bits) for terms, _, _ in found], axis=1)
    rules = []
    for k, (terms, same, minimal) in enumerate(found):
        right = np.sum(fires[:, k] & (decisions == k))
        precision = _share(right, fires[:, k].sum())
        coverage = _share(right, np.sum(decisions == k))
        rules.append(Rule(k, terms, same, minimal, precision, coverage))
    single = fires.sum(axis=1) == 1
    return RuleSet(
        rules=tuple(rules),
        exact=all(rule.exact for rule in rules),
        unseen=unseen,
        fidelity=float(np.mean(single & (fires.argmax(axis=1) == decisions))),
        covered=float(single.mean()),
        table=table,
        names=codes.concept_names,
        class_names=codes.class_names,
    )


def used_bits(codes: Codes) -> np.ndarray:
    """Numbers of the bits whose weights differ between classes: the others decide nothing."""
    return np.flatnonzero(np.ptp(codes.weights, axis=1))


def truth_table(codes: Codes) -> TruthTable:
    """What the head decides on every code of the bits that it uses.

    Raises:
        ValueError: If it uses more than 12 bits.
    """
    used = used_bits(codes)
    if len(used) > MOST_VARIABLES:
        raise ValueError(
            f"The head uses {len(used)} bits. Expected at most {MOST_VARIABLES}: fit a sparse head "
            "first (ConceptAnalysis.sparse_heads)."
        )
    every = all_codes(len(used))
    whole = np.zeros((len(every), codes.num_bits), bool)
    whole[:, used] = every
    numbers = codes.bits[:, used] @ (1 << np.arange(len(used))[::-1])
    return TruthTable(used, every, codes.decide(whole), np.bincount(numbers, minlength=len(every)))


def _minimal(table: TruthTable, k: int, unseen: str, seconds: float):
    on = table.decisions == k
    care = table.counts > 0 if unseen == "free" else np.ones_like(on)
    terms, minimal = minimize(on, care, seconds)
    same = bool(np.array_equal(holds(terms, table.codes[care]), on[care]))
    return _renumbered(terms, table.bits), same, minimal


def _tree(bits: np.ndarray, on: np.ndarray, max_leaves: int, seconds: float):
    needs("sklearn", "Finding rules on more than 12 bits")
    from sklearn.tree import DecisionTreeClassifier

    tree = DecisionTreeClassifier(max_leaf_nodes=max_leaves, random_state=0).fit(bits, on)
    asked = np.unique(tree.tree_.feature[tree.tree_.feature >= 0])
    every = np.zeros((2 ** len(asked), bits.shape[1]), bool)
    every[:, asked] = all_codes(len(asked))
    terms, minimal = minimize(tree.predict(every), seconds=seconds)
    return _renumbered(terms, asked), False, minimal


def _renumbered(terms: tuple[Term, ...], bits: np.ndarray) -> tuple[Term, ...]:
    return tuple(tuple((int(bits[i]), value) for i, value in term) for term in terms)


def _share(part: int, whole: int) -> float:
    return float(part / whole) if whole else float("nan")
