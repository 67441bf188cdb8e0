"""Training on several devices, with the numbers of one.

    across = distribution.data_parallel()
    with across.scope():
        model = ...
        model.compile(...)
    across.fit(model, batches, epochs=10)

is the same text on all backends: JAX divides one program over the devices (`keras.distribution`),
TensorFlow runs one on each (`tf.distribute`), torch one in a process for each
(`DistributedDataParallel`), which `launch` or torchrun starts.
"""

from keras_htaf.distribution.launching import launch
from keras_htaf.distribution.parallel import (
    Distribution,
    data_parallel,
    device_count,
    model_parallel,
)

__all__ = ["Distribution", "data_parallel", "device_count", "launch", "model_parallel"]
