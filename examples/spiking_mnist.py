"""Spiking networks, dense and convolutional: spikes, rates, and a stream that decides early.

    KERAS_BACKEND=jax python examples/spiking_mnist.py
    KERAS_BACKEND=jax python examples/spiking_mnist.py --data mnist --data-dir DIR --epochs 1
    KERAS_BACKEND=jax python examples/spiking_mnist.py --network cnn --data mnist --data-dir DIR

Without arguments: the embedded digits, half a minute on a CPU. tools/bench/spiking_accuracy.py
compares slopes on MNIST.
"""

import argparse

import keras
import numpy as np

import keras_htaf

parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
parser.add_argument("--network", choices=("mlp", "cnn"), default="mlp")
parser.add_argument("--data", default="digits")
parser.add_argument("--data-dir")
parser.add_argument("--epochs", type=int, default=5)
parser.add_argument("--steps", type=int, help="steps in time; default: 25, of the cnn 4")
options = parser.parse_args()

data = keras_htaf.datasets.load(
    options.data, options.data_dir, validation=0.0, normalize="standard"
)
x_test, y_test = data.test.arrays()
keras.utils.set_random_seed(0)
if options.network == "mlp":
    model = keras_htaf.models.spiking_mlp(
        data.image_shape,
        data.num_classes,
        num_steps=options.steps,
        neuron_options={"decay": 0.5},
    )
    loss, augment = keras_htaf.losses.SmoothedCrossentropy(0.0), None
else:
    model = keras_htaf.models.spiking_vgg(
        data.image_shape,
        data.num_classes,
        num_steps=options.steps,
        filters=(16, 32, 64),
        pool_every=1,
        neuron_options={"decay": 0.5},
    )
    loss, augment = keras_htaf.losses.SmoothedCrossentropy(0.1), "shift"
batches = data.train.batches(64, shuffle=True, augment=augment)
rate = keras.optimizers.schedules.CosineDecay(5e-3, options.epochs * len(batches))
model.compile(keras.optimizers.Adam(rate), loss, metrics=["accuracy"])
anneal = keras_htaf.callbacks.AnnealSharpness(peak=(0.33, 2.0), frequency="step")
model.fit(batches, epochs=options.epochs, callbacks=[anneal], verbose=2)
_, accuracy = model.evaluate(x_test, y_test, verbose=0)
print(f"{model.name}, exact steps on the test part: {accuracy:.1%}")

for layer in model.layers:
    if layer.name.endswith("_spikes"):
        spikes = keras.Model(model.input, layer.output).predict(x_test[:500], verbose=0)
        print(f"{layer.name}: {spikes.mean():.3f} spikes a step")

# The same network as a stream: it may stop as soon as it has decided.
stream = keras_htaf.models.streaming(model, chunk=1)
image = keras.ops.convert_to_tensor(x_test[:500])
state = keras_htaf.models.initial_state(stream, len(image))
for step in range(1, model.get_layer("repeat").num_steps + 1):
    outputs, *state = stream([image, *state])
    decided = keras.ops.convert_to_numpy(outputs).argmax(-1)
    if step in (1, 2, 4, 8, 16, 25):
        print(f"after {step} steps: {np.mean(decided == y_test[:500]):.1%}")
