"""Packing: a hardened model as sums of popcounts and integer thresholds.

translate/      from a Keras model to a graph

The rest, which runs the graph and knows no Keras, is the package `keras_htaf_packed` beside this.
"""

from __future__ import annotations

from keras_htaf_packed import PackedModel, get_num_threads, load, set_num_threads

__all__ = ["PackedModel", "get_num_threads", "load", "pack", "set_num_threads"]


def pack(model, *, unsupported: str = "error") -> PackedModel:
    """Compile a hardened model into a network on packed bits.

    Kernels become bits; what lies between a sum of bits and the next step (the kernel's scale, a
    bias, batch normalisation, maximum pooling) becomes an integer threshold for each channel, found
    by asking Keras itself which sums pass the step. So the integers and the bits are exactly those
    of the model on the backend that packs it, called eagerly; backends round batch normalisation
    differently, and a compiled model may round a sum that lies exactly at the threshold otherwise
    (on JAX, XLA does so depending on the neighbours of the layer). Float layers and residual sums
    are computed in float32, and their rounding depends on the order of summation. Denormal numbers,
    less than 1.2e-38 in size, count as they are here; some backends take them for 0.

    Args:
        model: A built functional or sequential model with one input and one output, float32, all
            of whose steps are exact: see `keras_htaf.harden`.
        unsupported: What to do with layers that have no packed form: `"error"` (default) names
            them, `"keras"` leaves them to Keras, so that the result needs it and cannot be saved.

    Returns:
        A `PackedModel`, whose weights are those that the model has now.

    Raises:
        ValueError: If the model is not of this kind, or has layers without a packed form.
        ImportError: If Numba is not installed.

    Example:

    >>> model = keras_htaf.models.binary_mlp((4,), 2, width=8, depth=2)
    >>> pack(keras_htaf.harden(model)).summary().rows[-2].kind
    'product'
    """
    from keras_htaf.packed.translate import translated

    return PackedModel(translated(model, unsupported))
