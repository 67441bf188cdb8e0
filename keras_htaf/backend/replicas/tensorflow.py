"""Devices of TensorFlow, through `tf.distribute`: a program on each, which meet in sums."""

from __future__ import annotations

import contextlib
import copy
import functools
import itertools
import json
import os
import threading
from functools import partial

import keras
import numpy as np
import tensorflow as tf
from keras import tree

from keras_htaf.backend.replicas import checks, share
from keras_htaf.backend.replicas.share import ModelReplicas  # noqa: F401


def _devices(devices: int | None) -> list[str]:
    """The first of the devices; virtual ones on a CPU that has not begun."""
    gpus = tf.config.list_physical_devices("GPU")
    if devices is not None and not gpus:
        (cpu,) = tf.config.list_physical_devices("CPU")
        try:
            if len(tf.config.get_logical_device_configuration(cpu) or [0]) < devices:
                parts = [tf.config.LogicalDeviceConfiguration()] * devices
                tf.config.set_logical_device_configuration(cpu, parts)
        except RuntimeError:  # TensorFlow runs already: what it has now is counted below
            pass
    found = tf.config.list_logical_devices("GPU" if gpus else "CPU")
    if devices is not None and not 1 <= devices <= len(found):
        raise ValueError(
            f"Received devices={devices!r}, but TensorFlow has {len(found)}. Expected at most that "
            "many; a CPU is divided into more if they are asked for before anything has been "
            "computed."
        )
    return [device.name for device in found[:devices]]


# One strategy for the same devices in a process: a second would number its sums like the first,
# and TensorFlow takes those for the same.


@functools.cache
def _of_devices(*names):
    return tf.distribute.MirroredStrategy(names)


@functools.cache
def _of_machines():
    return tf.distribute.MultiWorkerMirroredStrategy()


class Replicas(share.Replicas):
    def __init__(self, devices: int | None = None):
        cluster = json.loads(os.environ.get("TF_CONFIG") or "{}")
        self.chief = True
        if cluster.get("cluster"):
            if devices is not None:
                raise ValueError(
                    f"Received devices={devices!r}, but TF_CONFIG describes several machines, of "
                    "which all devices are used. Leave devices out."
                )
            self._strategy = _of_machines()
            task = cluster["task"]
            with_chief = "chief" in cluster["cluster"]
            self.chief = (
                task["index"] == 0 and task["type"] in ("chief", "worker")[not with_chief :]
            )
            self.processes = sum(map(len, cluster["cluster"].values()))
        else:
            self._strategy = _of_devices(*_devices(devices))
        self.count = self._strategy.num_replicas_in_sync

    def scope(self):
        return self._strategy.scope()

    def check(self, model):
        if model.distribute_strategy is not self._strategy:
            raise ValueError(
                f"Model {model.name!r} was not made for these devices. Make, load and compile it "
                "in `with across.scope():`."
            )
        if tf.distribute.has_strategy():
            raise ValueError(
                "fit was called within the scope. Leave it first: what callbacks make, such as the "
                "twins of DiscretizationGap, would be made for several devices."
            )

    def fit(self, model, data, **options):
        with self.scope():
            if self.count > 1:
                checks.check(model, data[0])
        data.on_epoch_end()  # as Keras does before the first epoch, and before callbacks begin
        ends: dict[int, dict] = {}
        dataset = self._strategy.distribute_datasets_from_function(partial(_batches, data, ends))
        first = options["initial_epoch"]
        follow = keras.callbacks.LambdaCallback(
            on_epoch_end=lambda epoch, logs: vars(data).update(ends.pop(epoch - first, {}))
        )
        options["callbacks"] = [follow, *options["callbacks"]]
        options |= {"steps_per_epoch": len(data), "shuffle": False}
        validation = options["validation_data"]
        if isinstance(validation, (tuple, list)):
            validation = _Rows(validation)
        if isinstance(validation, keras.utils.PyDataset):
            # Keras divides it unevenly, and cannot look at such a batch.
            options["validation_data"] = self._strategy.distribute_datasets_from_function(
                partial(_batches, validation, None)
            )
            options["validation_steps"] = len(validation)
        replaced = {
            name: partial(_step, model, getattr(model, name))
            for name in ("train_step", "test_step")
        }
        # Keras would build by the mean of what the replicas get, which several workers lack.
        with self.scope():
            model._symbolic_build(data_batch=tuple(data[0]))
        replaced["_maybe_symbolic_build"] = lambda **_: None
        with _losses_apart(model), share.steps(model, **replaced):
            return model.fit(dataset, **options)

    def spread(self, model):
        largest = 0.0
        for variable in model.variables:
            here = self._strategy.experimental_local_results(variable.value)
            first, *others = (np.asarray(value, "float64") for value in here)
            for other in others:
                largest = max(largest, float(np.max(np.abs(other - first), initial=0.0)))
        return largest

    def barrier(self):
        self.gather([0])

    def gather(self, numbers):
        if self.processes == 1:
            return super().gather(numbers)

        @tf.function
        def rows():
            def row():
                context = tf.distribute.get_replica_context()
                return context.all_gather(tf.constant([numbers], tf.int32), axis=0)

            return self._strategy.run(row)

        found = self._strategy.experimental_local_results(rows())[0].numpy()
        return found[:: len(found) // self.processes].tolist()  # one row for each device


class _Rows(keras.utils.PyDataset):
    """Arrays in batches of Keras's default size, in their order."""

    def __init__(self, arrays, size: int = 32):
        super().__init__()
        self._arrays = tree.map_structure(np.asarray, tuple(a for a in arrays if a is not None))
        self._rows, self._size = len(tree.flatten(self._arrays)[0]), size

    def __len__(self):
        return -(-self._rows // self._size)

    def __getitem__(self, index):
        part = slice(index * self._size, (index + 1) * self._size)
        return tree.map_structure(lambda array: array[part], self._arrays)


def _batches(data, ends, context):
    """A PyDataset as an endless `tf.data.Dataset` that gives each batch to all replicas.

    TensorFlow reads ahead, across epochs too, and Keras looks at a batch before it begins: each
    iterator reads a copy, which counts its epochs by itself. What it is after an epoch is left in
    `ends`, before the last batch goes out, for the data themselves. (Validation data, which have
    no `ends`, are left as they are.)
    """

    def read():
        own = copy.copy(data)
        vars(own).update(_apart(data))
        if ends is None:
            own.on_epoch_end()  # as Keras does once before the first epoch
        for epoch in itertools.count():
            own.on_epoch_begin()
            for i in range(len(own)):
                batch = own[i]
                if i + 1 == len(own):
                    own.on_epoch_end()
                    if ends is not None:
                        ends[epoch] = _apart(own)
                yield tuple(batch)

    specs = tree.map_structure(
        lambda x: tf.TensorSpec([None, *np.shape(x)[1:]], np.asarray(x).dtype), tuple(data[0])
    )
    endless = tf.data.Dataset.from_generator(read, output_signature=specs)
    endless = endless.apply(tf.data.experimental.assert_cardinality(tf.data.INFINITE_CARDINALITY))
    times = context.num_replicas_in_sync // context.num_input_pipelines
    repeated = endless.flat_map(lambda *batch: tf.data.Dataset.from_tensors(batch).repeat(times))
    return repeated.prefetch(times)


def _apart(data):
    """The attributes; those which the next epoch may change in place, such as an order, copied."""

    def changes(value):
        return isinstance(value, (list, dict, set)) or getattr(value, "ndim", None) == 1

    return {k: copy.copy(v) if changes(v) else v for k, v in vars(data).items()}


class _Losses(threading.local):
    """What `add_loss` gathers in a layer, apart in the thread of each replica.

    A thread that waits for a sum lets the next begin, whose model call would remove the losses of
    the first, and both would count those of the other.
    """

    def __init__(self):
        self._found = []

    def extend(self, losses):
        self._found.extend(losses)

    def clear(self):
        self._found.clear()

    def __getitem__(self, places):
        return self._found[places]


@contextlib.contextmanager
def _losses_apart(model):
    layers = model._flatten_layers()
    before = [(layer, layer._losses) for layer in layers]
    for layer, _ in before:
        layer._losses = _Losses()
    try:
        yield
    finally:
        for layer, losses in before:
            losses.clear()
            layer._losses = losses


def _step(model, step, data):
    """A step on this replica's share, with what the metrics have seen on all of them."""
    context = tf.distribute.get_replica_context()
    count, index = context.num_replicas_in_sync, context.replica_id_in_sync_group
    total = partial(context.all_reduce, tf.distribute.ReduceOp.SUM)
    n = tf.shape(next(x for x in tree.flatten(data) if x is not None))[0]
    divides = n % count == 0
    size = tf.where(divides, n // count, n)
    begin = tf.where(divides, index * size, 0)
    data = tree.map_structure(lambda x: x[begin : begin + size], data)

    before = [tf.identity(v.value) for v in model.metrics_variables]
    with share.sharing(share.Share(total, index, count, tf.logical_not(divides))):
        logs = step(data)
    if not before:  # of a model that is being built
        return logs
    # A batch that all have counts once.
    counts = tf.logical_or(divides, tf.equal(index, 0))
    own = [
        tf.where(counts, v.value, old)
        for v, old in zip(model.metrics_variables, before, strict=True)
    ]
    for variable, value in zip(model.metrics_variables, own, strict=True):
        variable.assign(total(value))
    logs = model.get_metrics_result()
    for variable, value in zip(model.metrics_variables, own, strict=True):
        variable.assign(value)
    if isinstance(context.strategy, tf.distribute.MultiWorkerMirroredStrategy):
        # There Keras takes the mean over a first axis, which a number has not.
        return tree.map_structure(lambda value: tf.reshape(value, [1]), logs)
    return logs


def available() -> int:
    return len(tf.config.list_physical_devices("GPU")) or 1


def leave() -> None:
    pass
