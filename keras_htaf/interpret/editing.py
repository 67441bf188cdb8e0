"""Models whose concepts were renamed, merged or removed by hand."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import keras
import numpy as np

from keras_htaf.hardening import with_forward
from keras_htaf.interpret.codes import Codes
from keras_htaf.interpret.heads import Loss, fit_dense
from keras_htaf.interpret.interventions import bit_number
from keras_htaf.layers import ConceptGroups
from keras_htaf.quantizers import Step

MERGES = ("any", "all", "most")


def edit_concepts(
    model: keras.Model,
    codes: Codes,
    *,
    rename: Mapping[int | str, str] | None = None,
    merge: Mapping[str, tuple[str, Sequence[int | str]]] | None = None,
    remove: Sequence[int | str] = (),
    refit: bool = False,
    concepts: str = "concepts",
    head: str = "head",
) -> keras.Model:
    """A new model with edited concepts and a head that fits them.

        z -> ConceptGroups -> step -> new head

    A merged bit is exactly what its name says of the old ones. Its weight is what it says, on
    average over the samples, about their sum of weights; a removed bit is replaced by its mean
    over the samples: s keeps its mean.

    Args:
        model: A model that `collect` can read.
        codes: What `collect` read from it, on samples that the averages are taken over.
        rename: New names, by number or name of a concept.
        merge: For each new concept its kind, `"any"` (OR), `"all"` (AND) or `"most"` (more than
            half), and the old concepts, which it replaces. It stands where the first of them was.
        remove: Concepts to leave out.
        refit: Whether the whole head is fitted again to the labels of `codes`. Default False.
        concepts: Name of the step layer. Default "concepts".
        head: Name of the head. Default "head".

    Returns:
        A hardened model, not compiled, which shares no weights with the old one. The names are
        saved with it (`saved_names` reads them, and `collect` uses them).

    Raises:
        ValueError: If a concept is not there or used twice, no concept would be left, names are
            not unique, or the codes are not of such a model.

    Example:

    >>> model = keras_htaf.models.icbm(num_concepts=6, num_classes=3, input_shape=(8, 8, 1))
    >>> x = np.random.default_rng(0).normal(size=(20, 8, 8, 1))
    >>> codes = keras_htaf.interpret.collect(model, x)
    >>> edited = edit_concepts(model, codes, merge={"edge": ("any", [0, 3])}, remove=[5])
    >>> keras_htaf.interpret.collect(edited, x).concept_names
    ('edge', 'bit 1', 'bit 2', 'bit 4')
    """
    groups, at_least, names = _plan(codes, rename or {}, merge or {}, remove)
    hard = with_forward(model, "hard")
    step, dense = _layers(hard, codes, concepts, head)
    bits = np.stack(
        [codes.bits[:, g].sum(axis=1) >= t for g, t in zip(groups, at_least, strict=True)], axis=1
    )
    if refit:
        weights, bias = fit_dense(Loss(bits, codes.needed("labels"), codes.num_classes))
    else:
        weights, bias = _averaged(codes, bits, groups)

    taken = {layer.name for layer in hard.layers}
    free = (f"concept_groups{i or ''}" for i in range(len(taken) + 1))
    name = next(n for n in free if n not in taken)
    new_step = type(step).from_config(step.get_config())
    new_head = keras.layers.Dense.from_config(dense.get_config())
    z = ConceptGroups(groups, at_least, names, name=name)(step.input)
    edited = keras.Model(hard.inputs[0], new_head(new_step(z)), name=model.name)
    new_step.set_weights(
        [
            old if old.shape == tuple(new.shape) else old[..., [g[0] for g in groups]]
            for old, new in zip(step.get_weights(), new_step.weights, strict=True)
        ]
    )
    _write(new_head, step, weights, bias)
    return edited


def _plan(codes, rename, merge, remove):
    """Groups of old bits, the t of each and its name."""
    renamed = {bit_number(codes, bit): str(name) for bit, name in rename.items()}
    merged, used = {}, [bit_number(codes, bit) for bit in remove]
    for name, (kind, members) in merge.items():
        group = [bit_number(codes, bit) for bit in members]
        if kind not in MERGES or len(group) < 2:
            raise ValueError(
                f"Received the merge {name!r} of {len(group)} concepts, {kind!r}. Expected one of "
                f"{MERGES}, and at least two concepts."
            )
        t = {"any": 1, "all": len(group), "most": len(group) // 2 + 1}[kind]
        merged[group[0]] = (group, t, str(name))
        used += group
    used_twice = {bit for bit in used if used.count(bit) > 1} | (set(used) & set(renamed))
    if used_twice:
        raise ValueError(
            f"Bits {sorted(used_twice)} are renamed, merged or removed more than once. Expected "
            "one change of each."
        )
    plan = [
        merged.get(j, ([j], 1, renamed.get(j, codes.concept_names[j])))
        for j in range(codes.num_bits)
        if j in merged or j not in used
    ]
    if not plan:
        raise ValueError("All concepts would be removed. Expected at least one to be left.")
    names = [name for _, _, name in plan]
    if len(set(names)) < len(names):
        twice = sorted({name for name in names if names.count(name) > 1})
        raise ValueError(f"The names {twice} would be used twice. Expected different names.")
    return [g for g, _, _ in plan], [t for _, t, _ in plan], names


def _averaged(codes: Codes, bits: np.ndarray, groups) -> tuple[np.ndarray, np.ndarray]:
    weights = np.zeros((len(groups), codes.num_classes))
    bias = codes.bias.copy()
    left = set(range(codes.num_bits)) - {j for group in groups for j in group}
    bias += codes.usage[sorted(left)] @ codes.weights[sorted(left)]
    for new, (group, on) in enumerate(zip(groups, bits.T, strict=True)):
        if len(group) == 1:
            weights[new] = codes.weights[group[0]]
            continue
        sums = codes.bits[:, group].astype(float) @ codes.weights[group]
        off_mean = sums[~on].mean(axis=0) if not on.all() else sums.mean(axis=0)
        bias += off_mean
        if on.any() and not on.all():
            weights[new] = sums[on].mean(axis=0) - off_mean
    return weights, bias


def _layers(hard, codes, concepts, head):
    layers = {layer.name: layer for layer in hard.layers}
    step, dense = layers.get(concepts), layers.get(head)
    fits = isinstance(step, Step) and isinstance(dense, keras.layers.Dense)
    fits = fits and dense.kernel.shape[0] == codes.num_bits
    if not fits or max(dense.kernel.shape[1], 2) != codes.num_classes:
        raise ValueError(
            f"Model {hard.name!r} and codes of {codes.num_bits} bits and {codes.num_classes} "
            f"classes do not belong together, or it has no step layer {concepts!r} and "
            f"keras.layers.Dense {head!r}. Expected the model that the codes were collected from."
        )
    return step, dense


def _write(head, step, weights, bias) -> None:
    """Sets a head that reads bits, or signs, and has K logits, or one for two classes."""
    if head.units == 1 and weights.shape[1] == 2:
        weights, bias = weights[:, 1:] - weights[:, :1], bias[1:] - bias[:1]
    if step.rise == 2:
        weights, bias = weights / 2, bias + weights.sum(axis=0) / 2
    if head.bias is None:
        # Without a bias the mean that it would hold has nowhere to go.
        if np.abs(bias - bias.mean()).max() > 1e-6:
            raise ValueError(
                f"Layer {head.name!r} has no bias, which edited concepts need. Give it one "
                "(use_bias=True) before editing."
            )
        head.set_weights([weights])
        return
    head.set_weights([weights, bias])
