"""Loops over time."""

from __future__ import annotations

import keras
from keras import ops

from keras_htaf import backend
from keras_htaf.surrogates.base import floating


def scan(step, inputs, state, parameters=(), training=True):
    """A loop over the second axis, with its gradient: what the spiking layers run on.

        y_t, state <- step(x_t, state, parameters),    t = 1..T

    Time and memory are linear in T. On TensorFlow, in a graph, it is compiled, as on JAX, and the
    backward loop computes each turn anew from the states before it; on torch it is a loop in
    Python, which keeps what each turn computes. On JAX it has no forward mode.

    Args:
        step: Function of the inputs of one step, the state and the parameters that gives
            `(outputs, state)`, in operations of `keras.ops`. Whatever wants a gradient must come as
            an argument: one that the function closes over gets none on TensorFlow.
        inputs: Tensor of shape (batch, time, ...), or a dict of such.
        state: Tuple of tensors, whose shapes and dtypes `step` keeps.
        parameters: Any nest of tensors. Default: none.
        training: Whether gradients may be asked for, on TensorFlow in a compiled program that
            needs XLA; the numbers are the same. Default True.

    Returns:
        `(outputs, state)`: the outputs of all steps, (batch, time, ...), in a tuple if `step` gives
        one, and the last state.

    Raises:
        ValueError: If the inputs differ in their first two axes, or there is no step.

    Example:

    >>> decaying = lambda x, state, decay: (decay * state[0] + x, (decay * state[0] + x,))
    >>> y, last = scan(decaying, keras.ops.ones((1, 3)), (keras.ops.zeros(1),), 0.5)
    >>> [float(v) for v in y[0]], float(last[0][0])
    ([1.0, 1.5, 1.75], 1.75)
    """
    several = isinstance(inputs, dict)
    named = inputs if several else {"x": inputs}
    named = {name: ops.convert_to_tensor(x) for name, x in named.items()}
    shapes = {name: tuple(x.shape) for name, x in named.items()}
    if len({shape[:2] for shape in shapes.values()}) != 1 or any(
        len(shape) < 2 or shape[1] == 0 for shape in shapes.values()
    ):
        raise ValueError(
            f"Received inputs of shapes {shapes}. Expected (batch, time, ...), of the same batch "
            "and time, with at least one step."
        )
    tupled = []

    def turn(inputs, state, parameters):
        y, state = step(inputs if several else inputs["x"], state, parameters)
        tupled.append(isinstance(y, (tuple, list)))
        return (tuple(y) if tupled[-1] else (y,)), tuple(state)

    state = tuple(floating(s) for s in state)
    parameters = keras.tree.map_structure(ops.convert_to_tensor, parameters)
    outputs, state = backend.scan(turn, named, state, parameters, bool(training))
    return (outputs if tupled[-1] else outputs[0]), state
