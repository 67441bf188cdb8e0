"""Pure functions on tensors: the step, smooth and hard, bits in bytes, loops over time."""

from keras_htaf.ops.packing import pack_bits, unpack_bits
from keras_htaf.ops.steps import heaviside, htaf, sign
from keras_htaf.ops.time import scan

__all__ = ["heaviside", "htaf", "pack_bits", "scan", "sign", "unpack_bits"]
