"""Training that survives being killed."""

from keras_htaf.training.resuming import resumable_fit

__all__ = ["resumable_fit"]
