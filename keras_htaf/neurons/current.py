"""The leaky integrate-and-fire neuron behind a synaptic current."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from keras_htaf.neurons.leaky import LIF


@dataclass(frozen=True, kw_only=True)
class CubaLIF(LIF):
    """A leaky integrate-and-fire neuron whose input charges a current that decays.

        i <- synaptic_decay i + x,    then as `LIF` with the input i

    but for one thing: a reset in the next step, of the kinds zero and value, is of the potential
    that the current has been added to, after(leak(v) + i, r).

    Args: as `LIF`; `scale_input` multiplies the current.

    Example:

    >>> from keras_htaf.ops import heaviside
    >>> constants = {"synaptic_decay": 0.5, "decay": 0.5, "threshold": 1.0}
    >>> spike, (current, left) = CubaLIF().step(0.5, (1.0, 0.0), constants, heaviside)
    >>> float(spike), float(current), float(left)
    (0.0, 1.0, 1.0)

    Reference: Eshraghian et al. (2023), arXiv:2109.12894.
    """

    constants: ClassVar[tuple[str, ...]] = ("synaptic_decay", "decay", "threshold")
    states: ClassVar[tuple[str, ...]] = ("current", "potential")

    def initial(self) -> tuple[float, ...]:
        return (0.0, self.rest)

    def step(self, x, state, constants, spike):
        i, v = state
        i = constants["synaptic_decay"] * i + x
        if not self.resets_late:
            s, (v,) = super().step(i, (v,), constants, spike)
            return s, (i, v)
        decay, threshold = constants["decay"], constants["threshold"]
        r = spike(v - threshold)
        v = self.after(decay * v + self.charge(i, decay), r, threshold)
        return (r if self.fires_before_update else spike(v - threshold)), (i, v)
