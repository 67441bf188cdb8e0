"""What is kept between forward and backward: one array of the input's size.

(TensorFlow's tape does not tell what it keeps.)
"""

import numpy as np
import pytest
from support import only, tensor

from keras_htaf.ops import htaf

SIZE = 1000


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
