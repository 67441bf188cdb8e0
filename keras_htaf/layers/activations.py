"""HTAF as a layer."""

from __future__ import annotations

import keras

from keras_htaf import surrogates
from keras_htaf.quantizers import Heaviside

_register = keras.saving.register_keras_serializable(package="keras_htaf")


@_register
class HTAF(Heaviside):
    """The heavy-tailed activation as a layer: sigmoid(alpha * tanh(beta * x)).

    Its slope at 0 is alpha * beta / 4; the gradient decays like exp(-2 beta |x|). Raise
    alpha while training (`callbacks.AnnealSharpness`), then `harden` the model to get exact bits.

    Args:
        alpha: Positive float, the initial sharpness. Default 8.
        beta: Positive float, the rate of the tail in 1 / units of the input. Default 0.5.
        forward: `"smooth"` (default) or `"hard"`, as in `Step`.
        per_channel: Whether each channel has its own alpha. Default False.
        trainable_alpha: Whether the optimizer trains alpha too. Default False.
        axis: The channel axis if `per_channel`. Default -1.
        **kwargs: Of `keras.layers.Layer`.

    Raises:
        ValueError: If alpha or beta is not a positive finite number, or `forward` is unknown.

    Example:

    >>> [float(h) for h in HTAF(alpha=4.0)(np.zeros((1, 2)))[0]]
    [0.5, 0.5]

    Reference: Park et al. (2026), arXiv:2605.11558; the parametrisation is this package's.
    """

    def __init__(
        self,
        alpha: float = 8.0,
        beta: float = 0.5,
        forward: str = "smooth",
        per_channel: bool = False,
        trainable_alpha: bool = False,
        axis: int = -1,
        **kwargs,
    ):
        super().__init__(
            surrogate=surrogates.HTAF(alpha, beta),
            forward=forward,
            per_channel=per_channel,
            trainable_sharpness=trainable_alpha,
            axis=axis,
            **kwargs,
        )

    def get_config(self):
        config = super().get_config()
        del config["surrogate"]
        config["trainable_alpha"] = config.pop("trainable_sharpness")
        return {**config, "alpha": self.surrogate.sharpness, "beta": self.surrogate.beta}
