"""Slopes: what the gradient sees in place of a step's zero derivative.

A surrogate is a smooth step ``G`` with ``G(0) = 1/2`` and its derivative ``g = G'``. A hard step
computes the exact 0/1 or -1/+1 forwards and uses ``g`` backwards; a smooth step computes ``G``.
`x` is always the input minus the threshold.

Every surrogate has one parameter that a callback can anneal, its **sharpness** (HTAF's alpha, the
sigmoid's slope, ATan's a, ...), a peak ``g(0)`` and an area, the integral of ``g``. Shapes can only
be compared when they are matched: ``normalized="peak"`` divides ``G`` and ``g`` so that
``g(0) = 1``, ``normalized="area"`` so that ``g`` has area 1 and ``G`` runs from 0 to 1. That alone
does not make a comparison fair, as one sharpness is another peak for each: ``sharpness_for(peak)``
is the one to take, and ``callbacks.AnnealSharpness(peak=...)`` takes it.
"""

from __future__ import annotations

import keras

from keras_htaf.surrogates.base import Surrogate, class_as_layer
from keras_htaf.surrogates.on_bits import (
    HTAF,
    ATan,
    Erf,
    FastSigmoid,
    Sigmoid,
    SoftSign,
    SuperSpike,
    Triangle,
)
from keras_htaf.surrogates.on_signs import EDE, ApproxSign, Rectangle, SwishSign

_BY_NAME = {
    "htaf": HTAF,
    "sigmoid": Sigmoid,
    "atan": ATan,
    "fast_sigmoid": FastSigmoid,
    "super_spike": SuperSpike,
    "soft_sign": SoftSign,
    "erf": Erf,
    "triangle": Triangle,
    "rectangle": Rectangle,
    "ste": Rectangle,
    "approx_sign": ApproxSign,
    "swish_sign": SwishSign,
    "ede": EDE,
}


def get(identifier) -> Surrogate:
    """The surrogate that `identifier` names.

    Args:
        identifier: A `Surrogate`, its serialized dict, or a name: `"htaf"`, `"sigmoid"`, `"atan"`,
            `"fast_sigmoid"`, `"super_spike"`, `"soft_sign"`, `"erf"`, `"triangle"`, `"rectangle"`
            (or `"ste"`), `"approx_sign"`, `"swish_sign"`, `"ede"`. Class names work too.

    Returns:
        A `Surrogate`; a name gives the class with its defaults.

    Raises:
        ValueError: If nothing is known under the name, or the identifier is something else.

    Example:

    >>> get("atan")
    ATan(a=2.0)
    """
    if isinstance(identifier, Surrogate):
        return identifier
    if isinstance(identifier, dict):
        try:
            found = keras.saving.deserialize_keras_object(identifier)
        except (TypeError, ValueError, KeyError):  # Keras's ways to say that it knows no such class
            found = None
        if isinstance(found, Surrogate):
            return found
    if isinstance(identifier, str):
        classes = {**_BY_NAME, **{c.__name__: c for c in _BY_NAME.values()}}
        if identifier in classes:
            return classes[identifier]()
    raise ValueError(
        f"Received surrogate {identifier!r}. Expected a keras_htaf.surrogates object or one of the "
        f"names {sorted(_BY_NAME)}.{class_as_layer(identifier)}"
    )


__all__ = [
    "EDE",
    "HTAF",
    "ATan",
    "ApproxSign",
    "Erf",
    "FastSigmoid",
    "Rectangle",
    "Sigmoid",
    "SoftSign",
    "SuperSpike",
    "Surrogate",
    "SwishSign",
    "Triangle",
    "get",
]
