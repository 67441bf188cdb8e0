"""From a model to its summary."""

from __future__ import annotations

from collections import Counter

import keras
import numpy as np

from keras_htaf.costs.energy import EnergySummary, measure
from keras_htaf.costs.graph import calls
from keras_htaf.costs.layers import inner_of, macs, quantized_input_bits, weights
from keras_htaf.costs.results import LayerSummary, ModelSummary


def summary(model: keras.Model, x=None, batch_size: int = 64) -> ModelSummary:
    """Bits, multiply-accumulates and memory of each layer of a model and in total.

    What is counted is the network that is used after training: steps count as exact ones of one
    bit (also while they are smooth), batch normalisation as a factor and an offset for each
    channel, and quantized kernels with the bits of their codes. A multiply-accumulate has the bits
    of its wider operand, so that only signs or bits that meet signs make a binary one. Zeros that a
    convolution pads signs with do not change that, as in Larq, although they are a third value.
    Inputs are of one bit where a step, or a layer that ends with one, made them; layers that only
    select, move or repeat values keep that, of several inputs if all have the same two values.

    Given data x, the network (with exact steps) is also run on them, for its `energy`: how often
    neurons fire, and arithmetic and memory traffic for one sample on average, layer by layer.

        inputs that are spikes (only 0 and 1)    an addition (AC) for each weight that a spike meets
        sums of spikes (0, 1, 2, ..., as of two  an AC for each weight and each spike in the sum, or
        branches or of an event camera)          as other inputs, if that is cheaper
        other inputs                             a multiply-accumulate (MAC) for each product
        neurons, at each step                    a MAC for each leaking state (two for an adaptive
                                                 threshold), an AC for each that does not leak
        a reset by subtraction                   an AC for each spike
        energy                                   4.6 pJ a MAC, 0.9 pJ an AC (32-bit floats, 45 nm)
        memory traffic                           an AC of a spike reads a weight, reads and writes
                                                 a state; a MAC reads a weight and an input; each
                                                 step reads and writes each state (4 bytes each)

    Beside it stands the bit-matched quantized network: the same layers without time, with
    activations of b = ceil(log2(T + 1)) bits, which hold the spike count of T steps (of m T for
    inputs that are sums of up to m spikes). Each of its products is b additions, or a MAC where
    that is cheaper, and reads a weight and b bits; layers whose inputs are no spikes are as they
    are, once. So a spiking layer costs T * rate additions where the quantized one costs b: at equal
    traffic it pays off below a rate of b / T.

    What these figures do not say: they are arithmetic, while fetching 32 bits takes 5 pJ from 8 KiB
    of SRAM and 640 pJ from DRAM in the same technology, so that traffic and what a chip keeps near
    (caches and reuse are not modelled) decide; silent neurons, routing of spikes, control and
    leakage cost too; the quantized network could skip its zeros as well; biases, pooling, sums of
    branches, and what can be part of a kernel and its bias (normalisation, the neurons'
    `scale_input` and `rest`) are left out, and addition costs the same whatever the bits of the
    weights. Steps that a mask takes out are steps in which no neuron fires.

    Args:
        model: A functional model, or a sequential one that begins with `keras.Input`. Nested models
            are counted layer by layer.
        x: Inputs to measure the energy on, an array whose first axis is the batch; of a model with
            one input. Default: none, no energy.
        batch_size: Samples at a time. Default 64.

    Returns:
        A `keras_htaf.costs.ModelSummary`: `print` it, or take `to_dict()` or `to_markdown()`. A
        shared layer has one row, with the bits and shape of its first call and the
        multiply-accumulates of all; a shared weight counts once. Dense, convolutional and recurrent
        layers are counted, and elementwise, pooling, merging and reshaping ones need no
        multiply-accumulates. Those of all others (attention, custom layers, ...), and of inputs
        with unknown sizes, are not known; they are marked and left out of the total.

    Raises:
        ValueError: If `model` is not a model, or has no graph; with x also if x is empty or the
            model has several inputs.

    Example:

    >>> model = keras.Sequential([keras.Input((784,)), keras_htaf.layers.BinaryDense(
    ...     10, input_quantizer="sign", kernel_quantizer="sign")])
    >>> keras_htaf.summary(model).macs
    {1: 7840}
    >>> layers = [keras.Input((5, 1)), keras_htaf.layers.IF(threshold=2.5, reset="zero"),
    ...     keras.layers.Dense(8)]
    >>> energy = keras_htaf.summary(keras.Sequential(layers), np.ones((1, 5, 1))).energy
    >>> energy.spiking.acs, energy.quantized.acs  # 5 updates and 8 of 1 spike; 8 of 3 bits
    (13.0, 24.0)

    Reference: Horowitz (2014), ISSCC, and Han et al. (2015), arXiv:1506.02626, for the prices;
    Rathi and Roy (2021), doi:10.1109/TNNLS.2021.3111897, and Lemaire et al. (2022),
    arXiv:2210.13107, for the counts; Yan et al. (2024), arXiv:2409.08290, for the comparison.
    """
    if not isinstance(model, keras.Model):
        raise ValueError(f"Received {type(model).__name__}. Expected a keras.Model.")
    energy = None if x is None else _energy(model, x, batch_size)
    rows: dict[keras.Operation, dict] = {}
    counted: set[int] = set()
    for call in calls(model):
        layer = call.operation
        if isinstance(layer, keras.layers.InputLayer):
            continue
        if layer not in rows:
            own = weights(layer, counted) if isinstance(layer, keras.layers.Layer) else {}
            rows[layer] = {
                "name": call.path,
                "kind": _kind(layer),
                "input_bits": quantized_input_bits(layer, call.input_bits),
                "output_shape": tuple(call.outputs[0].shape[1:]),
                "output_bits": call.output_bits,
                "weights": dict(sorted(own.items())),
                "macs": {},
            }
        row = rows[layer]
        found = macs(call)
        if found is None or row["macs"] is None:
            row["macs"] = None
        else:
            row["macs"] = dict(sorted((found + Counter(row["macs"])).items()))
    return ModelSummary(model.name, [LayerSummary(**row) for row in rows.values()], energy)


def _kind(layer) -> str:
    name, inner = type(layer).__name__, inner_of(layer)
    return name if inner is layer else f"{name}({type(inner).__name__})"


def _energy(model, x, batch_size) -> EnergySummary:
    x = np.asarray(x)
    if x.ndim == 0 or not len(x):
        raise ValueError(f"Received x of shape {x.shape}. Expected at least one sample.")
    if batch_size != int(batch_size) or batch_size < 1:
        raise ValueError(f"Received batch_size={batch_size!r}. Expected a positive integer.")
    if len(getattr(model, "inputs", None) or [None]) != 1:
        raise ValueError(
            f"Model {model.name!r} has {len(model.inputs)} inputs. Expected one, to measure the "
            "energy on x."
        )
    return measure(model, x, int(batch_size))
