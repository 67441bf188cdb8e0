"""The leaky integrate-and-fire neuron."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from keras_htaf.neurons.reset import Resetting


@dataclass(frozen=True, kw_only=True)
class LIF(Resetting):
    """A leaky integrate-and-fire neuron.

        v = leak(u) + x,    s = spike(v - threshold),    u <- after(v, s)

    with leak(u) = rest + decay (u - rest), and `after` as `reset` says. The state is u, the
    potential after the reset. With `reset_next_step` it is v, and the reset is the next update's:

        r = spike(v - threshold)
        v <- leak(v) + x - r threshold    if it subtracts, else    leak(after(v, r)) + x
        s = spike(v - threshold)

    With `fires_before_update` it is so too, but r is the output: it comes one step later.

    Args:
        reset_next_step: See above. Default False.
        fires_before_update: See above. Default False.
        reset, reset_value, rest, detach_reset, scale_input: As of `Resetting`.

    Raises:
        ValueError: If an option is unknown, or options contradict each other.

    Example:

    >>> from keras_htaf.ops import heaviside
    >>> constants = {"decay": 0.5, "threshold": 1.0}
    >>> spike, (left,) = LIF().step(1.0, (0.5,), constants, heaviside)
    >>> float(spike), float(left)
    (1.0, 0.25)

    Reference: Eshraghian et al. (2023), arXiv:2109.12894.
    """

    reset_next_step: bool = False
    fires_before_update: bool = False

    constants: ClassVar[tuple[str, ...]] = ("decay", "threshold")
    states: ClassVar[tuple[str, ...]] = ("potential",)

    def __post_init__(self):
        super().__post_init__()
        if self.reset_next_step and self.fires_before_update:
            raise ValueError(
                "Received reset_next_step=True and fires_before_update=True. Expected one of them: "
                "what fires before the update is reset by it."
            )

    @property
    def resets_late(self) -> bool:
        """Whether the state is the potential before its reset."""
        return self.reset_next_step or self.fires_before_update

    def initial(self) -> tuple[float, ...]:
        """The state before the first step."""
        return (self.rest,)

    def step(self, x, state, constants, spike):
        """The output and the state of one step in time, see above."""
        (v,) = state
        decay, threshold = constants["decay"], constants["threshold"]
        x = self.charge(x, decay)
        if not self.resets_late:
            v = decay * v + x
            s = spike(v - threshold)
            return s, (self.after(v, s, threshold),)
        r = spike(v - threshold)
        if self.reset == "subtract":
            v = self.after(decay * v + x, r, threshold)
        else:
            v = decay * self.after(v, r, threshold) + x
        return (r if self.fires_before_update else spike(v - threshold)), (v,)
