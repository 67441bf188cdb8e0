"""What a spike does to the potential."""

from __future__ import annotations

import math
from dataclasses import dataclass
from numbers import Real

from keras import ops

RESETS = ("subtract", "zero", "value", "none")


@dataclass(frozen=True, kw_only=True)
class Resetting:
    """Options of a neuron that leaks towards a resting potential and is reset where it fires.

    Args:
        reset: What a spike s does to the potential v: `"subtract"`, v - s threshold; `"zero"`,
            (1 - s) v; `"value"`, (1 - s) v + s reset_value; `"none"`, nothing.
        reset_value: Float, for `"value"`. Default 0.
        rest: Float, the potential that a neuron starts from and leaks to. Default 0.
        detach_reset: Whether no gradient passes through the s of the reset. Default True.
        scale_input: Whether the input is multiplied by 1 - decay, so that a constant input is what
            the potential converges to. Default False.

    Raises:
        ValueError: If an option is unknown, or a number is not finite.

    Example:

    >>> v, s = keras.ops.convert_to_tensor(1.5), keras.ops.convert_to_tensor(1.0)
    >>> float(Resetting(reset="value", reset_value=-1.0).after(v, s, threshold=1.0))
    -1.0

    Reference: Eshraghian et al. (2023), arXiv:2109.12894.
    """

    reset: str = "subtract"
    reset_value: float = 0.0
    rest: float = 0.0
    detach_reset: bool = True
    scale_input: bool = False

    def __post_init__(self):
        if self.reset not in RESETS:
            raise ValueError(f"Received reset={self.reset!r}. Expected one of {RESETS}.")
        for name in ("reset_value", "rest"):
            value = getattr(self, name)
            if not isinstance(value, Real) or not math.isfinite(value):
                raise ValueError(f"Received {name}={value!r}. Expected a finite number.")
        if self.reset_value and self.reset != "value":
            raise ValueError(
                f"Received reset_value={self.reset_value!r} with reset={self.reset!r}, which does "
                'not use it. Expected reset="value".'
            )

    def charge(self, x, decay):
        """What one more step adds to decay v: rest + decay (v - rest) + x = decay v + charge."""
        x = x * (1.0 - decay) if self.scale_input else x
        return x + self.rest * (1.0 - decay) if self.rest else x

    def after(self, v, s, threshold):
        """The potential v after the spike s."""
        if self.reset == "none":
            return v
        if self.detach_reset:
            s = ops.stop_gradient(s)
        if self.reset == "subtract":
            return v - s * threshold
        kept = (1.0 - s) * v
        return kept + s * self.reset_value if self.reset == "value" else kept
