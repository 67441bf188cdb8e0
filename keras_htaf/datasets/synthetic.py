"""Images whose concepts are known, with labels that are logical functions of some of them."""

from __future__ import annotations

from dataclasses import replace
from numbers import Integral

import numpy as np

from keras_htaf.datasets import drawing
from keras_htaf.datasets.arrays import ArraySource, three_parts
from keras_htaf.datasets.dataset import Dataset

SHAPE_ATTRIBUTES = (
    *("circle", "square", "triangle", "red", "green", "blue", "large", "striped"),
    *("left", "top", "bright", "outlined"),
)
"""The attributes of `shapes`: one of three figures, one of three colours, and six coins."""

SHAPE_RULES = {
    "A": ({"circle": True, "red": True},),
    "B": ({"circle": True, "red": False},),
    "C": ({"square": True, "large": True}, {"square": True, "striped": True}),
    "D": ({"square": True, "large": False, "striped": False},),
    "E": ({"triangle": True, "blue": True},),
    "F": ({"triangle": True, "blue": False},),
}
"""The classes of `shapes`: a class is an OR of the ANDs that are listed for it."""

_INKS = np.array([(215, 60, 55), (60, 175, 80), (70, 100, 225)], np.float64)
_PAPERS = np.array([50, 205], np.float64)
_SMALL, _LARGE = (0.115, 0.145), (0.195, 0.23)
_OFF_CENTRE = (0.06, 0.12)
_TURN = 0.35


def shapes(
    num_images: int = 10_000,
    image_size: int = 32,
    noise: float = 8.0,
    seed: int = 0,
    *,
    validation: float = 0.1,
    split_seed: int = 0,
    normalize: str | None = "unit",
) -> Dataset:
    """Draws one figure on each image, with known attributes and labels that follow from them.

    Each image has twelve binary attributes: exactly one of circle, square, triangle; exactly one
    of red, green, blue; and, each for half of the images, large (a figure of some 2.7 times
    the area), striped, left, top (where its centre is), bright (what is behind it) and outlined (in
    black). Figures have equal areas, and size, place, angle and colours vary within an attribute.
    The classes partition the images:

        A  circle and red                          1/9 of the images
        B  circle and not red                      2/9
        C  square and (large or striped)           1/4
        D  square and not large and not striped    1/12
        E  triangle and blue                       1/9
        F  triangle and not blue                   2/9

    so that green, left, top, bright and outlined say nothing about the class that the others do
    not. A linear head on the true attributes can decide all classes without error.

    Args:
        num_images: Number of images in all parts together. Default 10,000.
        image_size: Height and width in pixels, at least 16. Default 32.
        noise: Standard deviation of the noise on each pixel, in grey levels of 255. Default 8.
        seed: Seed of the images. Default 0.
        validation: As in `load`. Default 0.1.
        split_seed: What `load` calls seed. Default 0.
        normalize: As in `load`. Default `"unit"`.

    Returns:
        A `Dataset` whose parts have `attributes`, and which has `attribute_names`.

    Raises:
        ValueError: If an argument is out of range.

    Example:

    >>> data = shapes(300)
    >>> data.test.attributes.shape, data.attribute_names[:3]
    ((60, 12), ('circle', 'square', 'triangle'))
    """
    for name, value, least in (("num_images", num_images, 60), ("image_size", image_size, 16)):
        if isinstance(value, bool) or not isinstance(value, Integral) or value < least:
            raise ValueError(f"{name} is {value!r}; expected an integer of at least {least}.")
    if not 0 <= noise < np.inf:
        raise ValueError(f"noise is {noise!r}; expected grey levels of 255, at least 0.")
    if not 0 <= validation < 1:
        raise ValueError(f"validation is {validation!r}; expected a share from 0 to below 1.")
    source = _source(num_images, image_size, noise, seed)
    data = three_parts("shapes", source, tuple(SHAPE_RULES), validation, split_seed)
    return replace(data, attribute_names=SHAPE_ATTRIBUTES).normalized(normalize)


def shape_labels(attributes: np.ndarray) -> np.ndarray:
    """The classes that `SHAPE_RULES` gives to rows of attributes.

    Args:
        attributes: bool, `(n, 12)`, in the order of `SHAPE_ATTRIBUTES`.

    Returns:
        int32, `(n,)`.
    """
    column = {name: attributes[:, i] for i, name in enumerate(SHAPE_ATTRIBUTES)}
    holds = [
        np.any(
            [np.all([column[a] == v for a, v in term.items()], axis=0) for term in terms], axis=0
        )
        for terms in SHAPE_RULES.values()
    ]
    return np.argmax(holds, axis=0).astype(np.int32)


def _source(count: int, size: int, noise: float, seed: int) -> ArraySource:
    # RandomState's stream is frozen for good, the newer Generator's may change with numpy.
    random = np.random.RandomState(seed)
    kind, colour = random.randint(3, size=(2, count))
    coins = random.randint(2, size=(count, 6)).astype(bool)
    large, striped, left, top, bright, outlined = coins.T
    attributes = np.concatenate(
        [np.eye(3, dtype=bool)[kind], np.eye(3, dtype=bool)[colour], coins], 1
    )

    away = random.uniform(*_OFF_CENTRE, size=(count, 2))
    jitter = random.uniform(-20, 20, size=(count, 4))
    figures = drawing.Figures(
        kind=kind,
        centre=0.5 + np.where(np.stack([left, top], axis=1), -away, away),
        radius=np.where(large, random.uniform(*_LARGE, count), random.uniform(*_SMALL, count)),
        angle=random.uniform(-_TURN, _TURN, count),
        ink=_INKS[colour] + jitter[:, :3],
        paper=np.repeat((_PAPERS[bright.astype(int)] + jitter[:, 3])[:, None], 3, axis=1),
        striped=striped,
        stripe_angle=random.uniform(0, np.pi, count),
        outlined=outlined,
    )
    images = drawing.draw(figures, size, noise, random)
    return ArraySource(images, shape_labels(attributes), 255.0, attributes)
