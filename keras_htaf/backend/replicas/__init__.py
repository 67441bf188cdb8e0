"""Several devices, for the backend that Keras runs on: `Replicas`, of one interface on each.

    Replicas(devices=None)      the devices to train on
        count                   how many parts a batch is divided into
        processes               how many processes take part
        chief                   whether this is the process that writes files
        scope()                 a context; models are made, loaded and compiled in it
        check(model)            raises for a model that was made elsewhere
        fit(model, data, **options)
                                `model.fit` on all of them
        spread(model)           the largest difference between the copies of any weight
        barrier()               waits for the other processes
        gather(numbers)         what each process has, in all of them
    ModelReplicas(layout=None, devices=None, batch=1)
                                likewise with kernels divided too; JAX has it
    available()                 how many devices this machine has
    leave()                     ends what connects the processes

Each replica is handed the whole batch and works on its share of it (`share.py`).
"""

from typing import TYPE_CHECKING

import keras

_name = keras.config.backend()

if TYPE_CHECKING:  # whose interface all have
    from keras_htaf.backend.replicas.share import ModelReplicas, Replicas, available, leave
elif _name == "tensorflow":
    from keras_htaf.backend.replicas.tensorflow import ModelReplicas, Replicas, available, leave
elif _name == "jax":
    from keras_htaf.backend.replicas.jax import ModelReplicas, Replicas, available, leave
elif _name == "torch":
    from keras_htaf.backend.replicas.torch import ModelReplicas, Replicas, available, leave
else:
    from keras_htaf.backend.replicas.share import ModelReplicas, Replicas, available, leave

__all__ = ["ModelReplicas", "Replicas", "available", "leave"]
