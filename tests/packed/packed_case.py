"""Models to pack, with the numbers that make it hard, and what Keras makes of them."""

import keras
import numpy as np
from support import BACKEND

import keras_htaf
from keras_htaf import hardening
from keras_htaf.packed.translate import folded
from keras_htaf.packed.translate.network import Network
from keras_htaf_packed.bits import from_units
from keras_htaf_packed.model import PackedModel

GAMMAS = (1.0, 0.5, -1.0, 0.0, -0.0, 2.0, -0.25, 1e-30, -1e-30, 0.7)
BETAS = (0.0, 0.0, 0.0, 0.5, -1.25, 1e-30, 0.3)


def randomized(model, seed=0):
    """The model, hardened, with random weights: some normalisations are 0 at some integers."""
    random = np.random.default_rng(seed)
    for weight in model.weights:
        shape, name = tuple(weight.shape), weight.path.rsplit("/", 1)[-1]
        if name in ("sharpness", "scale"):
            continue
        if name == "gamma":
            value = random.choice(GAMMAS, shape)
        elif name == "beta":
            value = random.choice(BETAS, shape)
        elif name == "moving_variance":
            value = random.choice([0.3, 1.0, 2.0, 5.0], shape)
        elif name == "moving_mean":
            value = random.integers(-3, 4, shape)
        elif name in ("threshold", "input_shift", "output_shift"):
            value = random.choice([0.0, 0.5, -1.0], shape)
        else:
            value = random.normal(0, 0.5, shape)
        weight.assign(value)
    return keras_htaf.harden(model) if hardening.has_steps(model) else model


def inputs_for(model, samples=6, seed=1):
    """Integers, whose sums with signs are exact."""
    random = np.random.default_rng(seed)
    return random.integers(-3, 4, (samples, *model.input_shape[1:])).astype("float32")


def eager(model, x):
    """What the model gives when it is computed operation by operation."""
    outputs = keras.tree.map_structure(
        keras.ops.stop_gradient, model(keras.ops.convert_to_tensor(x))
    )
    return keras.tree.map_structure(keras.ops.convert_to_numpy, outputs)


def expected(model, x):
    """What `predict` gives; on JAX, where XLA rounds as it likes, what the eager model gives."""
    return eager(model, x) if BACKEND == "jax" else model.predict(x, verbose=0)


def unfolded(model):
    """The model, packed, but with its steps where they are, so that its sums can be seen."""
    network = Network(keeps_unsupported=False)
    network.follow(model)
    return PackedModel(folded(network, thresholds=False))


def by_name(network):
    """The operations of a packed network."""
    return {operation.name: operation for operation in network.graph.operations}


def unpacked(network, values, name):
    """Bits among the values of a packed network, bool."""
    return from_units(values[name], network.specs[name].runs)


def decided_surely(network, values):
    """Which samples no step decides by rounding, bool.

    That may be so where a number is no integer (sums of integers are exact) and as near to the
    threshold as a millionth of the largest number of its channel. (What is off by less than 1e-20
    comes from a tiny gamma, not from rounding.)
    """
    sure = np.ones(len(next(iter(values.values()))), bool)
    for operation in network.graph.operations:
        if operation.kind == "step":
            x = values[operation.inputs[0]]
            axes = tuple(range(1, x.ndim))
            largest = np.abs(x).max((0, *axes[:-1]))
            off = np.abs(x - operation.arrays["threshold"])
            near = (off < 1e-6 * largest) & (off > 1e-20)
            sure &= ~(near & (x != np.round(x))).any(axes)
    return sure
