"""Batches: order, resuming, augmentation, and training on them."""

from __future__ import annotations

import keras
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from keras_htaf.datasets import Split
from keras_htaf.datasets.arrays import ArraySource
from keras_htaf.datasets.augment import flip, shift, shift_flip


def _split(count):
    """Images whose pixels all hold their own row number."""
    rows = np.arange(count)
    images = np.broadcast_to(rows[:, None, None, None], (count, 8, 8, 1)).astype(np.float32)
    return Split(ArraySource(images, (rows % 10).astype(np.int32), None))


def _rows(batches):
    """Row numbers of all images, in the order in which they come."""
    return np.concatenate([batches[i][0][:, 0, 0, 0] for i in range(len(batches))]).astype(int)


def _fit(batches, epochs, initial_epoch=0, **kwargs):
    """Trains a layer with plain SGD: the result depends on the order of the batches."""
    keras.utils.set_random_seed(epochs)  # Differs on purpose: the order must not come from it.
    model = keras.Sequential(
        [
            keras.Input((8, 8, 1)),
            keras.layers.Flatten(),
            keras.layers.Dense(1, kernel_initializer="zeros"),
        ]
    )
    model.compile(keras.optimizers.SGD(1e-5), "mse")
    if "weights" in kwargs:
        model.set_weights(kwargs.pop("weights"))
    model.fit(batches, epochs=epochs, initial_epoch=initial_epoch, verbose=0, **kwargs)
    return model


@settings(deadline=None, max_examples=60)
@given(
    count=st.integers(1, 70),
    batch_size=st.integers(1, 80),
    seed=st.integers(0, 2**40),
    epoch=st.integers(0, 1000),
)
def test_a_shuffle_is_a_permutation(count, batch_size, seed, epoch):
    batches = _split(count).batches(batch_size, shuffle=True, seed=seed, initial_epoch=epoch)
    rows = _rows(batches)
    np.testing.assert_array_equal(np.sort(rows), np.arange(count))
    np.testing.assert_array_equal(rows, _rows(batches))


def test_without_shuffling_rows_come_in_order():
    batches = _split(10).batches(4)
    assert len(batches) == 3
    np.testing.assert_array_equal(_rows(batches), np.arange(10))
    x, y = batches[2]
    assert (x.shape, x.dtype, y.dtype) == ((2, 8, 8, 1), np.float32, np.int32)
    np.testing.assert_array_equal(y, [8, 9])


def test_the_remainder_can_be_dropped():
    batches = _split(10).batches(4, drop_remainder=True)
    assert len(batches) == 2
    np.testing.assert_array_equal(_rows(batches), np.arange(8))
    with pytest.raises(ValueError, match="leaves nothing"):
        _split(3).batches(4, drop_remainder=True)


def test_order_depends_on_seed_and_epoch():
    split = _split(50)
    orders = {
        (seed, epoch): tuple(_rows(split.batches(8, True, seed, initial_epoch=epoch)))
        for seed in (0, 1)
        for epoch in (0, 1)
    }
    assert len(set(orders.values())) == 4


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"batch_size": 0}, "batch_size is 0"),
        ({"batch_size": 2.5}, "batch_size is 2.5"),
        ({"seed": -1}, "seed is -1"),
        ({"initial_epoch": -1}, "initial_epoch is -1"),
        ({"augment": "rotate"}, r"Unknown augmentation 'rotate'; expected one of \['shift'"),
    ],
)
def test_wrong_arguments(arguments, message):
    with pytest.raises(ValueError, match=message):
        _split(10).batches(**arguments)


def test_batches_are_counted_from_zero():
    batches = _split(10).batches(4)
    for index in (-1, 3):
        with pytest.raises(IndexError, match="3 batches"):
            batches[index]


@pytest.mark.parametrize("built", [False, True])
def test_fit_counts_epochs(built):
    batches = _split(20).batches(6, shuffle=True)
    layers = [keras.layers.Flatten(), keras.layers.Dense(1)]
    model = keras.Sequential([keras.Input((8, 8, 1)), *layers] if built else layers)
    model.compile("sgd", "mse")
    model.fit(batches, epochs=3, verbose=0)
    assert batches.epoch == 3
    model.fit(batches, epochs=1, verbose=0)
    assert batches.epoch == 4


@pytest.mark.parametrize("shuffle", [True, False])
def test_a_resumed_training_sees_the_same_batches(shuffle):
    def batches(epoch=0):
        return _split(40).batches(7, shuffle=True, seed=5, augment="shift", initial_epoch=epoch)

    whole = _fit(batches(), 4, shuffle=shuffle).get_weights()
    half = _fit(batches(), 2, shuffle=shuffle).get_weights()
    resumed = _fit(batches(2), 4, initial_epoch=2, weights=half, shuffle=shuffle).get_weights()
    assert not np.array_equal(whole[0], half[0])
    for a, b in zip(whole, resumed, strict=True):
        np.testing.assert_array_equal(a, b)


def test_order_in_fit_is_ours_even_if_keras_shuffles():
    seen = []

    def record(x, _):
        seen.append(x[:, 0, 0, 0].astype(int))
        return x

    batches = _split(40).batches(7, shuffle=True, seed=5, augment=record)
    expected = [_rows(_split(40).batches(7, True, 5, initial_epoch=epoch)) for epoch in (0, 1)]
    _fit(batches, 2)
    # What comes before the two epochs is Keras looking at the first batches.
    np.testing.assert_array_equal(np.concatenate(seen)[-80:], np.concatenate(expected))


def test_epoch_can_be_set_by_a_callback():
    class Follow(keras.callbacks.Callback):
        def on_epoch_begin(self, epoch, logs=None):
            batches.epoch = epoch

    batches = _split(20).batches(6, shuffle=True)
    _fit(batches, 7, initial_epoch=5, callbacks=[Follow()])
    assert batches.epoch == 7


def test_evaluate_and_predict_see_all_rows_in_order():
    split = _split(20)
    model = _fit(split.batches(6), 1)
    x, y = split.arrays()
    np.testing.assert_allclose(
        model.predict(split.batches(6), verbose=0), model.predict(x, verbose=0), rtol=1e-5
    )
    np.testing.assert_allclose(
        model.evaluate(split.batches(6), verbose=0), model.evaluate(x, y, verbose=0), rtol=1e-4
    )


def test_training_learns(digits):
    keras.utils.set_random_seed(1)
    model = keras.Sequential(
        [keras.Input((8, 8, 1)), keras.layers.Flatten(), keras.layers.Dense(10)]
    )
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(keras.optimizers.Adam(0.02), loss, metrics=["accuracy"])
    model.fit(
        digits.train.batches(64, shuffle=True),
        validation_data=digits.validation.batches(256),
        epochs=4,
        verbose=0,
    )
    _, accuracy = model.evaluate(digits.test.batches(256), verbose=0)
    assert accuracy > 0.85


def test_augmentation_is_seeded_by_seed_epoch_and_batch(digits):
    split = digits.train

    def first(seed=0, epoch=0, index=0):
        return split.batches(32, seed=seed, augment="shift", initial_epoch=epoch)[index]

    x, y = first()
    np.testing.assert_array_equal(x, first()[0])
    np.testing.assert_array_equal(y, split.labels[:32])
    assert not np.array_equal(x, first(seed=1)[0])
    assert not np.array_equal(x, first(epoch=1)[0])


def test_augmentation_draws_anew_for_each_batch():
    drawn = []
    batches = _split(20).batches(4, augment=lambda x, rng: drawn.append(rng.random()) or x)
    _rows(batches)
    assert len(set(drawn)) == 5


def test_shift_moves_by_up_to_an_eighth_and_repeats_the_edge(rng):
    x = rng.random((200, 16, 8, 2), dtype=np.float32)
    padded = np.pad(x, ((0, 0), (2, 2), (1, 1), (0, 0)), mode="edge")
    candidates = np.stack(
        [padded[:, dy : dy + 16, dx : dx + 8] for dy in range(5) for dx in range(3)]
    )
    moved = shift(x, rng)
    hits = (candidates == moved).all(axis=(2, 3, 4))
    np.testing.assert_array_equal(hits.sum(axis=0), 1)
    assert hits.any(axis=1).all()


def test_flip_mirrors_about_half(rng):
    x = rng.random((200, 4, 5, 1), dtype=np.float32)
    flipped = flip(x, rng)
    same = (flipped == x).all(axis=(1, 2, 3))
    mirrored = (flipped == x[:, :, ::-1]).all(axis=(1, 2, 3))
    assert (same ^ mirrored).all()
    assert 60 < mirrored.sum() < 140


@pytest.mark.parametrize("change", [shift, flip, shift_flip])
def test_augmentation_keeps_shape_and_dtype(change, rng):
    for shape in ((3, 8, 8, 1), (1, 5, 40, 3)):
        x = np.ones(shape, dtype=np.float32)
        changed = change(x, rng)
        assert (changed.shape, changed.dtype) == (shape, np.float32)


def test_a_callable_that_changes_the_shape_is_refused():
    with pytest.raises(ValueError, match=r"returned images of shape \(4, 4, 8, 1\)"):
        _split(8).batches(4, augment=lambda x, _: x[:, :4])[0]
