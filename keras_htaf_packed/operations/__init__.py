"""The kinds of operations of a packed network, one module to each family.

product.py       dense layers and convolutions of bits with binary kernels: sums, or bits again
depthwise.py     the same for each channel by itself
steps.py         numbers to bits, and bits to numbers
linear.py        dense layers and convolutions of numbers with float kernels
lookup.py        dense layers of bits with float kernels
pooling.py       maxima of bits and numbers, means
pointwise.py     batch normalisation, activations, residual sums: what treats each number by itself
shapes.py        flattening, concatenation, slices; what is left to Keras

A module has a class for each kind, with

    infer(operation, *specs)             what it gives, from what it takes; checks all it holds
    define(operation, specs, *values)    the numpy reference: short, slow, and what is meant
    prepare(operation, *specs)           a function of the same values, as fast as we can

and one test holds `define` and `prepare` equal. Values are float32 arrays, or units of bits.
"""

from __future__ import annotations

import math
from typing import Any

from keras_htaf_packed.graph import LARGEST, Graph, Spec
from keras_htaf_packed.operations.depthwise import Depthwise
from keras_htaf_packed.operations.linear import Linear
from keras_htaf_packed.operations.lookup import Lookup
from keras_htaf_packed.operations.pointwise import Activation, Add, Affine, LayerNorm, RPReLU
from keras_htaf_packed.operations.pooling import GlobalPool, Pool
from keras_htaf_packed.operations.product import Product
from keras_htaf_packed.operations.shapes import Concatenate, Elsewhere, Input, Reshape, Slice
from keras_htaf_packed.operations.steps import Step, Unpack

KINDS: dict[str, Any] = {
    "activation": Activation,
    "add": Add,
    "affine": Affine,
    "concatenate": Concatenate,
    "depthwise": Depthwise,
    "global_pool": GlobalPool,
    "input": Input,
    "keras": Elsewhere,
    "layer_norm": LayerNorm,
    "linear": Linear,
    "lookup": Lookup,
    "pool": Pool,
    "product": Product,
    "reshape": Reshape,
    "rprelu": RPReLU,
    "slice": Slice,
    "step": Step,
    "unpack": Unpack,
}


def specs(graph: Graph) -> dict[str, Spec]:
    """What each value of a graph is; raises ValueError where the graph does not fit together."""
    found: dict[str, Spec] = {}
    for place, operation in enumerate(graph.operations):
        if operation.kind not in KINDS:
            raise operation.error(f"kind={operation.kind!r}", f"one of {sorted(KINDS)}")
        if (operation.kind == "input") != (place == 0) or operation.name in found:
            raise operation.error("it at this place", "one input, the first, and unique names")
        if missing := set(operation.inputs) - set(found):
            raise operation.error(f"inputs {sorted(missing)}", "names of earlier operations")
        given = [found[name] for name in operation.inputs]
        found[operation.name] = spec = KINDS[operation.kind].infer(operation, *given)
        if math.prod(spec.shape) > LARGEST:
            raise operation.error(f"what gives {spec.shape}", f"at most {LARGEST} numbers")
    if not found:
        raise ValueError("The network has no operations.")
    return found


__all__ = ["KINDS", "specs"]
