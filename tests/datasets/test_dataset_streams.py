"""Streams: the batches of the in-memory path, made ahead, sharded, resumed, without the images."""

from __future__ import annotations

import copy
import pickle
import subprocess
import sys

import keras
import numpy as np
import pytest

from keras_htaf import datasets
from keras_htaf.training import resumable_fit

pytest.importorskip("grain")

OPTIONS = {"batch_size": 6, "shuffle": True, "seed": 3, "augment": "shift_flip"}


def split(count=50):
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (count, 8, 8, 1), dtype=np.uint8)
    labels = np.arange(count, dtype=np.int32)
    source = datasets.arrays.ArraySource(images, labels, 255.0)
    return datasets.Split(source, preprocessing=datasets.Preprocessing(1 / 255))


def assert_same(found, expected):
    found, expected = list(found), list(expected)
    assert len(found) == len(expected)
    for mine, theirs in zip(found, expected, strict=True):
        for a, b in zip(mine, theirs, strict=True):
            np.testing.assert_array_equal(a, b)
            assert np.asarray(a).dtype == b.dtype


@pytest.mark.parametrize("epoch", [0, 2])
def test_a_stream_gives_the_batches_of_memory(epoch):
    options = {**OPTIONS, "initial_epoch": epoch}
    assert_same(split().stream(**options), split().batches(**options))
    assert_same([split().stream(**options)[5]], [split().batches(**options)[5]])


def test_records_stream_without_being_kept(data_dir):
    train = datasets.load("mnist", data_dir).train
    part = datasets.Split(train.source, train.rows[5000:5200], train.preprocessing)
    stream = part.stream(**{**OPTIONS, "batch_size": 64})
    assert_same(stream, part.batches(**{**OPTIONS, "batch_size": 64}))
    assert stream.recipe.split.source._images is None
    assert part.source._kept.sum() == 200


def test_what_other_processes_are_sent_opens_the_records_itself(data_dir):
    test = datasets.load("mnist", data_dir).test
    test.images(slice(0, 300))
    sent = pickle.dumps(test.source)
    assert len(sent) < 1000
    again = pickle.loads(sent)
    assert again._images is None
    rows = np.array([7, 290])
    assert_same([again.read(rows)], [test.source.read(rows)])


def compiled():
    keras.utils.set_random_seed(1)
    model = keras.Sequential(
        [keras.Input((8, 8, 1)), keras.layers.Flatten(), keras.layers.Dense(50)]
    )
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(keras.optimizers.SGD(0.1), loss)
    return model


def trained(batches, epochs, initial_epoch=0, model=None):
    model = model or compiled()
    model.fit(batches, epochs=epochs, initial_epoch=initial_epoch, shuffle=False, verbose=0)
    return model


def test_fit_takes_it_like_batches_and_goes_on_from_any_step():
    expected = trained(split().batches(**OPTIONS), 3).get_weights()
    stream = split().stream(**OPTIONS)
    model = trained(stream, 3)
    assert stream.epoch == 3
    for mine, theirs in zip(model.get_weights(), expected, strict=True):
        np.testing.assert_array_equal(mine, theirs)
    stream.close()

    # Interrupted after four batches of epoch 1.
    again = split().stream(**OPTIONS)
    model = trained(again.dataset(0), 1)
    for x, y in list(again.dataset(1))[:4]:
        model.train_on_batch(x, y)
    model = trained(again.dataset(1, step=4), 2, 1, model)
    again.epoch = 2
    model = trained(again, 3, 2, model)
    for mine, theirs in zip(model.get_weights(), expected, strict=True):
        np.testing.assert_allclose(mine, theirs, atol=1e-6)
    again.close()


class Interruption(keras.callbacks.Callback):
    def on_epoch_begin(self, epoch, logs=None):
        self.number = epoch

    def on_train_batch_begin(self, batch, logs=None):
        if (self.number, batch) == (1, 5):
            raise KeyboardInterrupt


def test_a_stream_goes_on_in_the_process_that_was_interrupted(tmp_path):
    expected = compiled()
    resumable_fit(expected, tmp_path / "whole", split().batches(**OPTIONS), epochs=2, verbose=0)
    stream, options = split().stream(**OPTIONS), {"epochs": 2, "verbose": 0}
    fails = [Interruption()]
    with pytest.raises(KeyboardInterrupt):
        resumable_fit(compiled(), tmp_path / "left", stream, callbacks=fails, **options)
    model, passes = compiled(), [type("Interruption", (keras.callbacks.Callback,), {})()]
    resumable_fit(model, tmp_path / "left", stream, callbacks=passes, **options)
    stream.close()
    for mine, theirs in zip(model.get_weights(), expected.get_weights(), strict=True):
        np.testing.assert_array_equal(mine, theirs)


@pytest.mark.parametrize("copied", [copy.copy, lambda stream: pickle.loads(pickle.dumps(stream))])
def test_a_copy_of_a_stream_reads_for_itself(copied):
    expected, stream = list(split().batches(**OPTIONS)), split().stream(**OPTIONS)
    stream.on_epoch_begin()
    found = [stream[0]]
    other = copied(stream)
    assert_same([other[1], other[2]], expected[1:3])
    found += [stream[i] for i in range(1, len(stream))]
    assert_same(found, expected)
    other.close()
    stream.close()


@pytest.mark.parametrize("way", ["batches", "stream"])
@pytest.mark.parametrize("drop_remainder", [False, True])
def test_shards_share_the_batches_of_one_process(way, drop_remainder):
    options = {"shuffle": True, "seed": 1, "drop_remainder": drop_remainder, "initial_epoch": 1}
    whole = list(split(53).batches(12, **options))
    shards = [list(getattr(split(53), way)(4, shard=(i, 3), **options)) for i in range(3)]
    assert [len(shard) for shard in shards] == [len(whole)] * 3
    together = [
        tuple(np.concatenate(arrays) for arrays in zip(*parts, strict=True))
        for parts in zip(*shards, strict=True)
    ]
    assert_same(together, whole)


def test_shards_augment_independently():
    same = datasets.Split(split(1).source, np.zeros(8, int))
    parts = [same.batches(4, augment="shift", seed=2, shard=(i, 2))[0][0] for i in range(2)]
    assert not np.array_equal(*parts)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"shard": (2, 2)}, r"shard is \(2, 2\); expected \(index, count\)"),
        ({"shard": 3}, "shard is 3"),
        ({"batch_size": 7, "shard": (0, 7)}, r"1 images for 7 shards"),
        ({"batch_size": 20, "shard": (0, 3), "drop_remainder": True}, "in each of 3 shards"),
        ({"prefetch": 0}, "prefetch is 0; expected an integer of at least 1"),
        ({"threads": -1}, "threads is -1"),
    ],
)
def test_wrong_arguments_of_a_stream(options, message):
    with pytest.raises(ValueError, match=message):
        split().stream(**options)


def test_a_step_that_an_epoch_does_not_have():
    with pytest.raises(ValueError, match=r"step is 9; expected one of an epoch's 9"):
        split().stream(6).dataset(0, step=9)


PROCESSES = """
import sys, time
import numpy as np
from keras_htaf import datasets

if __name__ == "__main__":
    part = datasets.load("digits").train
    options = {"batch_size": 100, "shuffle": True, "augment": "shift"}
    stream = part.stream(**options, processes=1, prefetch=2)
    stream.on_epoch_begin()
    found = [stream[i] for i in range(len(stream))]
    stream.on_epoch_end()
    stream.on_epoch_begin()  # The same process goes on with the next epoch.
    found.append(stream[0])
    after = part.batches(**options, initial_epoch=1)[0]
    for mine, theirs in zip(found, [*part.batches(**options), after], strict=True):
        np.testing.assert_array_equal(mine[0], theirs[0])
        np.testing.assert_array_equal(mine[1], theirs[1])
    print("same")
"""


@pytest.mark.skipif(keras.config.backend() != "torch", reason="no backend takes part in it")
def test_a_process_makes_the_same_batches_and_ends_with_the_program(tmp_path):
    script = tmp_path / "script.py"
    script.write_text(PROCESSES)
    done = subprocess.run(
        [sys.executable, script], capture_output=True, text=True, timeout=200, check=False
    )
    assert (done.returncode, done.stdout) == (0, "same\n"), done.stderr
