"""Spiking dense networks."""

from __future__ import annotations

from collections.abc import Callable

import keras
from keras import layers

from keras_htaf.models.checks import check_choice, check_shape, check_sizes
from keras_htaf.models.spiking.parts import READOUTS, Parts


def spiking_mlp(
    input_shape: tuple[int, ...],
    num_outputs: int,
    *,
    num_steps: int | None = None,
    width: int = 512,
    depth: int = 1,
    encoding="direct",
    neuron: str | Callable = "lif",
    neuron_options: dict | None = None,
    normalization: str | None = "threshold",
    readout: str = "count",
    return_sequences: bool = False,
    name: str = "spiking_mlp",
) -> keras.Model:
    """A dense network of spiking neurons.

    With N the normalisation and S the neurons, at each step t:

        s_1t = S(N(W_1 x_t)),    s_lt = S(N(W_l s_{l-1,t})),    y = readout(V s_depth)

        "count"      y = sum_t S(N(V s_t))          spikes of the outputs, at most T
        "membrane"   y = max_t LI(V s_t + b)        potentials of neurons that do not fire
        "mean"       y = 1/T sum_t (V s_t + b)      logits, as from rates

    LI has the decay that the neurons begin with, which for "if" is 1.

    Batch normalisation over batch and time, of maps that feed neurons, starts with the factor of
    the threshold ("threshold", as in tdBN), so that unit variance is the neurons' own unit, or with
    1 ("batch"). In direct coding all before the first neurons is computed once, not at each step.

    The recipe for T = 25: standardised inputs, batches of 64, neurons with a decay of 0.5, Adam
    with a learning rate that decays from 5e-3 to 0 (cosine), `AnnealSharpness` step by step with
    `peak=(0.33, 2.0)`, the default readout, `SparseCategoricalCrossentropy(from_logits=True)`.

    Args:
        input_shape: Without the batch axis; with `encoding=None` (time, ...), where the time may be
            None. What is not flat is flattened.
        num_outputs: Number of classes or of target variables.
        num_steps: Number of steps T of direct coding. Default 25.
        width: Units of a hidden layer. Default 512.
        depth: Number of hidden layers. Default 1.
        encoding: `"direct"` (default), the input at each step; a layer that makes a time axis, such
            as `keras_htaf.layers.RateEncoding`; or `None`, for inputs that have one.
        neuron: `"lif"` (default), `"if"`, `"plif"`, `"cuba"`, `"alif"`, or a function that makes a
            layer from the options and a `name`, such as the layer's class.
        neuron_options: Arguments of the neurons, such as `{"decay": 0.9, "surrogate": "atan"}`.
        normalization: `"threshold"` (default), `"batch"` or `None`, which has biases instead.
        readout: `"count"` (default), `"membrane"` or `"mean"`, as above.
        return_sequences: Whether to give each step's output, (batch, time, num_outputs), for the
            losses over time in `keras_htaf.losses`. Default False.
        name: Name of the model.

    Returns:
        A functional model to float32 outputs (batch, num_outputs), with the maps "layer1", ... and
        "head", the neurons "layer1_spikes", ... and what connects them.

    Raises:
        ValueError: If an argument is out of range or contradicts another.

    Example:

    >>> model = spiking_mlp((8, 8, 1), 10, num_steps=5, width=16)
    >>> counts = model(np.ones((2, 8, 8, 1)))
    >>> counts.shape == (2, 10) and float(counts[0, 0]) in range(6)
    True

    Reference: Zheng et al. (2021), arXiv:2011.05280, for normalisation by the threshold.
    """
    check_sizes(num_outputs=num_outputs, width=width, depth=depth)
    check_choice("readout", readout, READOUTS)
    parts = Parts(num_steps, encoding, neuron, neuron_options, normalization, default_steps=25)
    inputs, x = parts.inputs(input_shape, check_shape)
    if len(x.shape) > 2 + parts.timed:
        x = parts.each(layers.Flatten(name="flatten"), x)
    for layer in range(1, depth + 1):
        place = f"layer{layer}"
        x = parts.fire(parts.norm(parts.dense(x, width, place), place), place)
    return keras.Model(inputs, parts.read(x, num_outputs, readout, return_sequences), name=name)
