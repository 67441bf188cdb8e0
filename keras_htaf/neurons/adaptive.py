"""The leaky integrate-and-fire neuron with a threshold that spikes raise."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from keras_htaf.neurons.reset import Resetting


@dataclass(frozen=True, kw_only=True)
class ALIF(Resetting):
    """A leaky integrate-and-fire neuron that adapts: each spike raises its threshold for a while.

        v = leak(u) + x,    s = spike(v - b),    b = threshold + adaptation a
        u <- after(v, s),    a <- adaptation_decay a + (1 - adaptation_decay) s

    a, between 0 and 1, is how much it fired of late. A reset subtracts b.

    Args: of `Resetting`.

    Example:

    >>> from keras_htaf.ops import heaviside
    >>> constants = {"decay": 0.5, "threshold": 1.0, "adaptation": 1.0, "adaptation_decay": 0.5}
    >>> spike, (left, fired) = ALIF().step(1.25, (0.0, 0.0), constants, heaviside)
    >>> float(spike), float(left), float(fired)
    (1.0, 0.25, 0.5)

    Reference: Bellec et al. (2018), arXiv:1803.09574.
    """

    constants: ClassVar[tuple[str, ...]] = ("decay", "threshold", "adaptation", "adaptation_decay")
    states: ClassVar[tuple[str, ...]] = ("potential", "adaptation")

    def initial(self) -> tuple[float, ...]:
        """The state before the first step."""
        return (self.rest, 0.0)

    def step(self, x, state, constants, spike):
        """The output and the state of one step in time, see above."""
        v, a = state
        decay, rho = constants["decay"], constants["adaptation_decay"]
        v = decay * v + self.charge(x, decay)
        b = constants["threshold"] + constants["adaptation"] * a
        s = spike(v - b)
        return s, (self.after(v, s, b), rho * a + (1.0 - rho) * s)
