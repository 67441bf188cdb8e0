"""keras-htaf: binary-activation networks for Keras 3.

A step maps a pre-activation to a bit or a sign; its slope is what the gradient sees. HTAF is the
heavy-tailed slope this package exists for. See `keras_htaf.ops.htaf`, the layers in
`keras_htaf.layers`, the builders in `keras_htaf.models`, and `harden` for the exact network.

Rooms that register classes with Keras are loaded with the package, so that
`keras.saving.load_model` knows them; the others when they are first asked for.
"""

from importlib import import_module
from typing import TYPE_CHECKING

try:
    import keras  # noqa: F401
except ModuleNotFoundError as error:
    if error.name not in ("tensorflow", "jax", "torch"):
        raise
    raise ModuleNotFoundError(
        f"Keras is set to the backend {error.name!r}, which is not installed. Install it with "
        f'pip install "keras-htaf[{error.name}]", or choose one that is installed with the '
        "environment variable KERAS_BACKEND (tensorflow, jax or torch).",
        name=error.name,
    ) from None

from keras_htaf import (
    constraints,
    distillation,
    hardening,
    initializers,
    layers,
    losses,
    metrics,
    neurons,
    ops,
    optimizers,
    quantizers,
    regularizers,
    surrogates,
)
from keras_htaf.hardening import harden, soften
from keras_htaf.saving import load_model

if TYPE_CHECKING:
    from keras_htaf import (
        callbacks,
        datasets,
        distribution,
        exchange,
        export,
        interpret,
        jobs,
        models,
        packed,
        pictures,
        serving,
        training,
    )
    from keras_htaf.calibration import calibrate
    from keras_htaf.costs.summary import summary
    from keras_htaf.diagnosis import diagnose

__version__ = "0.1.0"

_FUNCTIONS = {"calibrate": "calibration", "diagnose": "diagnosis", "summary": "costs"}
"""Public functions, and the rooms that they are in."""

_ROOMS = {
    "callbacks",
    "datasets",
    "distribution",
    "exchange",
    "export",
    "interpret",
    "jobs",
    "models",
    "packed",
    "pictures",
    "serving",
    "training",
    *_FUNCTIONS.values(),
}
"""What is loaded when it is first asked for."""

__all__ = [
    "calibrate",
    "callbacks",
    "constraints",
    "datasets",
    "diagnose",
    "distillation",
    "distribution",
    "exchange",
    "export",
    "harden",
    "hardening",
    "initializers",
    "interpret",
    "jobs",
    "layers",
    "load_model",
    "losses",
    "metrics",
    "models",
    "neurons",
    "ops",
    "optimizers",
    "packed",
    "pictures",
    "quantizers",
    "regularizers",
    "serving",
    "soften",
    "summary",
    "surrogates",
    "training",
]


if not TYPE_CHECKING:  # which knows all names, and should miss those that are not there

    def __getattr__(name: str):
        if name in _FUNCTIONS:
            return getattr(import_module(f"keras_htaf.{_FUNCTIONS[name]}"), name)
        if name in _ROOMS:
            return import_module(f"keras_htaf.{name}")
        raise AttributeError(f"module 'keras_htaf' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__, *_ROOMS})
