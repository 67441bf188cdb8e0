"""A small binary network and data for the tests of its training."""

import keras
import numpy as np

from keras_htaf.constraints import WeightClip
from keras_htaf.initializers import RandomSign
from keras_htaf.layers import BinaryDense

RANDOM = np.random.default_rng(5)
X = RANDOM.normal(size=(24, 6)).astype("float32")
Y = (X[:, 0] * X[:, 1] > 0).astype("int32")


def make_model(initializer=None, quantizer="ste_sign"):
    """A network of one binary kernel, whose name is "binary", and eight other weights."""
    keras.utils.set_random_seed(7)
    binary = BinaryDense(
        5,
        name="binary",
        input_quantizer="ste_sign",
        kernel_quantizer=quantizer,
        kernel_constraint=WeightClip(),
        kernel_initializer=initializer or RandomSign(seed=3),
    )
    inputs = keras.Input((6,))
    x = keras.layers.BatchNormalization()(keras.layers.Dense(6)(inputs))
    x = keras.layers.BatchNormalization()(binary(x))
    return keras.Model(inputs, keras.layers.Dense(2)(x))


def fit(model, optimizer=None, epochs=2, **kwargs):
    if optimizer is not None:
        loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
        model.compile(optimizer, loss)
    options = {"batch_size": 8, "shuffle": False, "verbose": 0, **kwargs}
    return model.fit(X, Y, epochs=epochs, **options).history
