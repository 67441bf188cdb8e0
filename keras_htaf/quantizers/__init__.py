"""What maps real numbers to a few values, for activations, inputs and kernels."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import keras

from keras_htaf.quantizers.base import Quantizer
from keras_htaf.quantizers.binary import Heaviside, Sign
from keras_htaf.quantizers.dorefa import DoReFa
from keras_htaf.quantizers.scaled import MagnitudeAwareSign, ScaledSign, XNORSign
from keras_htaf.quantizers.sloped import Sloped
from keras_htaf.quantizers.step import Step
from keras_htaf.quantizers.ternary import Ternary

_BY_NAME: dict[str, Callable[..., Quantizer]] = {
    "sign": Sign,
    "ste_sign": partial(Sign, "rectangle"),
    "approx_sign": partial(Sign, "approx_sign"),
    "swish_sign": partial(Sign, "swish_sign"),
    "ede_sign": partial(Sign, "ede"),
    "heaviside": Heaviside,
    "ste_heaviside": partial(Heaviside, "rectangle"),
    "magnitude_aware_sign": MagnitudeAwareSign,
    "xnor_sign": XNORSign,
    "ternary": Ternary,
    "dorefa": DoReFa,
    # Larq's names, where they are others:
    "ste_tern": Ternary,
    "dorefa_quantizer": DoReFa,
}


def get(identifier, **arguments) -> Quantizer | None:
    """The quantizer that `identifier` names.

    Args:
        identifier: `None`, a `Quantizer`, its serialized dict, or a name: `"sign"` and
            `"heaviside"` (with HTAF's slope), `"ste_sign"`, `"approx_sign"`, `"swish_sign"`,
            `"ede_sign"`, `"ste_heaviside"`, `"magnitude_aware_sign"`, `"xnor_sign"`, `"ternary"`,
            `"dorefa"`; Larq's `"ste_tern"` and `"dorefa_quantizer"` are the last two. Class names
            work too.
        **arguments: Of the new quantizer (`name`, `dtype`, ...), if the identifier is a name.

    Returns:
        `None` for `None`, else a `Quantizer`; a name gives a new one.

    Raises:
        ValueError: If nothing is known under the name, or the identifier is something else.

    Example:

    >>> get("approx_sign").surrogate
    ApproxSign(s=1.0)
    """
    if identifier is None or isinstance(identifier, Quantizer):
        return identifier
    if isinstance(identifier, dict):
        found = keras.saving.deserialize_keras_object(identifier)
        if isinstance(found, Quantizer):
            return found
    if isinstance(identifier, str):
        classes = (Sign, Heaviside, MagnitudeAwareSign, XNORSign, Ternary, DoReFa)
        makers: dict[str, Callable[..., Quantizer]] = {
            **_BY_NAME,
            **{c.__name__: c for c in classes},
        }
        if identifier in makers:
            return makers[identifier](**arguments)
    advice = (
        " A plain function or a class cannot be saved or hardened: give an instance of a subclass "
        "of keras_htaf.quantizers.Quantizer."
        if callable(identifier)
        else ""
    )
    raise ValueError(
        f"Received quantizer {identifier!r}. Expected None, a keras_htaf.quantizers object or one "
        f"of the names {sorted(_BY_NAME)}.{advice}"
    )


__all__ = [
    "DoReFa",
    "Heaviside",
    "MagnitudeAwareSign",
    "Quantizer",
    "ScaledSign",
    "Sign",
    "Sloped",
    "Step",
    "Ternary",
    "XNORSign",
    "get",
]
