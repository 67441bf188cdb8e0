"""Bits learned from labels that are logical functions of known attributes find these attributes."""

import keras
import numpy as np
import pytest

from keras_htaf import datasets
from keras_htaf.callbacks import AnnealSharpness
from keras_htaf.datasets import SHAPE_RULES
from keras_htaf.interpret import analyze
from keras_htaf.interpret.purity import purity
from keras_htaf.models import icbm, small_cnn


@pytest.mark.slow
def test_bits_of_shapes():
    data = datasets.shapes(num_images=5000, image_size=16)
    x, y = data.test.arrays()
    known, names = data.test.attributes, data.attribute_names
    of_labels, idle = names.index("large") + 1, [names.index("left"), names.index("top")]
    projected = x.reshape(len(x), -1) @ np.random.default_rng(0).normal(size=(x[0].size, 32))
    random = purity(projected > np.median(projected, axis=0), known)
    found = []
    for seed in (0, 1):
        keras.utils.set_random_seed(seed)
        model = icbm(small_cnn((16, 16, 3), width=16), 32, data.num_classes)
        loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
        rate = keras.optimizers.schedules.CosineDecay(3e-3, 15 * -(-len(data.train) // 64))
        model.compile(keras.optimizers.Adam(rate), loss)
        model.fit(
            *data.train.arrays(),
            batch_size=64,
            epochs=15,
            verbose=0,
            callbacks=[AnnealSharpness(2.0, 16.0)],
        )
        analysis = analyze(model, x, y, attributes=known, attribute_names=names)
        found.append(analysis)
        bits = analysis.purity
        # The labels are made of the first attributes; where a figure is, they do not ask.
        assert (bits.best_f1 > bits.null_high)[:of_labels].all()
        assert np.mean((bits.best_f1 - bits.null_mean)[:of_labels]) > 0.15
        assert np.mean((bits.best_f1 - random.best_f1)[:of_labels]) > 0.15
        assert np.abs((bits.best_f1 - bits.null_mean)[idle]).max() < 0.06
        # What the bits decide is, in the attributes, the rules by which the labels were made.
        train = analyze(model, *data.train.arrays(), attributes=data.train.attributes)
        rules = analysis.attribute_rules(train)
        assert rules.fidelity > 0.75
        for rule, terms in zip(rules.rules, SHAPE_RULES.values(), strict=True):
            made = [{(names.index(n), value) for n, value in term.items()} for term in terms]
            assert sorted(map(sorted, rule.terms)) == sorted(map(sorted, made))
    matched = found[0].match(found[1])
    assert matched.mean > 0.4 > 0.1 > matched.by_chance
