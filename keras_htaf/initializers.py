"""Initial values of weights."""

from __future__ import annotations

import keras

from keras_htaf.ops.steps import signs


@keras.saving.register_keras_serializable(package="keras_htaf")
class RandomSign(keras.initializers.RandomUniform):
    """-1 or +1 with equal probability: the kernels that `keras_htaf.optimizers.Bop` starts from.

    Args:
        seed: Integer or `keras.random.SeedGenerator`, as of Keras's random initializers. Default
            `None`: another draw for each initializer.

    Example:

    >>> w = keras.ops.convert_to_numpy(RandomSign(seed=1)((100, 100)))
    >>> np.unique(w).tolist(), bool(abs(w.mean()) < 0.05)
    ([-1.0, 1.0], True)
    """

    def __init__(self, seed=None):
        super().__init__(-1.0, 1.0, seed=seed)

    def __call__(self, shape, dtype=None):
        return signs(super().__call__(shape, dtype))

    def get_config(self):
        return {"seed": super().get_config()["seed"]}
