"""A trained ReLU network as a spiking one: accuracy, spikes and energy by the number of steps.

    KERAS_BACKEND=jax python examples/spiking_conversion.py
    KERAS_BACKEND=jax python examples/spiking_conversion.py --data mnist --data-dir DIR --epochs 2

Half a minute on a CPU.
"""

import argparse

import keras

import keras_htaf

parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
parser.add_argument("--data", default="digits")
parser.add_argument("--data-dir")
parser.add_argument("--epochs", type=int, default=15)
parser.add_argument("--steps", type=int, nargs="+", default=[4, 8, 16, 32, 64])
options = parser.parse_args()

keras.utils.set_random_seed(0)
data = keras_htaf.datasets.load(options.data, options.data_dir)
x_test, y_test = data.test.arrays()
relu = keras.Sequential(
    [
        keras.Input(data.image_shape),
        keras.layers.Conv2D(16, 3, padding="same", activation="relu", name="conv"),
        keras.layers.AveragePooling2D(2),  # a maximum of rates is no rate of a maximum
        keras.layers.Flatten(),
        keras.layers.Dense(64, activation="relu", name="hidden"),
        keras.layers.Dense(data.num_classes),
    ]
)
loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
relu.compile(keras.optimizers.Adam(3e-3), loss, metrics=["accuracy"])
relu.fit(data.train.batches(64, shuffle=True), epochs=options.epochs, verbose=0)
_, accuracy = relu.evaluate(x_test, y_test, verbose=0)
print(f"ReLU on the test part: {accuracy:.1%}")

for steps in options.steps:
    spiking = keras_htaf.models.to_spiking(relu, data.train.arrays(500)[0], num_steps=steps)
    spiking.compile(loss=loss, metrics=["accuracy"])
    _, accuracy = spiking.evaluate(x_test, y_test, verbose=0)
    energy = keras_htaf.summary(spiking, x_test[:100]).energy.spiking.energy
    print(f"{steps:2} steps: {accuracy:.1%}, {energy / 1000:.0f} nJ of arithmetic an image")
print(f"exact steps on the test part: {accuracy:.1%}")
