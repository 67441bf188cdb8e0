"""How many binary weights change their sign."""

from __future__ import annotations

import keras
import numpy as np
from keras import ops

from keras_htaf.hardening import distinct
from keras_htaf.optimizers import BinaryKernel, binary_kernels


class FlipRatio(keras.callbacks.Callback):
    """Logs the share of binary weights whose sign is another than an epoch (or a step) ago.

    Logs, and so writes into `history`:

        flip_ratio            of all binary kernels: weights that changed sign / weights
        flip_ratio/<layer>    of one layer's kernel, by the layer's name (with the kernel's name
                              behind it where a layer has several, and "#2" and so on where several
                              layers have one name)

    The sign is the bit that the kernel's quantizer makes of a weight, so that a weight of 0, a
    learned threshold and bits 0 and 1 count as they do in the network. The first epoch is compared
    with the weights before it. Latent weights and the signs that `Bop` trains are treated alike. A
    kernel that is frozen while `fit` runs flips no more; one that is unfrozen is not counted until
    the next `fit`.

    Args:
        frequency: `"epoch"` (default), or `"step"`: the mean over the steps of an epoch of the
            share that flips in one step. This reads the weights after each step, which takes time.

    Raises:
        ValueError: If `frequency` is another; at the start of `fit` also if the model has no
            trainable binary kernel.

    Example:

    >>> layer = keras_htaf.layers.BinaryDense(2, kernel_quantizer="sign", name="binary")
    >>> model = keras.Sequential([keras.Input((4,)), layer])
    >>> model.compile(keras.optimizers.SGD(0.0), "mse")
    >>> logs = model.fit(np.eye(4), np.ones((4, 2)), verbose=0, callbacks=[FlipRatio()]).history
    >>> logs["flip_ratio"], logs["flip_ratio/binary"]
    ([0.0], [0.0])

    Reference: Helwegen et al. (2019), arXiv:1906.02107.
    """

    def __init__(self, frequency: str = "epoch"):
        super().__init__()
        if frequency not in ("epoch", "step"):
            raise ValueError(f"Received frequency={frequency!r}. Expected 'epoch' or 'step'.")
        self.frequency = frequency

    def on_train_begin(self, logs=None):
        kernels = binary_kernels(self.model)
        if not kernels:
            raise ValueError(
                f"FlipRatio found no trainable binary kernel in model {self.model.name!r}. "
                "Expected at least one: a binary layer with a kernel_quantizer of one bit."
            )
        labels = distinct(kernel.label for kernel in kernels)
        self._labels = {id(k.variable): label for k, label in zip(kernels, labels, strict=True)}
        self._signs = self._read()

    def on_epoch_begin(self, epoch, logs=None):
        self._flips = dict.fromkeys(self._signs, 0)
        self._times = 0

    def on_train_batch_end(self, batch, logs=None):
        if self.frequency == "step":
            self._compare()

    def on_epoch_end(self, epoch, logs=None):
        if self.frequency == "epoch":
            self._compare()
        if logs is None:
            return
        seen = {label: signs.size * self._times for label, signs in self._signs.items()}
        logs["flip_ratio"] = sum(self._flips.values()) / sum(seen.values())
        for label, flips in self._flips.items():
            logs[f"flip_ratio/{label}"] = flips / seen[label]

    def _compare(self):
        signs = self._read()
        for label, before in self._signs.items():
            after = signs.get(label, before)  # a kernel may have been frozen since
            self._flips[label] += int(np.count_nonzero(after != before))
            self._signs[label] = after
        self._times += 1

    def _read(self):
        # Through self.model: on JAX that brings the weights up to date within an epoch.
        kernels = [k for k in binary_kernels(self.model) if id(k.variable) in self._labels]
        return {self._labels[id(kernel.variable)]: _bits(kernel) for kernel in kernels}


def _bits(kernel: BinaryKernel) -> np.ndarray:
    codes, _ = kernel.quantizer.decompose(ops.convert_to_tensor(kernel.variable))
    return ops.convert_to_numpy(codes > 0)  # the codes are 0 and 1, or -1 and +1
