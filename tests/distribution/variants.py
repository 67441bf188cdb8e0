"""What else a training may hold, on two devices against one."""

from __future__ import annotations

import json
from pathlib import Path

import keras
import numpy as np

import keras_htaf
from keras_htaf import distribution, layers

rng = np.random.default_rng(0)
X = rng.normal(size=(37, 6, 4)).astype("float32")
Y = (X.sum((1, 2)) > 0).astype("int32")
WEIGHTS = rng.uniform(0.5, 2, 37).astype("float32")


class Batches(keras.utils.PyDataset):
    """Batches in an order that its epochs change."""

    def __init__(self, size, weighted=False):
        super().__init__()
        self.size, self.parts, self.epoch = size, (X, Y, WEIGHTS)[: 3 if weighted else 2], 0

    def __len__(self):
        return -(-len(X) // self.size)

    def __getitem__(self, i):
        order = np.random.default_rng(self.epoch).permutation(len(X))
        chosen = order[i * self.size : (i + 1) * self.size]
        return tuple(part[chosen] for part in self.parts)

    def on_epoch_end(self):
        self.epoch += 1


def binary():
    """Bop and Adam, batch normalisation, validation, too few samples for all in the last batch."""
    x = inputs = keras.Input((6, 4))
    x = keras.layers.Flatten()(x)
    x = keras.layers.BatchNormalization(momentum=0.5)(x)
    x = layers.BinaryDense(
        16,
        input_quantizer="ste_sign",
        kernel_quantizer="ste_sign",
        kernel_initializer=keras_htaf.initializers.RandomSign(),
        kernel_constraint=keras_htaf.constraints.WeightClip(1.0),
    )(x)
    x = keras.layers.BatchNormalization(momentum=0.5)(x)
    model = keras.Model(inputs, keras.layers.Dense(2)(x))
    optimizer = keras_htaf.optimizers.SplitOptimizer(
        model, keras_htaf.optimizers.Bop(1e-3), keras.optimizers.Adam(1e-2)
    )
    return model, optimizer, Batches(12), {"validation_data": (X[:11], Y[:11])}


def masked():
    """A mask into batch normalisation, a penalty before it, weighted samples, a batch for all."""
    inputs = keras.Input((6, 4))
    x = keras.layers.Masking(mask_value=0.0)(inputs)
    x = keras.layers.Dense(5, activation="tanh")(x)
    x = layers.ActivityPenalty(keras_htaf.regularizers.BitDiversity())(x)
    x = keras.layers.BatchNormalization(momentum=0.5)(x)
    x = keras.layers.GlobalAveragePooling1D()(x)
    model = keras.Model(inputs, keras.layers.Dense(2, kernel_regularizer="l2")(x))
    return model, "sgd", Batches(7, weighted=True), {}


def regularized():
    """Penalties of Keras's own argument, in nested layers too; and a word for the loss."""
    rate = keras_htaf.regularizers.SpikeRate(high=0.1)
    bits = keras_htaf.regularizers.BitDiversity()
    lstm = keras.layers.LSTM(4, activity_regularizer=rate)
    inner = [keras.Input((6, 4)), keras.layers.Dense(5, "tanh", activity_regularizer=bits)]
    inner.append(keras.layers.Bidirectional(lstm))
    inputs = keras.Input((6, 4))
    x = keras.Sequential(inner)(inputs)
    x = keras.layers.Dense(8, "relu", activity_regularizer=keras.regularizers.L1(0.01))(x)
    model = keras.Model(inputs, keras.layers.Dense(2, "softmax")(x))
    return model, "sgd", Batches(12), {"loss": "ce"}


def half():
    """float16 with a scaled loss, and dropout, whose random numbers may differ."""
    inputs = keras.Input((6, 4))
    x = keras.layers.Flatten()(inputs)
    x = keras.layers.Dense(16)(x)
    x = keras.layers.BatchNormalization()(x)
    x = keras.layers.Dropout(0.5)(layers.HTAF()(x))
    model = keras.Model(inputs, keras.layers.Dense(2, dtype="float32")(x))
    return model, keras.optimizers.Adam(1e-2), Batches(12), {}


def trained(make, across):
    X[3, 2:] = 0.0  # masked
    keras.utils.set_random_seed(0)
    keras.config.set_dtype_policy("mixed_float16" if make is half else "float32")

    def compiled():
        model, optimizer, *others = make()
        logits = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
        loss = others[-1].pop("loss", logits)
        model.compile(optimizer, loss, weighted_metrics=["accuracy"])
        return model, *others

    if across is None:
        model, batches, options = compiled()
        found = model.fit(batches, epochs=3, verbose=0, shuffle=False, **options)
    else:
        with across.scope():
            model, batches, options = compiled()
        found = across.fit(model, batches, epochs=3, verbose=0, **options)
    weights = [keras.ops.convert_to_numpy(v) for v in model.variables if "seed" not in v.path]
    spread = across.spread(model) if across else 0.0
    return found.history, weights, spread, batches.epoch


def differences(file):
    across = distribution.data_parallel(2)
    report = {}
    makes = (binary, masked, regularized, half)
    if keras.config.backend() == "jax":  # one program: compiling all of them is what takes time
        makes = (masked,)
    for make in makes:
        history, weights, _, epoch = trained(make, None)
        other, others, spread, other_epoch = trained(make, across)
        report[make.__name__] = {
            "history": max(
                float(np.max(np.abs(np.subtract(history[key], other[key])))) for key in history
            ),
            "weights": max(
                float(np.max(np.abs(a - b))) for a, b in zip(weights, others, strict=True)
            ),
            "spread": spread,
            "finite": bool(np.all(np.isfinite(other["loss"]))),
            "epochs": [epoch, other_epoch],
        }
    if across.chief:
        Path(file).write_text(json.dumps(report))
