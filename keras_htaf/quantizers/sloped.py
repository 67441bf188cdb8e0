"""What every quantizer with a surrogate's slope shares: the sharpness, a weight."""

from __future__ import annotations

import keras
import numpy as np

from keras_htaf import surrogates
from keras_htaf.quantizers.base import Quantizer


class Sloped(Quantizer):
    """Base of the quantizers that pass a surrogate's slope backwards.

    The slope's sharpness is a weight, float32 under every dtype policy, so that
    `callbacks.AnnealSharpness` can move it while a compiled training step runs.

    Args:
        surrogate: A `keras_htaf.surrogates` object or name.
        **kwargs: Of `keras.layers.Layer`.

    Raises:
        ValueError: If the surrogate is unknown.

    Example:

    >>> isinstance(keras_htaf.quantizers.Ternary(), Sloped)
    True

    Reference: Bengio, Leonard and Courville (2013), arXiv:1308.3432.
    """

    sharpness: keras.Variable | None
    """A number, or one for each channel; then `None` until the layer is built."""

    def __init__(self, surrogate, **kwargs):
        super().__init__(**kwargs)
        self.surrogate = surrogates.get(surrogate)
        self.sharpness = None

    def _add_number(self, name, initial, shape=(), **kwargs) -> keras.Variable:
        return self.add_weight(
            name=name,
            shape=shape,
            initializer=keras.initializers.Constant(initial),
            dtype="float32",
            autocast=False,
            **{"trainable": False, **kwargs},
        )

    @property
    def slope_weights(self) -> dict[str, keras.Variable]:
        """The weights that shape the slope alone, which the exact values do not need, by name."""
        return {"sharpness": self.sharpness}

    def reach_at(self, sharpness: float) -> float:
        """The `reach` once the sharpness is annealed to the given one."""
        return self.surrogate.reach_at(sharpness)

    @property
    def reach(self) -> float:
        return self.reach_at(self.surrogate.sharpness)

    def load_own_variables(self, store):
        # A subclass may have weights of its own, which Keras numbers with these.
        keys = {id(variable): str(i) for i, variable in enumerate(self.variables)}
        for name, variable in self.slope_weights.items():
            key = keys.get(id(variable))
            value = np.array(store[key]) if key in store else np.ones(())
            if not np.all((value > 0) & np.isfinite(value)):
                raise ValueError(
                    f"The file gives step {self.name!r} the {name} {value}. Expected positive "
                    "finite numbers."
                )
        super().load_own_variables(store)

    def get_config(self):
        surrogate = keras.saving.serialize_keras_object(self.surrogate)
        return {**super().get_config(), "surrogate": surrogate}
