"""Optimizers of binary networks: flipping signs, and one optimizer for each kind of weight."""

from keras_htaf.optimizers.bop import Bop
from keras_htaf.optimizers.kernels import BinaryKernel, binary_kernels
from keras_htaf.optimizers.split import SplitOptimizer

__all__ = ["BinaryKernel", "Bop", "SplitOptimizer", "binary_kernels"]
