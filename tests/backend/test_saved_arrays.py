"""What is kept between forward and backward: of a step, and of exact neurons, one array.

(TensorFlow's tape does not tell what it keeps.)
"""

import keras
import numpy as np
import pytest
from support import only, tensor

from keras_htaf import layers
from keras_htaf.ops import htaf

SIZE = 1000
SHAPE = (2, 50, 10)
NEURONS = {
    "LIF": (lambda: layers.LIF(), 1),
    "IF, rest": (lambda: layers.IF(rest=0.5), 1),
    "LIF, trained": (lambda: layers.LIF(trainable_decay=True, trainable_threshold=True), 1),
    "LIF, scaled": (lambda: layers.LIF(scale_input=True, trainable_decay=True), 2),
    "CubaLIF": (lambda: layers.CubaLIF(), 1),
    "CubaLIF, trained": (lambda: layers.CubaLIF(trainable_decay=True), 2),
    "LI": (lambda: layers.LI(), 0),
}
neurons = pytest.mark.parametrize("name", NEURONS)
masks = pytest.mark.parametrize("masked", [False, True])


def built(name, masked):
    """A layer, a call of it, and how many arrays of x's size are kept for the backward pass."""
    make, arrays = NEURONS[name]
    layer = make()
    layer.build(SHAPE)
    mask = tensor(np.arange(100).reshape(2, 50) % 3 > 0, "bool") if masked else None
    return layer, (lambda x: layer(x, mask=mask, training=True)), arrays


@only["jax"]
@pytest.mark.parametrize("jitted", [False, True])
def test_jax_keeps_one_array(jitted):
    import jax

    pull = jax.jit if jitted else lambda f: f
    _, backward = pull(lambda x: jax.vjp(lambda x: htaf(x, 8.0, 0.5), x))(tensor(np.ones(SIZE)))
    assert [np.size(leaf) for leaf in jax.tree.leaves(backward)].count(SIZE) == 1


@only["torch"]
def test_torch_keeps_one_array():
    import torch

    kept = []
    hooks = torch.autograd.graph.saved_tensors_hooks(
        lambda t: kept.append(t.numel()) or t, lambda t: t
    )
    with hooks:
        htaf(tensor(np.ones(SIZE)).requires_grad_(), 8.0, 0.5)
    assert kept == [SIZE]


@only["jax"]
@neurons
@masks
def test_jax_neurons(name, masked):
    import jax

    layer, call, arrays = built(name, masked)

    def run(x, trained):
        mapping = list(zip(layer.trainable_variables, trained, strict=True))
        with keras.StatelessScope(state_mapping=mapping):
            return call(x)

    trained = [variable.value for variable in layer.trainable_variables]
    _, backward = jax.jit(lambda *a: jax.vjp(run, *a))(tensor(np.ones(SHAPE)), trained)
    floats = [leaf for leaf in jax.tree.leaves(backward) if leaf.dtype.kind == "f"]
    zeros = masked and name in ("LI", "LIF, scaled")  # which JAX keeps where a mask chooses them
    assert [np.size(leaf) for leaf in floats].count(SIZE) == arrays + zeros


@only["torch"]
@neurons
@masks
def test_torch_neurons(name, masked):
    import torch

    _, run, arrays = built(name, masked)
    kept = {}
    hooks = torch.autograd.graph.saved_tensors_hooks(
        lambda t: kept.setdefault(t.data_ptr(), t), lambda t: t
    )
    with hooks:
        y = run(tensor(np.ones(SHAPE)).requires_grad_())
    floats = [t for t in kept.values() if t.numel() == SIZE and t.is_floating_point()]
    assert len(floats) == arrays
    assert y.requires_grad
