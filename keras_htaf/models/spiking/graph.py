"""The graph of a model that is to be computed anew, step by step."""

from __future__ import annotations

import keras


def functional_graph(model: keras.Model) -> keras.Model:
    """The model as a functional one, sharing its layers.

    Raises:
        ValueError: If it is no functional model, nor a sequential one that is built.
    """
    if isinstance(model, keras.Sequential) and model.built:
        return keras.Model(model.inputs, model.outputs, name=model.name)
    if not isinstance(model, keras.Model) or not getattr(model, "operations", None):
        name = getattr(model, "name", type(model).__name__)
        raise ValueError(
            f"Received {name!r} ({type(model).__name__}). Expected a functional model, or a "
            "sequential one that is built."
        )
    return model
