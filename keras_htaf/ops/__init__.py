"""Pure functions on tensors: the step, smooth and hard, and loops over time."""

from keras_htaf.ops.steps import heaviside, htaf, sign
from keras_htaf.ops.time import scan

__all__ = ["heaviside", "htaf", "scan", "sign"]
