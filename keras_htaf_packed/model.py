"""A packed network, ready to use."""

from __future__ import annotations

import os
from collections.abc import Callable
from numbers import Integral

import numpy as np

from keras_htaf_packed import c_header, container
from keras_htaf_packed.graph import Graph, Spec
from keras_htaf_packed.operations import KINDS, specs
from keras_htaf_packed.table import PackedSummary, rows


class PackedModel:
    """A network on packed bits: inference by kernels that Numba compiles, not by Keras.

    Made by `keras_htaf.packed.pack`, or read by `keras_htaf.packed.load`. Several threads may
    call one model; each call uses up to `keras_htaf.packed.get_num_threads()`.

    Args:
        graph: What to compute; checked.

    Raises:
        ValueError: If the graph does not fit together.
        ImportError: If Numba or threadpoolctl is not installed.

    Example:

    >>> model = keras_htaf.models.binary_mlp((4,), 2, width=8, depth=2)
    >>> packed = keras_htaf.packed.pack(keras_htaf.harden(model))
    >>> packed.input_shape, packed.output_shape
    ((None, 4), (None, 2))
    """

    def __init__(self, graph: Graph):
        _require("numba")
        _require("threadpoolctl")
        self.graph = graph
        self.specs: dict[str, Spec] = specs(graph)
        """What each value is, by the name of the operation that gives it."""
        output = self.specs[graph.output]
        if output.coding is not None:
            raise ValueError(f"The network {graph.name!r} gives bits. Expected numbers at the end.")
        self._functions = [_prepared(operation, self.specs) for operation in graph.operations]
        last_use = {name: i for i, o in enumerate(graph.operations) for name in o.inputs}
        self._unused_after: list[list[str]] = [[] for _ in graph.operations]
        for name, i in last_use.items():
            self._unused_after[i].append(name)

    @property
    def name(self) -> str:
        """The name of the model that was packed."""
        return self.graph.name

    @property
    def input_shape(self) -> tuple[int | None, ...]:
        """Of a batch, whose size is None."""
        return (None, *self.specs[self.graph.operations[0].name].shape)

    @property
    def output_shape(self) -> tuple[int | None, ...]:
        """Of a batch, whose size is None."""
        return (None, *self.specs[self.graph.output].shape)

    def predict(self, x, batch_size: int = 32) -> np.ndarray:
        """The network's outputs.

        Args:
            x: Finite numbers, (n, ...) with the network's input shape; computed in float32.
            batch_size: How many samples are computed at once. Default 32. The outputs are the same
                for any, but for the rounding of sums in float layers, whose order is BLAS's.

        Returns:
            float32 array, (n, ...).

        Raises:
            ValueError: If `x` has another shape, holds NaN or infinity, or `batch_size` is not
                positive.

        Example:

        >>> model = keras_htaf.models.binary_mlp((4,), 2, width=8, depth=2)
        >>> keras_htaf.packed.pack(keras_htaf.harden(model)).predict(np.ones((3, 4))).shape
        (3, 2)
        """
        if isinstance(batch_size, bool) or not isinstance(batch_size, Integral) or batch_size < 1:
            raise ValueError(f"Received batch_size={batch_size!r}. Expected a positive integer.")
        x = self._checked(x)
        out = np.empty((len(x), *self.output_shape[1:]), np.float32)
        for start in range(0, len(x), batch_size):
            out[start : start + batch_size] = self._run(x[start : start + batch_size])
        return out

    def values(self, x) -> dict[str, np.ndarray]:
        """What each operation gives for inputs `x`, by its name; bits in units (`bits.py`).

        All samples are computed at once. Errors as for `predict`.
        """
        found: dict[str, np.ndarray] = {}
        self._run(self._checked(x), found)
        return found

    def _checked(self, x) -> np.ndarray:
        x = np.asarray(x)
        if x.ndim != len(self.input_shape) or x.shape[1:] != self.input_shape[1:]:
            raise ValueError(f"Received x of shape {x.shape}. Expected {self.input_shape}.")
        if x.dtype.kind not in "fiub":
            raise ValueError(f"Received x of dtype {x.dtype}. Expected real numbers.")
        x = np.ascontiguousarray(x, np.float32)
        if not np.isfinite(x).all():
            raise ValueError("Received x with NaN or infinity. Expected finite float32 numbers.")
        return x

    def _run(self, x, found=None):
        live = {self.graph.operations[0].name: x}
        for operation, function, unused in zip(
            self.graph.operations, self._functions, self._unused_after, strict=True
        ):
            given = (live[name] for name in operation.inputs) if operation.inputs else (x,)
            live[operation.name] = function(*given)
            if found is not None:
                found[operation.name] = live[operation.name]
            for name in unused:
                del live[name]
        return live[self.graph.output]

    def save(self, path: str | os.PathLike) -> None:
        """Write the network to a file, atomically; by custom its name ends in .khtaf.

        Raises:
            ImportError: If safetensors is not installed.
            ValueError: If a part of the network is computed by Keras.

        Example:

        >>> model = keras_htaf.models.binary_mlp((4,), 2, width=8, depth=2)
        >>> keras_htaf.packed.pack(keras_htaf.harden(model)).save(tmp / "model.khtaf")
        >>> load(tmp / "model.khtaf").output_shape
        (None, 2)
        """
        _require("safetensors")
        container.write(self.graph, path)

    def save_c(self, path: str | os.PathLike, prefix: str = "model") -> None:
        """Write the network as a header of plain C99, for microcontrollers.

        It holds bits, thresholds and `static void model_predict(const float *x, float *y)`, and
        needs no library and no heap, but an `int` of 32 bits. Integers and bits are those of
        `predict`; sums of floats are added in another order.

        Args:
            path: The header to write, atomically.
            prefix: What its names begin with. Default "model".

        Raises:
            ValueError: If a part of the network needs Keras or a mathematical library (softmax,
                sigmoid, tanh, layer normalisation), or `prefix` is no identifier.

        Example:

        >>> model = keras_htaf.models.binary_mlp((4,), 2, width=8, depth=2)
        >>> keras_htaf.packed.pack(keras_htaf.harden(model)).save_c(tmp / "model.h")
        >>> "void model_predict" in (tmp / "model.h").read_text()
        True
        """
        c_header.write_c(self.graph, self.specs, path, prefix)

    def summary(self) -> PackedSummary:
        """Operations, what they give and the bytes that they hold; prints as a table."""
        return PackedSummary(self.name, rows(self.graph, self.specs))


def load(path: str | os.PathLike) -> PackedModel:
    """Read a packed network that `PackedModel.save` wrote.

    The file holds arrays and a description, no code. Its checksum is compared, and each operation
    is checked, before anything is computed. Nothing here uses Keras.

    Args:
        path: A `.khtaf` file.

    Returns:
        A `PackedModel`.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it is damaged, something else, or of a newer version.
        ImportError: If Numba, threadpoolctl or safetensors is not installed.

    Example:

    >>> model = keras_htaf.models.binary_mlp((4,), 2, width=8, depth=2)
    >>> keras_htaf.packed.pack(keras_htaf.harden(model)).save(tmp / "model.khtaf")
    >>> load(tmp / "model.khtaf").output_shape
    (None, 2)
    """
    _require("safetensors")
    graph = container.read(path)
    try:
        return PackedModel(graph)
    except (ValueError, TypeError, LookupError, ArithmeticError, MemoryError) as error:
        raise ValueError(f"{os.fspath(path)!r} cannot be used: {error}") from error


def _prepared(operation, known: dict[str, Spec]) -> Callable:
    given = [known[name] for name in operation.inputs]
    return KINDS[operation.kind].prepare(operation, *given)


def _require(package: str) -> None:
    from importlib.util import find_spec

    if find_spec(package) is None:
        raise ImportError(
            f"Packed networks need {package}, which is not installed: "
            'pip install "keras-htaf[packed]"'
        )
