"""A small network of exact steps on handwritten digits, in a dozen lines of Keras.

    KERAS_BACKEND=jax python examples/exact_steps.py

Trains with HTAF's smooth steps, raises their sharpness each epoch, watches what exact steps would
cost, and ends with the exact network. About ten seconds on a CPU.
"""

import keras

import keras_htaf

keras.utils.set_random_seed(0)
data = keras_htaf.datasets.load("digits")
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
    epochs=20,
    verbose=0,
    callbacks=[
        keras_htaf.callbacks.AnnealSharpness(start=2.0, end=16.0),
        keras_htaf.callbacks.DiscretizationGap(x_val, y_val),
    ],
).history

for epoch in (0, 9, 19):
    print(
        f"epoch {epoch + 1:2}: sharpness {history['sharpness'][epoch]:5.2f}, "
        f"validation accuracy {history['smooth_accuracy'][epoch]:.1%} with smooth steps, "
        f"{history['hard_accuracy'][epoch]:.1%} with exact ones, "
        f"softness {history['softness'][epoch]:.2f}"
    )
exact = keras_htaf.harden(model)
_, accuracy = exact.evaluate(x_test, y_test, verbose=0)
print(f"exact steps on the test part: {accuracy:.1%}")
