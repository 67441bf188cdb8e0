"""The primitives that need more than `keras.ops`, for the backend that Keras runs on.

This package is the only place that imports tensorflow, jax or torch, and it imports the one that
`KERAS_BACKEND` chose. Each module implements the same functions:

    htaf(x, alpha, beta)            the smooth step, with closed-form derivatives in all arguments
    htaf_inference(x, alpha, beta)  the same numbers, in a form fit for exported programs
    htaf_slope(x, alpha, beta)      its derivative with respect to x
    step(x, sharpness, surrogate, forward, gain, scale=1)
                                    exactly forward(x, sharpness); backwards
                                    gain * surrogate.derivative(x / scale, sharpness) / scale
    scan(step, inputs, state, parameters, training=True)
                                    a loop over time: step(inputs, state, parameters) gives
                                    (outputs, state); `training` if gradients will be asked for
    integrate_and_fire(neuron, x, state, decay, threshold, sharpness, scale, mask=None,
                       training=True)
                                    the loop of one neuron, a `Firing`, with its gradient in closed
                                    form
    linear_recurrence(x, decay, first, mask=None, trained=True, training=True)
                                    v_t = decay v_{t-1} + x_t, likewise; `trained` if the decay is
    gradients(loss, tensors)        the gradients of the number loss(*tensors), evaluated eagerly
    random_state(), set_random_state(states)
                                    what layers draw from besides variables, as a list of arrays
    eager_scope()                   a context in which variables have values, even while a training
                                    step is being compiled

`portable.py` is the definition they are held equal to, and serves any other Keras backend.
"""

import keras

from keras_htaf.backend.firing import Firing

_name = keras.config.backend()

if _name == "tensorflow":
    from keras_htaf.backend.tensorflow import (
        eager_scope,
        gradients,
        htaf,
        htaf_inference,
        htaf_slope,
        integrate_and_fire,
        linear_recurrence,
        random_state,
        scan,
        set_random_state,
        step,
    )
elif _name == "jax":
    from keras_htaf.backend.jax import (
        eager_scope,
        gradients,
        htaf,
        htaf_inference,
        htaf_slope,
        integrate_and_fire,
        linear_recurrence,
        random_state,
        scan,
        set_random_state,
        step,
    )
elif _name == "torch":
    from keras_htaf.backend.torch import (
        eager_scope,
        gradients,
        htaf,
        htaf_inference,
        htaf_slope,
        integrate_and_fire,
        linear_recurrence,
        random_state,
        scan,
        set_random_state,
        step,
    )
else:
    from keras_htaf.backend.portable import (
        eager_scope,
        gradients,
        htaf,
        htaf_inference,
        htaf_slope,
        integrate_and_fire,
        linear_recurrence,
        random_state,
        scan,
        set_random_state,
        step,
    )

__all__ = [
    "Firing",
    "eager_scope",
    "gradients",
    "htaf",
    "htaf_inference",
    "htaf_slope",
    "integrate_and_fire",
    "linear_recurrence",
    "random_state",
    "scan",
    "set_random_state",
    "step",
]
