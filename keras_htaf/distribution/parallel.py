"""The devices that a model is trained on."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AbstractContextManager
from numbers import Integral

import keras

from keras_htaf.backend import replicas
from keras_htaf.distribution.penalties import penalised
from keras_htaf.distribution.synchronized import synchronized

_WRITERS = (
    keras.callbacks.ModelCheckpoint,
    keras.callbacks.CSVLogger,
    keras.callbacks.TensorBoard,
)


class Distribution:
    """Devices among which each batch is divided; made by `data_parallel` and `model_parallel`.

    A step gives the loss, the gradients and the batch statistics of one device, up to rounding,
    and so do the metrics whose states are sums over samples (`fit` refuses others). A batch that
    the devices do not divide, such as the last of an epoch, is computed on all of them.

    Args:
        made: The devices as the backend drives them, of `keras_htaf.backend.replicas`.

    Example:

    >>> across = keras_htaf.distribution.data_parallel(1)
    >>> with across.scope():
    ...     layers = [keras.Input((8, 8, 1)), keras.layers.Flatten(), keras.layers.Dense(10)]
    ...     model = keras.Sequential(layers)
    ...     model.compile("sgd", keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    >>> data = keras_htaf.datasets.load("digits").train.batches(64, shuffle=True)
    >>> history = across.fit(model, data, epochs=2, verbose=0)
    >>> across.count, across.chief, across.spread(model)
    (1, True, 0.0)
    """

    def __init__(self, made: replicas.Replicas):
        self._replicas = made

    @property
    def count(self) -> int:
        """Into how many parts a batch is divided."""
        return self._replicas.count

    @property
    def processes(self) -> int:
        """How many processes take part."""
        return self._replicas.processes

    @property
    def chief(self) -> bool:
        """Whether this process is the one that should write files and print."""
        return self._replicas.chief

    def scope(self) -> AbstractContextManager:
        """A context in which the model is made or loaded, and compiled; `fit` is called outside."""
        return self._replicas.scope()

    def barrier(self) -> None:
        """Waits until all processes are here."""
        self._replicas.barrier()

    def gather(self, numbers: list[int]) -> list[list[int]]:
        """The integers that each process has, in the order of the processes, in all of them."""
        return self._replicas.gather(numbers)

    def fit(
        self,
        model: keras.Model,
        data: keras.utils.PyDataset,
        *,
        epochs: int = 1,
        initial_epoch: int = 0,
        callbacks: list[keras.callbacks.Callback] | None = None,
        validation_data=None,
        validation_freq: int = 1,
        verbose: int | str = "auto",
    ) -> keras.callbacks.History:
        """Like `model.fit`, on all devices.

        Every process reads every batch, which must be the same on each, and the devices take their
        shares of it: order, augmentation and numbers are those of one device. While it trains,
        `keras.layers.BatchNormalization` normalises by the statistics of the whole batch, and
        `keras_htaf.layers.ActivityPenalty` and each layer's `activity_regularizer` see all of it.
        Metrics count every sample once, so what callbacks receive is the same in all processes;
        `ModelCheckpoint`, `CSVLogger` and `TensorBoard` act in the chief's alone.

        On several devices of TensorFlow and torch the states of metrics are added up, so they must
        begin with 0 and each sample must add its own to them: those of Keras do, unless their
        function looks across the batch (`PearsonCorrelation(axis=0)`). A largest value, or a mean
        of numbers for whole batches, is refused, as far as the first batch shows it.

        Args:
            model: A compiled model, made in `scope()`.
            data: Batches `(x, y)` or `(x, y, sample_weight)`, for instance
                `keras_htaf.datasets.load("digits").train.batches(64, shuffle=True)`. Their order
                is the data's own.
            epochs: As in `model.fit`. Default 1.
            initial_epoch: Likewise. Default 0.
            callbacks: Likewise. Default none.
            validation_data: Likewise. Default none.
            validation_freq: Likewise. Default 1.
            verbose: Likewise; processes other than the chief's print nothing.

        Returns:
            The history, the same in all processes.

        Raises:
            ValueError: If the data are not such batches, or differ between processes; if the model
                is not compiled, or was made outside `scope()`; on several devices of TensorFlow or
                torch, if the loss is no plain mean over the samples (another `reduction`, one
                number for a batch, an output with a mask), or a metric no sum over them.
            RuntimeError: If the weights of the processes differ at the end (torch).
        """
        if not isinstance(data, keras.utils.PyDataset) or len(data) == 0:
            raise ValueError(
                f"Received {type(data).__name__} as data. Expected a keras.utils.PyDataset with at "
                "least one batch, such as keras_htaf.datasets.load('digits').train.batches(64)."
            )
        if not model.compiled:
            raise ValueError(f"Model {model.name!r} is not compiled. Compile it in the scope.")
        callbacks = list(callbacks or [])
        if self.processes > 1:
            for callback in callbacks:
                if isinstance(callback, keras.callbacks.BackupAndRestore):
                    raise ValueError(
                        "BackupAndRestore would restore one process alone. Load the model before "
                        "fit, in all processes, and give initial_epoch."
                    )
        if not self.chief:
            callbacks = [c for c in callbacks if not isinstance(c, _WRITERS)]
            verbose = 0
        self._replicas.check(model)
        with synchronized(model), penalised(model):
            return self._replicas.fit(
                model,
                data,
                epochs=epochs,
                initial_epoch=initial_epoch,
                callbacks=callbacks,
                validation_data=validation_data,
                validation_freq=validation_freq,
                verbose=verbose,
            )

    def spread(self, model: keras.Model) -> float:
        """The largest difference between the copies of any weight on the devices: 0, if all is
        well.

        On torch the copies of all processes are compared, and all of them must ask. On JAX and
        TensorFlow it is those on the devices of this process: of several hosts each knows its own.
        """
        return self._replicas.spread(model)

    def __repr__(self):
        return f"<Distribution: {self.count} shares of a batch, {self.processes} process(es)>"


def data_parallel(devices: int | None = None) -> Distribution:
    """Devices that each hold the whole model and take a share of each batch.

    JAX: all devices, those of other machines included after `keras.distribution.initialize`.
    TensorFlow: all GPUs, or, where `TF_CONFIG` names several machines, all devices of these.
    torch: one for each process that `launch` or torchrun has started (NCCL on GPUs, Gloo on CPUs).

    Args:
        devices: How many; default: all. On a CPU, JAX and TensorFlow are divided into that many
            virtual devices, to try it out, if this is the first that they are asked for.

    Returns:
        A `Distribution`, whose `count` is the number of devices.

    Raises:
        ValueError: If there are not that many.

    Example:

    >>> across = keras_htaf.distribution.data_parallel(1)
    >>> with across.scope():
    ...     model = keras.Sequential([keras.Input((8, 8, 1)), keras.layers.Flatten()])
    >>> across.count
    1
    """
    if devices is not None:
        _positive("devices", devices)
    return Distribution(replicas.Replicas(devices))


def model_parallel(
    layout: Mapping[str, tuple] | None = None, devices: int | None = None, batch: int = 1
) -> Distribution:
    """Devices that each hold a part of the large kernels (JAX only).

    The devices form a grid of `batch` rows, among which batches are divided, and
    `devices // batch` columns, called "model", among which kernels are.

    Args:
        layout: Which axis of which variable is divided, as for `keras.distribution.LayoutMap`: a
            regular expression that matches the whole path, to a tuple with `"model"` for the axis
            and None for the others, such as `{".*head/kernel": ("model", None)}`. Default: the
            output channels of each kernel whose number the columns divide.
        devices: How many; default: all, as for `data_parallel`.
        batch: Rows. Default 1: each device computes on whole batches.

    Returns:
        A `Distribution`, whose `count` is `batch`.

    Raises:
        ValueError: On another backend than JAX, or if `batch` does not divide the devices.

    Example, for eight devices:

    >>> layout = {".*head/kernel": ("model", None)}
    >>> across = model_parallel(layout, batch=2)  # doctest: +SKIP
    >>> across.count  # doctest: +SKIP
    2
    >>> model_parallel(layout, batch=0)
    Traceback (most recent call last):
        ...
    ValueError: Received batch=0. Expected a positive integer.
    """
    _positive("batch", batch)
    if devices is not None:
        _positive("devices", devices)
    return Distribution(replicas.ModelReplicas(layout, devices, batch))


def device_count() -> int:
    """How many devices this machine has for the backend: its GPUs, or 1 where it has none.

    (Of a CPU that was divided into virtual devices, JAX gives their number.)

    Returns:
        At least 1.

    Example:

    >>> keras_htaf.distribution.device_count() >= 1
    True
    """
    return replicas.available()


def _positive(name, value):
    if isinstance(value, bool) or not isinstance(value, Integral) or value < 1:
        raise ValueError(f"Received {name}={value!r}. Expected a positive integer.")
