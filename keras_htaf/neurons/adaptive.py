"""The leaky integrate-and-fire neuron with a threshold that spikes raise."""

from __future__ import annotations

from dataclasses import dataclass

from keras_htaf.neurons.reset import Resetting


@dataclass(frozen=True, kw_only=True)
class ALIF(Resetting):
    """A leaky integrate-and-fire neuron that adapts: each spike raises its threshold for a while.

        v = leak(u) + x,    s = spike(v - b),    b = threshold + adaptation a
        u <- after(v, s),    a <- adaptation_decay a + (1 - adaptation_decay) s

    a, between 0 and 1, is how much it fired of late. A reset subtracts b.

    Args: of `Resetting`.
    """

    constants = ("decay", "threshold", "adaptation", "adaptation_decay")
    states = ("potential", "adaptation")

    def initial(self) -> tuple[float, ...]:
        return (self.rest, 0.0)

    def step(self, x, state, constants, spike):
        v, a = state
        decay, rho = constants["decay"], constants["adaptation_decay"]
        v = decay * v + self.charge(x, decay)
        b = constants["threshold"] + constants["adaptation"] * a
        s = spike(v - b)
        return s, (self.after(v, s, b), rho * a + (1.0 - rho) * s)
