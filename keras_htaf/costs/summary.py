"""From a model to its summary."""

from __future__ import annotations

from collections import Counter

import keras

from keras_htaf.costs.graph import calls
from keras_htaf.costs.layers import macs, quantized_input_bits, weights
from keras_htaf.costs.results import LayerSummary, ModelSummary


def summary(model: keras.Model) -> ModelSummary:
    """Bits, multiply-accumulates and memory of each layer of a model and in total.

    What is counted is the network that is used after training: steps count as exact ones of one
    bit (also while they are smooth), batch normalisation as a factor and an offset for each
    channel, and quantized kernels with the bits of their codes. A multiply-accumulate has the bits
    of its wider operand, so that only signs or bits that meet signs make a binary one. Zeros that a
    convolution pads signs with do not change that, as in Larq, although they are a third value.
    Inputs are of one bit where a step, or a layer that ends with one, made them; layers that only
    select, move or repeat values keep that, of several inputs if all have the same two values.

    Args:
        model: A functional model, or a sequential one that begins with `keras.Input`. Nested models
            are counted layer by layer.

    Returns:
        A `keras_htaf.costs.ModelSummary`: `print` it, or take `to_dict()` or `to_markdown()`. A
        shared layer has one row, with the bits and shape of its first call and the
        multiply-accumulates of all; a shared weight counts once. Dense, convolutional and recurrent
        layers are counted, and elementwise, pooling, merging and reshaping ones need no
        multiply-accumulates. Those of all others (attention, custom layers, ...), and of inputs
        with unknown sizes, are not known; they are marked and left out of the total.

    Raises:
        ValueError: If `model` is not a model, or has no graph.

    Example:

    >>> model = keras.Sequential([keras.Input((784,)), keras_htaf.layers.BinaryDense(
    ...     10, input_quantizer="sign", kernel_quantizer="sign")])
    >>> keras_htaf.summary(model).macs
    {1: 7840}
    """
    if not isinstance(model, keras.Model):
        raise ValueError(f"Received {type(model).__name__}. Expected a keras.Model.")
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
                "kind": type(layer).__name__,
                "input_bits": quantized_input_bits(layer, call.input_bits),
                "output_shape": tuple(call.outputs[0].shape[1:]),
                "output_bits": call.output_bits,
                "weights": dict(sorted(own.items())),
                "macs": {},
            }
        row = rows[layer]
        found = macs(call)
        known = found is not None and row["macs"] is not None
        row["macs"] = dict(sorted((found + Counter(row["macs"])).items())) if known else None
    return ModelSummary(model.name, [LayerSummary(**row) for row in rows.values()])
