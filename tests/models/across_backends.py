"""Saves models under this process's backend, or loads those of all; see test_across_backends.py.

python across_backends.py save|load|save_binary|load_binary|save_spiking|load_spiking FOLDER
"""

import sys
from pathlib import Path

import keras
import numpy as np

from keras_htaf import harden, layers, load_model
from keras_htaf.constraints import WeightClip
from keras_htaf.layers import HTAF, BinaryConv2D, BinaryDense, ConceptGroups, Heaviside, Sign
from keras_htaf.models import deep_heaviside_network, icbm, small_cnn

BACKENDS = ("jax", "tensorflow", "torch")
X = np.random.default_rng(0).normal(size=(50, 8, 8, 1)).astype("float32")


def build():
    """An ICBM, a deep network, and a network with the other steps, one of them an `activation`."""
    inputs = keras.Input((8, 8, 1))
    backbone = small_cnn((8, 8, 1), width=4, stages=2)
    logits = icbm(backbone, num_concepts=8, num_classes=5)(inputs)
    deep = deep_heaviside_network(
        (4, 4, 1), 5, kind="convolutional", depth=3, width=4, linear_share=0.25, forward="smooth"
    )
    x = keras.layers.Dense(9)(keras.layers.Flatten()(inputs))
    x = keras.layers.Dense(9, activation=HTAF(3.0, 1.0))(Sign("atan", forward="smooth")(x))
    merged = ConceptGroups([[2], [0, 1], [3, 4, 5, 6]], [1, 2, 3])(keras.layers.Dense(9)(x))
    x = Heaviside("erf", per_channel=True)(merged)
    few = keras.layers.AveragePooling2D(2)(inputs)
    model = keras.Model(inputs, [logits, keras.layers.Dense(5)(x), deep(few)])
    model.compile("adam", "mse", jit_compile=False)  # else JAX makes torch compile it too
    random = np.random.default_rng(1)
    model.set_weights([w + np.abs(random.normal(0, 0.3, w.shape)) for w in model.get_weights()])
    return model


def build_binary():
    """Binary layers, with scales and without; the last's outputs, and the signs between them."""
    inputs = keras.Input((8, 8, 1))
    arguments = {"kernel_initializer": keras.initializers.RandomUniform(-1, 1)}
    arguments["kernel_constraint"] = WeightClip()
    conv = {"kernel_size": 3, "padding": "same", "pad_values": 1, **arguments}
    x = BinaryConv2D(8, input_quantizer="ste_sign", kernel_quantizer="xnor_sign", **conv)(inputs)
    signs = [Sign()(x)]
    x = BinaryConv2D(8, kernel_quantizer="magnitude_aware_sign", **conv)(signs[-1])
    signs.append(Sign()(x))
    x = BinaryConv2D(8, kernel_quantizer="ste_sign", strides=2, **conv)(signs[-1])
    x = keras.layers.Flatten()(x)
    x = BinaryDense(
        40, input_quantizer="dorefa", kernel_quantizer="magnitude_aware_sign", **arguments
    )(x)
    signs.append(Sign()(x))
    logits = BinaryDense(5, kernel_quantizer="ste_sign", **arguments)(signs[-1])
    return keras.Model(inputs, [logits, *signs])


def build_spiking():
    """Neurons of several kinds, with recurrence and constants of their own; all their outputs."""
    inputs = keras.Input((8, 8))
    spikes = [layers.PLIF(tau=3.0, per_neuron=True)(inputs)]
    x = keras.layers.Dense(9)(spikes[-1])
    spikes.append(layers.CubaLIF(recurrent=True, reset="zero", reset_next_step=True)(x))
    x = keras.layers.Dense(7)(spikes[-1])
    spikes.append(layers.ALIF(per_neuron=True, rest=-0.1)(x))
    potential = layers.LI(trainable_decay=True)(keras.layers.Dense(5)(spikes[-1]))
    model = keras.Model(inputs, [*spikes, potential])
    random = np.random.default_rng(1)
    model.set_weights([w * random.uniform(0.7, 1.1, w.shape) for w in model.get_weights()])
    return model


def outputs_over_time(model):
    """Spikes of all layers, and behind them 5 potentials."""
    return np.concatenate(model.predict(X[..., 0], verbose=0), axis=-1)


def exact_outputs(model):
    """All outputs of the binary network, which are integers."""
    found = [keras.ops.convert_to_numpy(y).reshape(len(X), -1) for y in model(X)]
    return np.concatenate(found, axis=1)


def outputs(model):
    """Logits of both networks, as the model is and hard."""
    return np.stack([m.predict(X, verbose=0) for m in (model, harden(model))])


def save(folder):
    keras.utils.set_random_seed(0)
    model = build()
    model.save(folder / f"{keras.config.backend()}.keras")
    np.save(folder / f"{keras.config.backend()}.npy", outputs(model))


def save_binary(folder):
    model = build_binary()
    model.save(folder / f"{keras.config.backend()}_binary.keras")
    np.save(folder / f"{keras.config.backend()}_binary.npy", exact_outputs(model))


def save_spiking(folder):
    keras.utils.set_random_seed(0)
    model = build_spiking()
    model.save(folder / f"{keras.config.backend()}_spiking.keras")
    np.save(folder / f"{keras.config.backend()}_spiking.npy", outputs_over_time(model))


def load(folder):
    for saver in BACKENDS:
        expected = np.load(folder / f"{saver}.npy")
        assert np.abs(expected[0] - expected[1]).max() > 1e-2
        model = load_model(folder / f"{saver}.keras")
        assert model.compiled
        found = outputs(model)
        close = {"rtol": 1e-6, "atol": 1e-5, "err_msg": f"saved by {saver}"}
        np.testing.assert_allclose(found, expected, **close)
        np.testing.assert_array_equal(found.argmax(-1), expected.argmax(-1))


def load_binary(folder):
    for saver in BACKENDS:
        expected = np.load(folder / f"{saver}_binary.npy")
        found = exact_outputs(load_model(folder / f"{saver}_binary.keras"))
        np.testing.assert_array_equal(found, expected, err_msg=f"saved by {saver}")


def load_spiking(folder):
    for saver in BACKENDS:
        expected = np.load(folder / f"{saver}_spiking.npy")
        assert 0.02 < expected[..., -12:-5].mean() < 0.9  # the last layer that fires
        found = outputs_over_time(load_model(folder / f"{saver}_spiking.keras"))
        message = f"saved by {saver}"
        np.testing.assert_array_equal(found[..., :-5], expected[..., :-5], err_msg=message)
        np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-5, err_msg=message)


if __name__ == "__main__":
    phases = (save, load, save_binary, load_binary, save_spiking, load_spiking)
    {phase.__name__: phase for phase in phases}[sys.argv[1]](Path(sys.argv[2]))
