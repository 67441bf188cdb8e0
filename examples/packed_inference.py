"""A network of signs on packed bits: the same decisions, a fraction of the memory and the time.

    KERAS_BACKEND=jax python examples/packed_inference.py
    KERAS_BACKEND=jax python examples/packed_inference.py --data mnist --data-dir DIR --width 1024

Half a minute on a CPU, and in the first run ever half a minute more, in which kernels are compiled.
Needs the extra "packed". `keras-htaf bench` compares with ONNX Runtime and other backends, in a
process each.
"""

import argparse
import time
from pathlib import Path

import keras
import numpy as np

import keras_htaf
from keras_htaf import packed

parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
parser.add_argument("--data", default="digits")
parser.add_argument("--data-dir")
parser.add_argument("--width", type=int, default=256)
parser.add_argument("--epochs", type=int, default=15)
parser.add_argument("--out", type=Path, default=Path("packed.khtaf"))
options = parser.parse_args()

keras.utils.set_random_seed(0)
data = keras_htaf.datasets.load(options.data, options.data_dir, normalize="standard")
x_test, y_test = data.test.arrays()
model = keras_htaf.models.binary_mlp(data.image_shape, data.num_classes, width=options.width)
batches = data.train.batches(64, shuffle=True)
rate = keras.optimizers.schedules.CosineDecay(3e-3, options.epochs * len(batches))
model.compile(keras.optimizers.Adam(rate), keras_htaf.losses.SmoothedCrossentropy())
anneal = keras_htaf.callbacks.AnnealSharpness(2.0, 16.0, frequency="step")
model.fit(batches, epochs=options.epochs, verbose=0, callbacks=[anneal])

exact = keras_htaf.harden(model)
packed.pack(exact).save(options.out)
small = packed.load(options.out)  # as another process would, which needs no Keras
decided = small.predict(x_test).argmax(-1)
same = np.mean(decided == exact.predict(x_test, verbose=0).argmax(-1))
print(f"exact steps on the test part: {np.mean(decided == y_test):.1%}, {same:.1%} as in Keras")
floats = 4 * sum(np.prod(weight.shape) for weight in model.trainable_weights)
print(f"{options.out.stat().st_size / 1024:.0f} KiB packed, {floats / 1024:.0f} KiB as float32")


def milliseconds(predict, x, rounds=20):
    predict(x)
    seen = []
    for _ in range(rounds):
        start = time.perf_counter()
        predict(x)
        seen.append(time.perf_counter() - start)
    return 1000 * np.median(seen)


for images in (1, 100):
    x = x_test[:images]
    bits = milliseconds(small.predict, x)
    floats = milliseconds(lambda x: exact.predict_on_batch(x), x)
    print(f"{images:3} images: {bits:.2f} ms packed, {floats:.2f} ms by Keras's predict_on_batch")
