"""What a concept model's bits mean: the public face of this room."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import keras
import numpy as np

from keras_htaf.interpret.codes import Codes
from keras_htaf.interpret.collection import collect


def analyze(
    model: keras.Model,
    x,
    y,
    concept_names: Sequence[str] | None = None,
    attributes=None,
    attribute_names: Sequence[str] | None = None,
    class_names: Sequence[str] | None = None,
    *,
    concepts: str = "concepts",
    head: str = "head",
    batch_size: int = 256,
) -> ConceptAnalysis:
    """Looks at what the bits of a concept model do on labelled images.

    The model is run once; all else is exact arithmetic on the bits it gave, done when asked for.

    Args:
        model: A model whose features are bits, read by a linear head: see `collect`. Smooth or
            hardened makes no difference.
        x: Images, an array whose first axis is the batch; best those that the model was not
            trained on.
        y: Labels, integers (n,) or one-hot.
        concept_names: Default "bit 0", "bit 1", ...
        attributes: What is known to be on the images, (n, a) of 0 and 1, to compare bits with.
        attribute_names: Default "attribute 0", ...
        class_names: Default "0", "1", ...
        concepts: Name of the step layer. Default "concepts".
        head: Name of the head. Default "head".
        batch_size: Default 256.

    Returns:
        A `ConceptAnalysis`.

    Raises:
        ValueError: If the model has no concept layer or linear head, or arrays or names do not fit
            together.

    Example:

    >>> model = keras_htaf.models.icbm(num_concepts=6, num_classes=3, input_shape=(8, 8, 1))
    >>> x = np.random.default_rng(0).normal(size=(20, 8, 8, 1))
    >>> analysis = analyze(model, x, np.arange(20) % 3)
    >>> analysis.codes.bits.shape
    (20, 6)
    """
    codes = collect(
        model,
        x,
        y,
        class_names=class_names,
        concept_names=concept_names,
        concepts=concepts,
        head=head,
        batch_size=batch_size,
    )
    codes.needed("labels")
    return ConceptAnalysis(codes, model, np.asarray(x))


@dataclass(frozen=True, eq=False)
class ConceptAnalysis:
    """The bits of a data set, and what can be said of them; `analyze` makes it."""

    codes: Codes
    model: keras.Model | None = None
    """The model as it was given; None if only its codes are known."""
    x: np.ndarray | None = None
    """The images as they were given."""
