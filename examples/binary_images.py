"""Weights and activations of one bit, beside the same network in floats.

    KERAS_BACKEND=jax python examples/binary_images.py
    KERAS_BACKEND=jax python examples/binary_images.py --data mnist --data-dir DIR --width 1024
    KERAS_BACKEND=jax python examples/binary_images.py --network vgg --data cifar10 --data-dir DIR

Without arguments: the embedded digits, half a minute on a CPU. tools/bench/binary.py trains the
published sizes, with each slope.
"""

import argparse

import keras

import keras_htaf
from keras_htaf.callbacks import AnnealSharpness

parser = argparse.ArgumentParser()
parser.add_argument("--network", choices=("mlp", "vgg"), default="mlp")
parser.add_argument("--data", default="digits")
parser.add_argument("--data-dir")
parser.add_argument("--epochs", type=int, default=20)
parser.add_argument("--width", type=int, default=128)
options = parser.parse_args()

data = keras_htaf.datasets.load(
    options.data, options.data_dir, validation=0.0, normalize="standard"
)
x_test, y_test = data.test.arrays()

for binary in (True, False):
    keras.utils.set_random_seed(0)
    if options.network == "mlp":
        model = keras_htaf.models.binary_mlp(
            data.image_shape, data.num_classes, width=options.width, binary=binary
        )
    else:
        filters = [options.width * factor for factor in (1, 1, 2, 2)]
        model = keras_htaf.models.binary_vgg(
            data.image_shape, data.num_classes, filters=filters, binary=binary
        )
    batches = data.train.batches(64, shuffle=True)
    rate = keras.optimizers.schedules.CosineDecay(2e-3, options.epochs * len(batches))
    model.compile(
        keras.optimizers.Adam(rate), keras_htaf.losses.SmoothedCrossentropy(), metrics=["accuracy"]
    )
    anneal = [AnnealSharpness(2.0, 16.0, frequency="step")] if binary else []
    model.fit(batches, epochs=options.epochs, verbose=0, callbacks=anneal)
    exact = keras_htaf.harden(model) if binary else model
    _, accuracy = exact.evaluate(x_test, y_test, verbose=0)
    memory = keras_htaf.summary(model).memory["packed"] / 1024
    name = "signs, exact steps" if binary else "floats"
    print(f"{name} on the test part: {accuracy:.1%}, {memory:.0f} KiB", flush=True)
