"""Images with known concepts: labels follow the rules, attributes travel, images show them."""

from __future__ import annotations

import numpy as np
import pytest

from keras_htaf import datasets
from keras_htaf.datasets import SHAPE_ATTRIBUTES, SHAPE_RULES, shapes


@pytest.fixture(scope="module")
def plain():
    """Without noise, and the raw pixels and attributes of all parts."""
    data = shapes(600, noise=0.0, seed=1)
    source = data.train.source
    every = np.arange(len(source))
    images, labels = source.read(every)
    return (
        images.astype(float),
        labels,
        dict(zip(SHAPE_ATTRIBUTES, source.attributes(every).T, strict=True)),
    )


def test_parts_and_names():
    data = datasets.load("shapes")
    assert [len(part) for part in (data.train, data.validation, data.test)] == [7200, 800, 2000]
    assert data.name == "shapes"
    assert data.image_shape == (32, 32, 3)
    assert data.class_names == tuple("ABCDEF")
    assert data.attribute_names == SHAPE_ATTRIBUTES
    x, _ = data.test.arrays(limit=50)
    assert x.min() >= 0
    assert x.max() <= 1
    rows = np.concatenate([data.train.attributes, data.validation.attributes, data.test.attributes])
    assert rows.dtype == bool
    assert len(np.unique(rows, axis=0)) == 9 * 2**6  # every combination that can be
    shares = np.bincount(datasets.load("shapes", validation=0).train.labels) / 8000
    np.testing.assert_allclose(shares, [1 / 9, 2 / 9, 1 / 4, 1 / 12, 1 / 9, 2 / 9], atol=0.02)


def test_attributes_travel_with_the_rows():
    data = shapes(200, seed=4)
    moved = shapes(200, seed=4, split_seed=5)
    np.testing.assert_array_equal(data.test.attributes, moved.test.attributes)
    assert not np.array_equal(data.validation.rows, moved.validation.rows)
    for part in (data.train, moved.train, moved.normalized("standard").validation):
        assert part.attributes.shape == (len(part), 12)
        np.testing.assert_array_equal(datasets.synthetic.shape_labels(part.attributes), part.labels)


def test_other_data_sets_have_no_attributes(digits):
    assert digits.train.attributes is None
    assert digits.attribute_names == ()


def test_exactly_one_rule_holds(plain):
    _, labels, shown = plain
    for index, terms in enumerate(SHAPE_RULES.values()):
        holds = np.zeros(len(labels), bool)
        for term in terms:
            holds |= np.all([shown[name] == value for name, value in term.items()], axis=0)
        np.testing.assert_array_equal(holds, labels == index)


def test_images_show_their_attributes(plain):
    images, _, shown = plain
    corner = images[:, 0, 0]
    np.testing.assert_array_equal(corner.mean(axis=1) > 128, shown["bright"])
    colourful = images.max(axis=3) - images.min(axis=3)
    colour = (images * (colourful > 40)[..., None]).sum(axis=(1, 2)).argmax(axis=1)
    np.testing.assert_array_equal(
        colour, np.stack([shown[c] for c in ("red", "green", "blue")]).argmax(0)
    )
    figure = np.abs(images - corner[:, None, None]).max(axis=3) > 25
    area = figure.sum(axis=(1, 2))
    plain_area = [area[(shown["large"] == large) & ~shown["striped"]] for large in (True, False)]
    assert plain_area[0].min() > 1.2 * plain_area[1].max()
    rows, columns = np.indices((32, 32)) + 0.5
    x, y = ((figure * axis).sum(axis=(1, 2)) / area for axis in (columns, rows))
    np.testing.assert_array_equal(x < 16, shown["left"])
    np.testing.assert_array_equal(y < 16, shown["top"])
    assert not figure[:, [0, -1]].any()  # no figure is cut off
    assert not figure[:, :, [0, -1]].any()
    black = (images.max(axis=3) < 8).any(axis=(1, 2))
    np.testing.assert_array_equal(black, shown["outlined"])
    free = shown["large"] & ~shown["outlined"] & shown["bright"]
    inked = colourful > 15
    dark = (inked & (images.max(axis=3) < 110)).sum(axis=(1, 2)) / inked.sum(axis=(1, 2))
    np.testing.assert_array_equal(dark[free] > 0.1, shown["striped"][free])


def test_figures_have_equal_areas(plain):
    images, _, shown = plain
    figure = np.abs(images - images[:, :1, :1]).max(axis=3) > 25
    area = figure.sum(axis=(1, 2))
    means = [area[shown[s] & shown["large"]].mean() for s in ("circle", "square", "triangle")]
    assert max(means) / min(means) < 1.1


def test_images_are_the_same_for_ever():
    # Sines, whose last bits are the C library's, could at most turn a rounding or two.
    first, again = (shapes(60, noise=0.0).train.images(slice(None)) for _ in range(2))
    np.testing.assert_array_equal(first, again)
    assert first.sum(dtype=int) == pytest.approx(16652765, abs=3)
    assert not np.array_equal(first, shapes(60, noise=0.0, seed=1).train.images(slice(None)))


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"num_images": 10}, "num_images is 10"),
        ({"image_size": 8}, "at least 16"),
        ({"noise": float("nan")}, "grey levels"),
        ({"validation": 1.0}, "expected a share"),
        ({"normalize": "no"}, "normalize"),
    ],
)
def test_errors(wrong, message):
    with pytest.raises(ValueError, match=message):
        shapes(**{"num_images": 60, **wrong})
