"""Inputs of any height, width or length."""

import keras
import numpy as np
import pytest
from keras import layers
from support import BACKEND, to_numpy

from keras_htaf.export import card, export
from keras_htaf.export.program import prepare
from keras_htaf.export.samples import draw
from keras_htaf.export.verification import Reference

X = np.random.default_rng(0).normal(size=(6, 16, 12, 1)).astype("float32")


def wide():
    """A network that needs nine pixels and more."""
    inputs = keras.Input((None, None, 1), name="image")
    x = layers.MaxPool2D(2, name="pool")(layers.Conv2D(2, 9)(inputs))
    return keras.Model(inputs, [layers.GlobalAveragePooling2D(name="mean")(x), x])


@keras.saving.register_keras_serializable("test_sizes")
class AtMost(layers.Layer):
    """Places of a sequence, which it knows a number of."""

    def __init__(self, places, **kwargs):
        super().__init__(**kwargs)
        self.places = places

    def call(self, x):
        if x.shape[1] is not None and x.shape[1] > self.places:
            raise ValueError("too long")
        return x + 1.0

    def compute_output_shape(self, input_shape):
        return input_shape


def reference(model, samples=None):
    program = prepare(model, model, None, "values", True)
    return Reference.of(program, draw(program) if samples is None else samples)


def test_outputs_that_depend_on_the_size():
    """Pooled ones too, which a single pixel more leaves as they are."""
    found = reference(wide(), {"image": X}).shapes
    assert found == {"mean": [None, 2], "pool": [None, None, None, 2]}


@pytest.mark.parametrize("places", [3, 4, 8])
def test_a_largest_size(places):
    inputs = keras.Input((None, 2), name="x")
    model = keras.Model(inputs, AtMost(places)(inputs))
    samples = {"x": X[:, :places, :2, 0]}
    assert reference(model, samples).shapes == {"output": [None, None, 2]}


def test_samples_are_needed_where_drawn_ones_are_too_small(tmp_path):
    with pytest.raises(ValueError, match=r"does not run on inputs of the shapes .*Give samples="):
        export(wide(), tmp_path / "x.khtaf", "packed")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.skipif(BACKEND != "torch", reason="torch traces with a size, and takes others then")
def test_traced_with_the_size_of_samples(tmp_path):
    import torch

    model, path = wide(), tmp_path / "wide.pt2"
    assert export(model, path, "torch", samples=X).equal
    assert card.find(path)["outputs"][1]["shape"] == [None, None, None, 2]
    module = torch.export.load(path).module()
    for shape in ((1, 12, 12, 1), (5, 13, 23, 1)):
        x = torch.full(shape, 0.5)
        for y, made in zip(model(x), module(x).values(), strict=True):
            np.testing.assert_allclose(made.detach().numpy(), to_numpy(y), atol=1e-5)
