"""What the bits of a concept model mean, as one HTML file.

    KERAS_BACKEND=jax python examples/report_of_an_icbm.py --out report.html
    KERAS_BACKEND=jax python examples/report_of_an_icbm.py --data mnist --data-dir DIR --epochs 3

Half a minute on a CPU. Needs the extra "interpret". The file needs no network: open it in a
browser.
"""

import argparse
from pathlib import Path

import keras

import keras_htaf
from keras_htaf import callbacks, interpret, models

parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
parser.add_argument("--data", default="digits")
parser.add_argument("--data-dir")
parser.add_argument("--epochs", type=int, default=12)
parser.add_argument("--out", type=Path, default=Path("report.html"))
options = parser.parse_args()

keras.utils.set_random_seed(0)
data = keras_htaf.datasets.load(options.data, options.data_dir)
backbone = models.small_cnn(data.image_shape, width=16)
model = models.icbm(backbone, num_concepts=16, num_classes=data.num_classes)
loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
model.compile(keras.optimizers.Adam(3e-3), loss, metrics=["accuracy"])
history = model.fit(
    data.train.batches(64, shuffle=True),
    epochs=options.epochs,
    verbose=0,
    callbacks=[
        callbacks.AnnealSharpness(2.0, 16.0, frequency="step"),
        callbacks.DiscretizationGap(*data.validation.arrays(limit=1000)),
    ],
).history

analysis = interpret.analyze(model, *data.test.arrays(limit=2000), class_names=data.class_names)
train = interpret.analyze(model, *data.train.arrays(limit=2000), class_names=data.class_names)
print(f"exact steps on the test part: {analysis.codes.accuracy():.1%}")
print(analysis.explain(0))
analysis.report(options.out, train=train, history=history, title=f"The bits of {options.data}")
print(f"{options.out}: {options.out.stat().st_size / 2**20:.1f} MiB")
