"""Weights and activations of one bit, beside the same network in floats.

    KERAS_BACKEND=jax python examples/binary_images.py
    KERAS_BACKEND=jax python examples/binary_images.py --data mnist --data-dir DIR
    KERAS_BACKEND=tensorflow python examples/binary_images.py --data cifar10 --data-dir DIR

Without arguments: the embedded digits, half a minute on a CPU. MNIST gets a dense network of 3 x
1024 signs, which takes minutes; CIFAR-10 VGG-Small, a quarter as wide, on shifted and mirrored
images: hours on a CPU. tools/bench/binary.py follows the same recipes with several seeds and
slopes, and goes on where it was interrupted; its logs are in docs/results/binary.
"""

import argparse

import keras

import keras_htaf
from keras_htaf.callbacks import AnnealSharpness

RECIPES = {
    "mnist": {"network": "mlp", "width": 1024, "dropout": 0.1, "batch": 128, "augment": None},
    "cifar10": {"network": "vgg", "width": 32, "batch": 128, "augment": "shift_flip"},
}
DEFAULT = {"network": "mlp", "width": 128, "dropout": 0.0, "batch": 64, "augment": None}

parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
parser.add_argument("--data", default="digits")
parser.add_argument("--data-dir")
parser.add_argument("--width", type=int, help="of a hidden layer, or of the first convolution")
parser.add_argument("--epochs", type=int, default=20)
parser.add_argument("--seed", type=int, default=0)
options = parser.parse_args()

recipe = dict(RECIPES.get(options.data, DEFAULT))
recipe["width"] = options.width or recipe["width"]
data = keras_htaf.datasets.load(
    options.data, options.data_dir, validation=0.0, normalize="standard"
)
x_test, y_test = data.test.arrays()


def build(binary):
    task = (data.image_shape, data.num_classes)
    width = recipe["width"]
    if recipe["network"] == "mlp":
        return keras_htaf.models.binary_mlp(
            *task, width=width, dropout=recipe["dropout"], binary=binary
        )
    filters = [width * factor for factor in (1, 1, 2, 2, 4, 4)]
    return keras_htaf.models.binary_vgg(*task, filters=filters, binary=binary)


for binary in (True, False):
    keras.utils.set_random_seed(options.seed)
    model = build(binary)
    batches = data.train.batches(
        recipe["batch"], shuffle=True, seed=options.seed, augment=recipe["augment"]
    )
    rate = keras.optimizers.schedules.CosineDecay(2e-3, options.epochs * len(batches))
    model.compile(
        keras.optimizers.Adam(rate), keras_htaf.losses.SmoothedCrossentropy(), metrics=["accuracy"]
    )
    anneal = [AnnealSharpness(2.0, 16.0, frequency="step")] if binary else []
    model.fit(batches, epochs=options.epochs, verbose=2, callbacks=anneal)
    exact = keras_htaf.harden(model) if binary else model
    _, accuracy = exact.evaluate(x_test, y_test, verbose=0)
    memory = keras_htaf.summary(model).memory["packed"] / 1024
    name = "signs, exact steps" if binary else "floats"
    print(f"{name} on the test part: {accuracy:.1%}, {memory:.0f} KiB", flush=True)
