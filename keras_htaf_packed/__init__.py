"""Packed networks without Keras: `keras_htaf.packed.load` in a process that never imports it.

    from keras_htaf_packed import load

    load("model.khtaf").predict(x)

`import keras_htaf` runs the imports of the whole package, and with them Keras's, so that
`keras.saving.load_model` knows its layers from then on. Here they wait until something else of
`keras_htaf` is used. Where Keras is to load models of this package in the same process, import
`keras_htaf` first.
"""

import importlib.util
import sys
from types import ModuleType


class _Waiting(ModuleType):
    """The package `keras_htaf` before its own imports, which run when a name is missing."""

    def __getattr__(self, name):
        if name.startswith("__"):
            raise AttributeError(f"module {self.__name__!r} has no attribute {name!r}")
        self.__class__ = ModuleType
        try:
            self.__spec__.loader.exec_module(self)
        except BaseException:
            self.__class__ = _Waiting
            raise
        return getattr(self, name)


if "keras_htaf" not in sys.modules:
    _package = importlib.util.module_from_spec(importlib.util.find_spec("keras_htaf"))
    _package.__class__ = _Waiting
    sys.modules["keras_htaf"] = _package

from keras_htaf.packed import (  # noqa: E402 (after the package is made to wait)
    PackedModel,
    get_num_threads,
    load,
    set_num_threads,
)

__all__ = ["PackedModel", "get_num_threads", "load", "set_num_threads"]
