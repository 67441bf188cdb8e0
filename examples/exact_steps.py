"""HTAF in a model of your own: smooth steps, sharpened while they are trained, then exact ones.

    KERAS_BACKEND=jax python examples/exact_steps.py
    KERAS_BACKEND=jax python examples/exact_steps.py --data mnist --data-dir DIR

Ten seconds on a CPU. Raises the sharpness each epoch, watches what exact steps would cost, and ends
with the exact network.
"""

import argparse

import keras

import keras_htaf

parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
parser.add_argument("--data", default="digits")
parser.add_argument("--data-dir")
parser.add_argument("--epochs", type=int, default=20)
options = parser.parse_args()

keras.utils.set_random_seed(0)
data = keras_htaf.datasets.load(options.data, options.data_dir)
(x, y), (x_val, y_val), (x_test, y_test) = (
    part.arrays() for part in (data.train, data.validation, data.test)
)

model = keras.Sequential([keras.Input(data.image_shape), keras.layers.Flatten()])
for _ in range(2):
    model.add(keras.layers.Dense(128))
    model.add(keras.layers.BatchNormalization(momentum=0.9))
    model.add(keras_htaf.layers.HTAF())
model.add(keras.layers.Dense(data.num_classes, activation="softmax"))

model.compile("adam", "sparse_categorical_crossentropy", metrics=["accuracy"])
history = model.fit(
    x,
    y,
    epochs=options.epochs,
    verbose=0,
    callbacks=[
        keras_htaf.callbacks.AnnealSharpness(start=2.0, end=16.0),
        keras_htaf.callbacks.DiscretizationGap(x_val, y_val),
    ],
).history

for epoch in sorted({0, options.epochs // 2 - 1, options.epochs - 1}):
    print(
        f"epoch {epoch + 1:2}: sharpness {history['sharpness'][epoch]:5.2f}, "
        f"validation accuracy {history['smooth_accuracy'][epoch]:.1%} with smooth steps, "
        f"{history['hard_accuracy'][epoch]:.1%} with exact ones, "
        f"softness {history['softness'][epoch]:.2f}"
    )
exact = keras_htaf.harden(model)
_, accuracy = exact.evaluate(x_test, y_test, verbose=0)
print(f"exact steps on the test part: {accuracy:.1%}")
