"""The kernels of a trained network as signs."""

from __future__ import annotations

import keras
import numpy as np
from keras import ops

from keras_htaf.hardening import distinct
from keras_htaf.layers import BinaryLayer


def binary_weights(model: keras.Model, packed: bool = False) -> dict[str, np.ndarray]:
    """The signs that the binary layers of a model, once hardened, compute with.

    Args:
        model: A built model.
        packed: Whether to give bits in place of signs. Default False.

    Returns:
        From the path of each kernel that is quantized to one bit (with "#2" and so on after it
        where nested models have kernels of one path) to its codes: int8 -1/+1 (0/1 of a
        `Heaviside`) in the shape of the kernel. If packed, they are uint8, flat: the kernel in
        row-major order, the last axis fastest, bit i of it in byte i // 8 at the place i % 8 from
        the lowest; 1 for +1, 0 for -1 (and 0). Scales, which are floats, are not among them: see
        `Quantizer.decompose`.

    Raises:
        ValueError: If `model` is not a built model.

    Example:

    >>> model = keras_htaf.models.binary_mlp((4,), 2, width=8, depth=1)
    >>> [(path, bits.shape) for path, bits in binary_weights(model, packed=True).items()]
    [('layer1/kernel', (4,)), ('head/kernel', (2,))]
    """
    if not isinstance(model, keras.Model) or not model.built:
        name = getattr(model, "name", type(model).__name__)
        raise ValueError(f"Received {name!r}. Expected a built keras.Model.")
    paths, found = [], []
    for layer in model._flatten_layers():
        if not isinstance(layer, BinaryLayer):
            continue
        for name, quantizer in layer.kernel_quantizers.items():
            if quantizer is None or quantizer.precision != 1:
                continue
            variable = getattr(layer, name)
            codes, _ = quantizer.decompose(ops.convert_to_tensor(variable))
            codes = ops.convert_to_numpy(codes).astype("int8")
            paths.append(variable.path)
            found.append(np.packbits(codes.ravel() > 0, bitorder="little") if packed else codes)
    return dict(zip(distinct(paths), found, strict=True))
