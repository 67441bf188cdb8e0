"""The bits of a concept model over a data set, by two workers on Ray, and what they mean.

    KERAS_BACKEND=jax python examples/concepts_on_ray.py --folder bits      # needs the extra "ray"

On a cluster (RAY_ADDRESS) the folder is one that all its machines share, and the data set one that
each of them can open: records of TensorFlow Datasets or image files rather than digits.
"""

import argparse

import keras

from keras_htaf import datasets, jobs, models


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--data", default="digits")
    parser.add_argument("--data-dir")
    parser.add_argument("--folder", default="bits", help="where the workers write the bits")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--epochs", type=int, default=10)
    arguments = parser.parse_args()

    keras.utils.set_random_seed(0)
    data = datasets.load(arguments.data, arguments.data_dir)
    model = models.icbm(models.small_cnn(data.image_shape, width=8), 16, data.num_classes)
    model.compile(
        keras.optimizers.Adam(0.01), keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    )
    model.fit(data.train.batches(64, shuffle=True), epochs=arguments.epochs, verbose=0)

    analysis = jobs.analyze(
        model,
        data.test,
        path=arguments.folder,
        logits=True,
        batch_size=64,
        workers=arguments.workers,
    )
    print(analysis.summary())
    return model, data, analysis


if __name__ == "__main__":
    model, data, analysis = main()
