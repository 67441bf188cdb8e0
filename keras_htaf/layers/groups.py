"""Concept logits made of concept logits: kept, left out, merged and named."""

from __future__ import annotations

from collections.abc import Sequence
from numbers import Integral

import keras
from keras import ops


@keras.saving.register_keras_serializable(package="keras_htaf")
class ConceptGroups(keras.layers.Layer):
    """For each group of concept logits, its t-th largest.

    A step behind it turns on if at least t of the group are on, exactly: the t-th largest of some
    numbers exceeds 0 if and only if at least t of them do. So t = 1 is OR, t = the size of the
    group is AND. A group of one keeps a concept; one that is in no group is left out.

    Args:
        groups: For each new concept the numbers of the old ones, on the last axis of the input.
        at_least: The t of each group. Default 1 for all.
        names: Names of the new concepts, saved with the layer. Default "bit 0", "bit 1", ...
        **kwargs: Of `keras.layers.Layer`.

    Raises:
        ValueError: If a group is empty or names a concept twice or one that is not there, or t is
            not from 1 to the size of its group.

    Example:

    >>> merged = ConceptGroups([[0], [1, 2]], at_least=[1, 2], names=["red", "large and round"])
    >>> [float(z) for z in merged(np.array([[-1.0, 2.0, 3.0, 4.0]]))[0]]
    [-1.0, 2.0]
    """

    def __init__(
        self,
        groups: Sequence[Sequence[int]],
        at_least: Sequence[int] | None = None,
        names: Sequence[str] | None = None,
        **kwargs,
    ):
        super().__init__(**kwargs)
        for group in groups:
            whole = all(isinstance(i, Integral) and i >= 0 for i in group)
            if not len(group) or not whole or len(set(group)) < len(group):
                raise ValueError(
                    f"Received the group {list(group)}. Expected different numbers of concepts, at "
                    "least one."
                )
        self.groups = [[int(i) for i in group] for group in groups]
        self.at_least = [1] * len(groups) if at_least is None else [int(t) for t in at_least]
        self.names = [f"bit {i}" for i in range(len(groups))] if names is None else list(names)
        if not self.groups or not len(groups) == len(self.at_least) == len(self.names):
            raise ValueError(
                f"Received {len(groups)} groups, {len(self.at_least)} values of at_least and "
                f"{len(self.names)} names. Expected as many of each, at least one."
            )
        for group, t in zip(self.groups, self.at_least, strict=True):
            if not 1 <= t <= len(group):
                raise ValueError(
                    f"Received at_least={t} for the group {group}. Expected 1 to {len(group)}."
                )

    def build(self, input_shape):
        largest = max(map(max, self.groups))
        if input_shape[-1] is None or largest >= input_shape[-1]:
            raise ValueError(
                f"Received an input of shape {tuple(input_shape)} for groups with concept "
                f"{largest}. Expected a last axis of known size, at least {largest + 1}."
            )

    def call(self, inputs):
        single = [i for i, group in enumerate(self.groups) if len(group) == 1]
        merged = [i for i, group in enumerate(self.groups) if len(group) > 1]
        parts = []
        if single:
            parts = [ops.take(inputs, [self.groups[i][0] for i in single], axis=-1)]
        for i in merged:
            ascending = ops.sort(ops.take(inputs, self.groups[i], axis=-1), axis=-1)
            place = len(self.groups[i]) - self.at_least[i]
            parts.append(ascending[..., place : place + 1])
        order = single + merged
        joined = ops.concatenate(parts, axis=-1)
        if order == sorted(order):
            return joined
        return ops.take(joined, [order.index(i) for i in range(len(order))], axis=-1)

    def compute_output_shape(self, input_shape):
        return (*input_shape[:-1], len(self.groups))

    def get_config(self):
        own = {"groups": self.groups, "at_least": self.at_least, "names": self.names}
        return {**super().get_config(), **own}
