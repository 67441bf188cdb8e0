"""The leaky integrator, which does not fire."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar


@dataclass(frozen=True, kw_only=True)
class LI:
    """A leaky integrator, the readout of a spiking network.

        v <- decay v + x,    output v

    Args:
        scale_input: Whether the input is multiplied by 1 - decay. Default False.

    Example:

    >>> LI().step(1.0, (0.5,), {"decay": 0.5})
    (1.25, (1.25,))

    Reference: Eshraghian et al. (2023), arXiv:2109.12894.
    """

    scale_input: bool = False

    constants: ClassVar[tuple[str, ...]] = ("decay",)
    states: ClassVar[tuple[str, ...]] = ("potential",)

    def initial(self) -> tuple[float, ...]:
        """The state before the first step."""
        return (0.0,)

    def charge(self, x, decay):
        """What an input adds to the potential."""
        return x * (1.0 - decay) if self.scale_input else x

    def step(self, x, state, constants, spike=None):
        """The output and the state of one step in time, see above."""
        decay = constants["decay"]
        v = decay * state[0] + self.charge(x, decay)
        return v, (v,)
