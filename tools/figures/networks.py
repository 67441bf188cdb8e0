"""Networks on the embedded digits: the gap over training, spikes over time, what bits mean."""

from __future__ import annotations

import functools

import keras
import numpy as np
from matplotlib.figure import Figure
from style import panels, save

from keras_htaf import callbacks, datasets, interpret, layers, losses, models, pictures


def gap() -> None:
    """Accuracy with smooth and with exact steps, with a fixed sharpness and with a rising one."""
    figure, axes = panels(3, width=3.6)
    for name, color, end in (("alpha = 2", "C3", 2.0), ("alpha 2 to 32", "C0", 32.0)):
        runs = [smooth_training(seed, end) for seed in range(5)]
        keys = ("smooth_accuracy", "hard_accuracy")
        smooth, hard = (100 * np.array([run[key] for run in runs]) for key in keys)
        epochs = np.arange(1, smooth.shape[1] + 1)
        axes[0].plot(epochs, smooth.mean(0), color=color, label=f"{name}, smooth")
        axes[0].plot(epochs, hard.mean(0), "--", color=color, label=f"{name}, exact")
        band(axes[1], epochs, smooth - hard, color, name)
        band(axes[2], epochs, np.array([run["softness"] for run in runs]), color, name)
    axes[0].set(title="accuracy on unseen digits, %", xlabel="epoch", ylim=(70, 100))
    axes[1].set(title="gap, points", xlabel="epoch")
    axes[2].set(title="softness", xlabel="epoch", ylim=(0, None))
    axes[0].legend(loc="lower right")
    axes[1].legend()
    save(figure, "gap.svg")


def band(axes, x, runs, color, label):
    axes.plot(x, runs.mean(0), color=color, label=label)
    axes.fill_between(x, runs.min(0), runs.max(0), color=color, alpha=0.15, linewidth=0)


def smooth_training(seed: int, end: float) -> dict:
    """The history of a dense network of smooth steps."""
    keras.utils.set_random_seed(seed)
    data = datasets.load("digits")
    parts = data.validation.arrays(), data.test.arrays()
    x, y = (np.concatenate(arrays) for arrays in zip(*parts, strict=True))
    model = keras.Sequential([keras.Input(data.image_shape), keras.layers.Flatten()])
    for _ in range(4):
        model.add(keras.layers.Dense(64))
        model.add(keras.layers.BatchNormalization(momentum=0.9))
        model.add(layers.HTAF())
    model.add(keras.layers.Dense(data.num_classes))
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(keras.optimizers.Adam(2e-3), loss, metrics=["accuracy"])
    batches = data.train.batches(64, shuffle=True, seed=seed)
    watch = [callbacks.AnnealSharpness(2.0, end), callbacks.DiscretizationGap(x, y)]
    return model.fit(batches, epochs=30, verbose=0, callbacks=watch).history


@functools.cache
def spiking_network():
    """A trained spiking network, its test images, and the history of its rates."""
    keras.utils.set_random_seed(0)
    data = datasets.load("digits", normalize="standard")
    batches = data.train.batches(64, shuffle=True, seed=0)
    x, y = data.test.arrays()
    model = models.spiking_mlp(
        data.image_shape, 10, num_steps=16, width=64, neuron_options={"decay": 0.7}
    )
    rate = keras.optimizers.schedules.CosineDecay(1e-2, 8 * len(batches))
    model.compile(keras.optimizers.Adam(rate), losses.SmoothedCrossentropy(0.0))
    anneal = callbacks.AnnealSharpness(peak=(0.33, 2.0), frequency="step")
    rates = callbacks.SpikeRates(x[:100])
    history = model.fit(batches, epochs=8, verbose=0, callbacks=[anneal, rates])
    return model, x, y, history


def raster() -> None:
    model, x, _, _ = spiking_network()
    names = [layer.name for layer in model.layers if layer.name.endswith("_spikes")]
    look = keras.Model(model.input, [model.get_layer(name).output for name in names])
    spikes = look.predict(x[:1], verbose=0)
    figure = pictures.raster({n: s[0] for n, s in zip(names, spikes, strict=True)})
    save(figure, "raster.svg")


def membrane() -> None:
    model, x, _, _ = spiking_network()
    neurons = model.get_layer("layer1_spikes")
    currents = keras.Model(model.input, neurons.input).predict(x[:1], verbose=0)
    potentials, spikes = pictures.trace(neurons, currents)
    active = np.argsort(np.abs(np.asarray(spikes[0]).sum(0) - 6))[:4]
    save(
        pictures.membrane(potentials[0][:, active], spikes[0][:, active], threshold=1.0),
        "membrane.svg",
    )


def concepts(bits=6, images=9) -> None:
    """For some bits, the images that switch them on most strongly."""
    keras.utils.set_random_seed(0)
    data = datasets.shapes(num_images=3000, image_size=32)
    model = models.icbm(models.small_cnn(data.image_shape, width=16), 16, data.num_classes)
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(keras.optimizers.Adam(3e-3), loss)
    anneal = callbacks.AnnealSharpness(2.0, 16.0, frequency="step")
    batches = data.train.batches(64, shuffle=True, seed=0)
    model.fit(batches, epochs=12, verbose=0, callbacks=[anneal])

    x, y = data.test.arrays()
    analysis = interpret.analyze(model, x, y, class_names=data.class_names)
    on = analysis.codes.bits
    logits = keras.Model(model.input, model.get_layer("concepts").input).predict(x, verbose=0)
    shown = np.clip(data.preprocessing.invert(x), 0, None)
    chosen = np.argsort(np.abs(on.mean(0) - 0.4))[:bits]
    figure = Figure(figsize=(1.05 * images + 2.4, 1.1 * bits), layout="constrained")
    grid = figure.subplots(bits, images + 1, width_ratios=[2.1] + [1] * images)
    for row, bit in zip(grid, chosen, strict=True):
        text = f"bit {bit}\non for {on[:, bit].mean():.0%}"
        row[0].text(0, 0.5, text, va="center", fontsize=11)
        for axes in row:
            axes.axis("off")
        for axes, image in zip(row[1:], np.argsort(-logits[:, bit])[:images], strict=True):
            axes.imshow(shown[image] / shown.max())
    print(f"accuracy {analysis.codes.accuracy():.1%}")
    save(figure, "concepts.png")
