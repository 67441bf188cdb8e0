"""Bits in bytes."""

from __future__ import annotations

import keras
import numpy as np
from keras import ops

_register = keras.saving.register_keras_serializable(package="keras_htaf")
_CODINGS = ("bits", "signs")
_PLACES = tuple(1 << i for i in range(8))


@_register
class _PackBits(keras.Operation):
    def compute_output_spec(self, x, axis):
        axis = _checked_axis(axis, x.shape)
        size = x.shape[axis]
        packed = None if size is None else -(-size // 8)
        return keras.KerasTensor(_with_size(x.shape, axis, packed), dtype="uint8")

    def call(self, x, axis):
        return pack_bits(x, axis)


@_register
class _UnpackBits(keras.Operation):
    def compute_output_spec(self, packed, n, axis, coding):
        axis = _checked_axis(axis, packed.shape)
        _check_packed(packed, n, axis)
        return keras.KerasTensor(_with_size(packed.shape, axis, n), dtype="int8")

    def call(self, packed, n, axis, coding):
        return unpack_bits(packed, n, axis, coding)


@_register
def pack_bits(x, axis: int = -1):
    """The bits, or signs, of a tensor in bytes, of which each holds eight along an axis.

    Entry i is bit i mod 8, counted from the lowest, of byte floor(i / 8): 1 where x > 0, so of a
    bit 1 and of a sign +1, else 0. What is left of the last byte is 0. This is the order of
    `numpy.packbits(x > 0, axis, bitorder="little")` and of
    `keras_htaf.models.binary_weights(model, packed=True)`, which packs flat kernels.

    Of two packed vectors a and w of K signs, the dot product is K - 2 popcount(a xor w); of bits a
    and signs w it is 2 popcount(a and w) - popcount(a).

    Args:
        x: Tensor of bits (0/1, booleans too) or signs (-1/+1) of any dtype and shape.
        axis: The axis along which entries are packed. Default -1.

    Returns:
        A uint8 tensor of the shape of `x`, but for the axis, whose size n becomes ceil(n / 8). It
        has no gradient.

    Raises:
        ValueError: If `x` does not have the axis.

    Example:

    >>> keras.ops.convert_to_numpy(pack_bits([1, -1, -1, 1, 1, -1, 1, 1, 1])).tolist()
    [217, 1]
    """
    if isinstance(x, keras.KerasTensor):
        return _PackBits().symbolic_call(x, axis)
    x = ops.convert_to_tensor(x)
    axis = _checked_axis(axis, x.shape)
    is_bool = keras.backend.standardize_dtype(x.dtype) == "bool"
    bits = ops.moveaxis(ops.cast(x if is_bool else x > 0, "int32"), axis, -1)
    *others, size = ops.shape(bits)
    bits = ops.pad(bits, [(0, 0)] * len(others) + [(0, -size % 8)])
    bits = ops.reshape(bits, (*others, (size + 7) // 8, 8))
    packed = ops.sum(bits * np.array(_PLACES, "int32"), axis=-1)
    return ops.moveaxis(ops.cast(packed, "uint8"), -1, axis)


@_register
def unpack_bits(packed, n: int, axis: int = -1, coding: str = "bits"):
    """The entries that `pack_bits` packed.

    Args:
        packed: uint8 tensor, what `pack_bits` gives.
        n: Positive integer, how many entries there were along the axis; the last byte has at least
            one of them.
        axis: The axis along which they were packed. Default -1.
        coding: `"bits"` (default), 0 and 1, or `"signs"`, -1 and +1.

    Returns:
        An int8 tensor of the shape of `packed`, but with size n along the axis.

    Raises:
        ValueError: If `packed` is not of dtype uint8, does not have the axis or has not as many
            bytes along it as n entries take, or the coding is unknown.

    Example:

    >>> packed = np.array([217, 1], "uint8")
    >>> keras.ops.convert_to_numpy(unpack_bits(packed, 9, coding="signs")).tolist()
    [1, -1, -1, 1, 1, -1, 1, 1, 1]
    """
    if coding not in _CODINGS:
        raise ValueError(f"Received coding={coding!r}. Expected one of {_CODINGS}.")
    if isinstance(packed, keras.KerasTensor):
        return _UnpackBits().symbolic_call(packed, n, axis, coding)
    packed = ops.convert_to_tensor(packed)
    axis = _checked_axis(axis, packed.shape)
    _check_packed(packed, n, axis)
    wide = ops.cast(ops.moveaxis(packed, axis, -1), "int32")
    bits = wide[..., None] // np.array(_PLACES, "int32") % 2
    bits = ops.reshape(bits, (*ops.shape(wide)[:-1], -1))[..., :n]
    values = bits if coding == "bits" else 2 * bits - 1
    return ops.moveaxis(ops.cast(values, "int8"), -1, axis)


def _checked_axis(axis, shape) -> int:
    rank = len(shape)
    if isinstance(axis, bool) or not isinstance(axis, int) or not -rank <= axis < rank:
        raise ValueError(
            f"Received axis={axis!r} for a tensor of shape {tuple(shape)}. Expected the number of "
            "one of its axes."
        )
    return axis % rank


def _check_packed(packed, n, axis):
    dtype = keras.backend.standardize_dtype(packed.dtype)
    if dtype != "uint8":
        raise ValueError(
            f"Received packed of dtype {dtype}. Expected uint8, as pack_bits gives it."
        )
    size = packed.shape[axis]
    whole = isinstance(n, int) and not isinstance(n, bool) and n > 0
    if not whole or (size is not None and size != -(-n // 8)):
        raise ValueError(
            f"Received n={n!r} for {size} bytes along axis {axis}. Expected how many bits were "
            "packed in these: a positive integer, of which the last byte holds at least one."
        )


def _with_size(shape, axis, size):
    return (*shape[:axis], size, *shape[axis + 1 :])
