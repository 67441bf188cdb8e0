"""Steps for inputs and kernels: what maps real numbers to a few values, and its slope."""

from keras_htaf.quantizers.binary import Heaviside, Sign
from keras_htaf.quantizers.step import FORWARDS, Step, check_forward

__all__ = ["FORWARDS", "Heaviside", "Sign", "Step", "check_forward"]
