"""Twelve hidden layers of exact steps, trained by the default recipe, beside their ReLU twin.

    KERAS_BACKEND=jax python examples/deep_heaviside.py
    KERAS_BACKEND=jax python examples/deep_heaviside.py --data mnist --data-dir DIR --epochs 10

Without arguments it takes the embedded digits and about a minute on a CPU; on MNIST it is the
network of docs/results/stability.md, some minutes. The steps are exact while they are trained, so
the accuracy is that of the network of bits itself. What each layer receives and passes back is
printed before and after (`keras_htaf.diagnose`).
"""

import argparse

import keras

import keras_htaf
from keras_htaf.callbacks import AnnealSharpness

parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
parser.add_argument("--data", default="digits")
parser.add_argument("--data-dir")
parser.add_argument("--epochs", type=int, default=20)
parser.add_argument("--depth", type=int, default=12)
parser.add_argument("--width", type=int, default=256)
parser.add_argument("--batch-size", type=int, default=64)
options = parser.parse_args()

data = keras_htaf.datasets.load(
    options.data, options.data_dir, validation=0.0, normalize="standard"
)
x_test, y_test = data.test.arrays()
# Not arrays: with TensorFlow and a seed, fit would give them in the same order in each epoch.
batches = data.train.batches(options.batch_size, shuffle=True)
steps = options.epochs * len(batches)

for activation in (None, "relu"):
    keras.utils.set_random_seed(0)
    model = keras_htaf.models.deep_heaviside_network(
        data.image_shape,
        data.num_classes,
        depth=options.depth,
        width=options.width,
        activation=activation,
    )
    model.compile(
        keras.optimizers.Adam(keras.optimizers.schedules.CosineDecay(2e-3, steps)),
        keras_htaf.losses.SmoothedCrossentropy(),
        metrics=["accuracy"],
    )
    exact = activation is None
    if exact:
        print(f"at the start\n{keras_htaf.diagnose(model, *data.train.arrays(512))}\n")
    model.fit(
        batches,
        epochs=options.epochs,
        verbose=0,
        callbacks=[AnnealSharpness(peak=(0.25, 2.0), frequency="step")] if exact else [],
    )
    if exact:
        print(f"at the end\n{keras_htaf.diagnose(model, x_test[:512], y_test[:512])}\n")
    _, accuracy = model.evaluate(x_test, y_test, verbose=0)
    print(f"{'exact steps' if exact else 'ReLU'} on the test part: {accuracy:.1%}\n", flush=True)
