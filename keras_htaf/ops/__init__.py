"""Pure functions on tensors: the step, smooth and hard, and bits in bytes."""

from keras_htaf.ops.packing import pack_bits, unpack_bits
from keras_htaf.ops.steps import heaviside, htaf, sign

__all__ = ["heaviside", "htaf", "pack_bits", "sign", "unpack_bits"]
