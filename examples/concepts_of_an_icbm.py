"""An implicit concept bottleneck model from Python: its bits, and where in the image they are.

    KERAS_BACKEND=jax python examples/concepts_of_an_icbm.py
    KERAS_BACKEND=jax python examples/concepts_of_an_icbm.py --data mnist --data-dir DIR --epochs 3

Half a minute on a CPU. `keras-htaf train icbm` does the same with baselines and pictures.
"""

import argparse

import keras
import numpy as np

import keras_htaf
from keras_htaf import callbacks, models, regularizers

parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
parser.add_argument("--data", default="digits")
parser.add_argument("--data-dir")
parser.add_argument("--epochs", type=int, default=15)
options = parser.parse_args()

keras.utils.set_random_seed(0)
data = keras_htaf.datasets.load(options.data, options.data_dir)
model = models.icbm(
    models.small_cnn(data.image_shape, width=16),
    num_concepts=24,
    num_classes=data.num_classes,
    bit_regularizer=regularizers.BitDiversity(usage=0.05, decorrelation=0.05),
)
model.compile(
    keras.optimizers.Adam(3e-3),
    keras.losses.SparseCategoricalCrossentropy(from_logits=True),
    metrics=["accuracy"],
)
model.fit(
    data.train.batches(64, shuffle=True, seed=0),
    epochs=options.epochs,
    verbose=0,
    callbacks=[callbacks.AnnealSharpness(2.0, 16.0, frequency="step")],
)

exact = keras_htaf.harden(model)
x, y = data.test.arrays()
decisions = exact.predict(x, verbose=0).argmax(-1)
print(f"exact steps on the test part: {np.mean(decisions == y):.1%}")

bits = keras.Model(exact.input, exact.get_layer("concepts").output).predict(x, verbose=0)
head = exact.get_layer("head").get_weights()[0]
image = 0
print(
    f"image {image} is a {y[image]}, taken for a {decisions[image]}; bits that spoke for it most:"
)
contributions = bits[image] * head[:, decisions[image]]
maps = models.concept_maps(exact).predict(x[image : image + 1], verbose=0)[0]
for bit in np.argsort(-contributions)[:3]:
    row, column = np.unravel_index(maps[..., bit].argmax(), maps.shape[:2])
    print(
        f"  bit {bit:2}: +{contributions[bit]:.2f}, on in {bits[:, bit].mean():.0%} of all images, "
        f"strongest at row {row + 1} of {maps.shape[0]}, column {column + 1} of {maps.shape[1]}"
    )
