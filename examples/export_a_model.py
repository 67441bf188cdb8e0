"""From a trained model to a SavedModel of exact steps that takes raw pixels.

    KERAS_BACKEND=tensorflow python examples/export_a_model.py --out saved_model

Half a minute on a CPU, on any backend. Needs the extra "export" (TensorFlow). Whoever reads the
folder needs neither Keras nor this package.
"""

import argparse

import keras
import numpy as np
import tensorflow as tf

import keras_htaf

parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
parser.add_argument("--data", default="digits")
parser.add_argument("--data-dir")
parser.add_argument("--epochs", type=int, default=10)
parser.add_argument("--out", default="saved_model")
options = parser.parse_args()

keras.utils.set_random_seed(0)
data = keras_htaf.datasets.load(options.data, options.data_dir, normalize="standard")
x_test, y_test = data.test.arrays()
model = keras.Sequential(
    [
        keras.Input(data.image_shape),
        keras.layers.Flatten(),
        keras.layers.Dense(128),
        keras.layers.BatchNormalization(momentum=0.9),
        keras_htaf.layers.HTAF(),
        keras.layers.Dense(data.num_classes),
    ]
)
model.compile("adam", keras.losses.SparseCategoricalCrossentropy(from_logits=True))
anneal = keras_htaf.callbacks.AnnealSharpness(2.0, 16.0, frequency="step")
batches = data.train.batches(64, shuffle=True)
model.fit(batches, epochs=options.epochs, verbose=0, callbacks=[anneal])

# Hardened on the way, with the preprocessing inside: it takes pixels as the data set has them.
keras_htaf.export.export(model, options.out, preprocessing=data.preprocessing.layer())
served = tf.saved_model.load(options.out)
pixels = tf.constant(data.preprocessing.invert(x_test))
logits = served.serve(pixels).numpy()

exact = keras_htaf.harden(model).predict(x_test, verbose=0)
print(f"exact steps on the test part: {np.mean(logits.argmax(-1) == y_test):.1%}")
print(f"largest difference of a logit to Keras: {np.abs(logits - exact).max():.1e}")
