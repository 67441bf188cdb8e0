"""One ICBM and its dense twin: trained, and measured with what must stand beside them."""

from __future__ import annotations

import functools
import time

import keras
import numpy as np
from icbm_networks import BACKBONES, RATES

from keras_htaf import datasets
from keras_htaf.callbacks import AnnealSharpness
from keras_htaf.interpret import analyze, random_bits
from keras_htaf.interpret.purity import purity
from keras_htaf.interpret.sparse import sparse_heads
from keras_htaf.models import icbm

SHARPNESS = 2.0
"""HTAF's alpha at the beginning of a training."""


@functools.cache
def load(name: str, data_dir: str | None, images: int | None, test_images: int | None):
    """Training and test arrays, and the test images' attributes where they are known."""
    data = datasets.load(name, data_dir, validation=0.0, normalize="standard")
    test = data.test.arrays(test_images)
    known = data.test.attributes
    attributes = None if known is None else known[: len(test[0])]
    return data.train.arrays(images), test, attributes, data


def measure(run: dict, data_dir: str | None) -> dict:
    """Train both networks of a run and give their numbers; accuracies in percent."""
    begin = time.process_time()
    train, test, attributes, data = load(run["data"], data_dir, run["images"], run["test_images"])
    dense, _ = _trained(run, train, data.num_classes, "relu")
    model, history = _trained(run, train, data.num_classes, "htaf")
    trained = time.process_time()

    on_test = analyze(model, *test, attributes=attributes)
    codes = on_test.run(*train)
    health, code = on_test.health, on_test.code
    features = [_features(dense, x) for x, _ in (train, test)]
    pixels = [x for x, _ in (train, test)]
    of_pixels, of_features = (
        random_bits(*arrays, run["concepts"], run["seed"]) for arrays in (pixels, features)
    )
    heads = sparse_heads(codes, on_test.codes, random=of_pixels)
    beside = sparse_heads(codes, on_test.codes, random=of_features).random
    result = {
        "dense": _percent(dense.predict(test[0], batch_size=256, verbose=0).argmax(-1), test[1]),
        "smooth": 100 * code.smooth_accuracy,
        "hard": 100 * code.accuracy,
        "gap": 100 * (code.smooth_accuracy - code.accuracy),
        "train": 100 * history["accuracy"][-1],
        "necs": heads.necs,
        "heads": {
            kind: [100 * head.accuracy for head in found] for kind, found in heads.heads.items()
        },
        "refitted": 100 * heads.dense.accuracy,
        "random_pixels": [100 * value for value in heads.random],
        "random_features": [100 * value for value in beside],
        "dead": int(health.dead.sum()),
        "always_on": int(health.always_on.sum()),
        "effective_bits": health.effective_bits,
        "ceiling": 100 * code.ceiling,
        "single": 100 * code.single,
        "held_out": 100 * code.held_out,
        "certified": 100 * on_test.certified.share,
        "agreement": 100 * on_test.certified.agreement,
        "parameters": model.count_params(),
        "train_images": len(train[0]),
        "measured_images": len(test[0]),
        "core_seconds": time.process_time() - begin,
        "training_core_seconds": trained - begin,
    }
    if attributes is not None:
        known = on_test.purity
        chance = purity(of_pixels[1], attributes, shuffles=1)
        result["purity"] = {
            "attributes": data.attribute_names,
            "best_f1": known.best_f1.tolist(),
            "null_high": known.null_high.tolist(),
            "random_f1": chance.best_f1.tolist(),
        }
    return result


def _trained(run: dict, train, classes: int, activation: str):
    """A network and the history of its training."""
    keras.utils.set_random_seed(run["seed"])
    x, y = train
    model = icbm(
        BACKBONES[run["backbone"]](x.shape[1:]),
        run["concepts"],
        classes,
        activation=activation,
        alpha=SHARPNESS,
        forward=run["forward"],
    )
    steps = run["epochs"] * -(-len(x) // run["batch_size"])
    warmup = max(steps // 10, 1)
    rate = keras.optimizers.schedules.CosineDecay(
        0.05 * RATES[run["backbone"]],
        decay_steps=max(steps - warmup, 1),
        alpha=0.01,
        warmup_target=RATES[run["backbone"]],
        warmup_steps=warmup,
    )
    model.compile(
        keras.optimizers.Adam(rate),
        keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        metrics=["accuracy"],
    )
    sharper = AnnealSharpness(SHARPNESS, run["alpha_end"], frequency="step")
    history = model.fit(
        _Shuffled(x, y, run["batch_size"], run["seed"]),
        epochs=run["epochs"],
        callbacks=[sharper] if activation == "htaf" else [],
        verbose=0,
    )
    return model, history.history


class _Shuffled(keras.utils.PyDataset):
    """Whole batches in another order in each epoch, the same on each backend."""

    def __init__(self, x, y, batch_size, seed):
        super().__init__()
        self.x, self.y, self.size = x, y, min(batch_size, len(x))
        self.random = np.random.default_rng(seed)
        self.on_epoch_end()

    def __len__(self):
        return len(self.x) // self.size

    def __getitem__(self, i):
        rows = self.order[i * self.size : (i + 1) * self.size]
        return self.x[rows], self.y[rows]

    def on_epoch_end(self):
        self.order = self.random.permutation(len(self.x))


def _features(dense: keras.Model, x) -> np.ndarray:
    """What the concepts of the dense twin are made from."""
    pooled = keras.Model(dense.input, dense.get_layer("concept_logits").input)
    return pooled.predict(x, batch_size=256, verbose=0)


def _percent(decisions, labels) -> float:
    return 100 * float(np.mean(decisions == labels))
