"""keras-htaf: binary-activation networks for Keras 3.

A step maps a pre-activation to a bit or a sign; its slope is what the gradient sees. HTAF is the
heavy-tailed slope this package exists for. See `keras_htaf.ops.htaf`, the layers in
`keras_htaf.layers`, the builders in `keras_htaf.models`, and `harden` for the exact network.
"""

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
    callbacks,
    constraints,
    datasets,
    distillation,
    distribution,
    exchange,
    export,
    hardening,
    initializers,
    interpret,
    layers,
    losses,
    metrics,
    models,
    neurons,
    ops,
    optimizers,
    packed,
    pictures,
    quantizers,
    regularizers,
    surrogates,
)
from keras_htaf.calibration import calibrate
from keras_htaf.costs import summary
from keras_htaf.diagnosis import diagnose
from keras_htaf.hardening import harden, soften
from keras_htaf.saving import load_model

__version__ = "0.1.0"

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
    "soften",
    "summary",
    "surrogates",
]
