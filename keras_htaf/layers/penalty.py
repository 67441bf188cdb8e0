"""A penalty on what passes by."""

from __future__ import annotations

import keras

from keras_htaf.backend.replicas.share import whole


@keras.saving.register_keras_serializable(package="keras_htaf")
class ActivityPenalty(keras.layers.Layer):
    """Passes its input on and adds a regularizer's value for it to the loss.

    An `activity_regularizer` of another layer is divided by the batch size in newer versions of
    Keras and not in older ones; here the value counts as it is, which is what penalties on batch
    statistics, such as `keras_htaf.regularizers.BitDiversity`, need. Training on several devices
    (`keras_htaf.distribution`), it is the value for the whole batch.

    Args:
        regularizer: A `keras.regularizers.Regularizer`, or what `keras.regularizers.get` accepts.
        **kwargs: Of `keras.layers.Layer`.

    Example:

    >>> layer = ActivityPenalty(keras_htaf.regularizers.BitDiversity(1.0, 0.0))
    >>> output = layer(np.ones((8, 4), "float32"))
    >>> float(layer.losses[0])
    1.0
    """

    def __init__(self, regularizer, **kwargs):
        super().__init__(**kwargs)
        self.regularizer = keras.regularizers.get(regularizer)
        self.supports_masking = True

    def build(self, input_shape):
        pass

    def call(self, inputs):
        self.add_loss(self.regularizer(whole(inputs)))
        return inputs

    def compute_output_shape(self, input_shape):
        return input_shape

    def get_config(self):
        regularizer = keras.regularizers.serialize(self.regularizer)
        return {**super().get_config(), "regularizer": regularizer}
