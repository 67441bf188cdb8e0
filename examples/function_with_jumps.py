"""A function with jumps: exact steps, which have the jump built in, beside a ReLU network.

    KERAS_BACKEND=jax python examples/function_with_jumps.py

Ten seconds on a CPU. ReLU is a little ahead here, as many small jumps of one sum are nearly a ramp.
tools/bench/function_with_jumps.py has a harder function, on which steps lead, boosted trees, and
settings tuned for each; docs/results/regression.md its results.
"""

import argparse

import keras
import numpy as np

import keras_htaf
from keras_htaf.callbacks import AnnealSharpness

parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
parser.add_argument("--epochs", type=int, default=30)
options = parser.parse_args()

rng = np.random.default_rng(0)
x = rng.normal(size=(5000, 8)).astype("float32")
y = np.floor(x @ np.linspace(-1, 1, 8)).astype("float32")  # jumps across oblique planes
(x, x_test), (y, y_test) = np.split(x, [4000]), np.split(y, [4000])

for activation in (None, "relu"):
    keras.utils.set_random_seed(0)
    model = keras_htaf.models.deep_heaviside_network(
        (8,),
        1,
        depth=2,
        width=64,
        skip=None,
        normalization=None,
        activation=activation,
        targets=y,
    )
    rate = keras.optimizers.schedules.CosineDecay(5e-2, options.epochs * 32)
    model.compile(keras.optimizers.Adam(rate), "mse")
    anneal = [AnnealSharpness(peak=(0.25, 2.0), frequency="step")] if activation is None else []
    model.fit(x, y, batch_size=128, epochs=options.epochs, verbose=0, callbacks=anneal)
    rest = np.mean((model.predict(x_test, verbose=0)[:, 0] - y_test) ** 2) / y_test.var()
    name = "exact steps" if activation is None else "ReLU"
    print(f"{name} on the test part: {1 - rest:.1%} of the variance")
