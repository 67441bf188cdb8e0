"""The dynamics of spiking neurons: pure functions from one step in time to the next.

Each neuron is a frozen object of options with

    step(x, state, constants, spike) -> (output, state)

where x is the input of one step in time, state a tuple of tensors of its shape (`states` names
them), constants a dict of tensors that broadcast to it (`constants` names them), and spike the step
that maps a potential's distance from the threshold to a spike. The layers of
`keras_htaf.layers` own the constants and the spike, and run the step over time.

>>> from keras_htaf.ops import heaviside
>>> constants = {"decay": 0.5, "threshold": 1.0}
>>> x, rest = keras.ops.convert_to_tensor([0.9, 1.5]), keras.ops.zeros(2)
>>> spikes, (potential,) = LIF().step(x, (rest,), constants, heaviside)
>>> [float(s) for s in spikes], [round(float(v), 2) for v in potential]
([0.0, 1.0], [0.9, 0.5])
"""

from keras_htaf.neurons.adaptive import ALIF
from keras_htaf.neurons.current import CubaLIF
from keras_htaf.neurons.integrator import LI
from keras_htaf.neurons.leaky import LIF
from keras_htaf.neurons.reset import RESETS, Resetting

__all__ = ["ALIF", "LI", "LIF", "RESETS", "CubaLIF", "Resetting"]
