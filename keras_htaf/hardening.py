"""From smooth steps to exact ones, and back."""

from __future__ import annotations

import warnings
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager

import keras

from keras_htaf.layers import BinaryLayer
from keras_htaf.ops import steps
from keras_htaf.quantizers import Quantizer, Step
from keras_htaf.quantizers.step import FORWARDS

__all__ = [
    "harden",
    "has_steps",
    "observe_steps",
    "soften",
    "step_layers",
    "unit_steps",
    "with_forward",
]


def harden(model: keras.Model) -> keras.Model:
    """A new model with the same weights whose every step is exact (bits 0/1, signs -1/+1).

    Quantizers that are no steps, such as `DoReFa` and `Ternary`, are exact always; of a model that
    has these alone it is a copy.

    Args:
        model: A built functional, sequential or subclassed model; steps in nested models, in
            custom layers and used as activations are found too. A subclassed model must be
            rebuildable from its config, as for saving.

    Returns:
        A new model whose step layers have `forward="hard"`, compiled like the old one; not
        compiled, with a warning, where Keras cannot restore that (a loss that is a plain
        function, say). The original is left as it was.

    Raises:
        ValueError: If the model is not built, has neither a step layer nor another quantizer,
            cannot be rebuilt, or uses the function `keras_htaf.ops.htaf`, which has no other mode,
            in place of the layer.

    Example:

    >>> smooth = keras.Sequential([keras.Input((2,)), keras_htaf.layers.HTAF()])
    >>> [float(bit) for bit in harden(smooth)(np.array([[-0.1, 0.1]]))[0]]
    [0.0, 1.0]
    """
    return _compiled_like(model, with_forward(model, "hard"))


def soften(model: keras.Model) -> keras.Model:
    """A new model with the same weights whose every step is smooth; the inverse of `harden`.

    Arguments, result and errors as for `harden`, but there must be a step layer.

    Args:
        model: As for `harden`.

    Returns:
        A new model whose step layers have `forward="smooth"`, compiled as `harden` says.

    Raises:
        ValueError: As for `harden`, and where there is no step layer.

    Example:

    >>> exact = keras.Sequential([keras.Input((2,)), keras_htaf.layers.Heaviside()])
    >>> [float(bit) for bit in soften(exact)(np.zeros((1, 2)))[0]]
    [0.5, 0.5]
    """
    return _compiled_like(model, with_forward(model, "smooth"))


def step_layers(model: keras.Model) -> list[Step]:
    """All step layers of a model, nested ones included, in the order in which Keras lists them.

    Args:
        model: Any model; one that is not built may not have made its steps yet.

    Returns:
        A list of layers, kernels' quantizers included.

    Example:

    >>> model = keras.Sequential([keras.layers.Dense(4, activation=keras_htaf.layers.HTAF())])
    >>> step_layers(model)
    [<HTAF name=htaf..., built=False>]
    """
    return [layer for layer in model._flatten_layers() if isinstance(layer, Step)]


def unit_steps(model: keras.Model) -> list[Step]:
    """The step layers that make units of the model's data: all but those that quantize kernels.

    Args:
        model: As for `step_layers`.

    Returns:
        A list of layers.

    Example:

    >>> binary = keras_htaf.layers.BinaryDense(4, input_quantizer="sign", kernel_quantizer="sign")
    >>> model = keras.Sequential([keras.Input((2,)), binary])
    >>> len(step_layers(model)), len(unit_steps(model))
    (2, 1)
    """
    return units_among(step_layers(model), model)


def units_among(quantizers: list[Quantizer], model: keras.Model) -> list[Quantizer]:
    """Those of a model's quantizers that do not quantize its kernels."""
    binary = [layer for layer in model._flatten_layers() if isinstance(layer, BinaryLayer)]
    of_kernels = {id(q) for layer in binary for q in layer.kernel_quantizers.values()}
    return [quantizer for quantizer in quantizers if id(quantizer) not in of_kernels]


@contextmanager
def observe_steps(model: keras.Model) -> Iterator[dict[str, list]]:
    """Record what each step of `unit_steps` gives while the model is called eagerly.

    Args:
        model: A built model.

    Yields:
        A dict from the path of a step layer (its name while it is unbuilt; with "#2" and so on
        after it where several have one path), in the order of `unit_steps`, to the list of its
        outputs, one for each call. (Within a compiled loop, such as the cell of a keras.layers.RNN
        on JAX, there is one call for all turns, whose output has no values.)

    Example:

    >>> model = keras.Sequential([keras.Input((2,)), keras_htaf.layers.Heaviside(name="bits")])
    >>> with observe_steps(model) as seen:
    ...     y = model(np.array([[-1.0, 1.0]]))
    >>> [keras.ops.convert_to_numpy(outputs[0]).tolist() for outputs in seen.values()]
    [[[0.0, 1.0]]]
    """
    steps = unit_steps(model)
    seen: dict[str, list] = {key: [] for key in distinct(step.path or step.name for step in steps)}
    with ExitStack() as stack:
        for step, outputs in zip(steps, seen.values(), strict=True):
            stack.enter_context(step.tapped(observer=outputs.append))
        yield seen


def distinct(names: Iterable[str]) -> list[str]:
    """The names, with "#2" and so on after those that came before: nested models share paths."""
    times: Counter[str] = Counter()
    found = []
    for name in names:
        times[name] += 1
        found.append(f"{name}#{times[name]}" if times[name] > 1 else name)
    return found


def has_steps(model: keras.Model) -> bool:
    """Whether a model computes any step of this package, as a layer or as a function.

    Args:
        model: A built model.

    Returns:
        A bool.

    Example:

    >>> has_steps(keras.Sequential([keras.Input((2,)), keras.layers.ReLU()]))
    False
    """
    return bool(step_layers(model) or any(_functions(model, mode) for mode in FORWARDS))


def with_forward(model: keras.Model, forward: str) -> keras.Model:
    """What `harden` and `soften` do, without compiling the new model.

    Args:
        model: As for `harden`.
        forward: `"hard"` or `"smooth"`.

    Returns:
        A new model.

    Raises:
        ValueError: As for `harden` and `soften`.

    Example:

    >>> smooth = keras.Sequential([keras.Input((2,)), keras_htaf.layers.HTAF()])
    >>> with_forward(smooth, "hard").layers[0].forward_mode
    'hard'
    """
    if not isinstance(model, keras.Model):
        raise ValueError(f"Received {type(model).__name__}. Expected a keras.Model.")
    if not model.built:
        raise ValueError(
            f"Model {model.name!r} is not built. Call it on data (or give it an Input) first."
        )
    other = FORWARDS[1 - FORWARDS.index(forward)]
    if stuck := _functions(model, other):
        raise ValueError(
            f"Model {model.name!r} uses {', '.join(stuck)}; these functions are always "
            f"{other} and cannot be made {forward}. Use the layers keras_htaf.layers.HTAF, "
            "Heaviside and Sign instead; they can also be another layer's activation."
        )
    exact = forward == "hard" and any(isinstance(q, Quantizer) for q in model._flatten_layers())
    if not exact and not step_layers(model):
        raise ValueError(
            f"Model {model.name!r} has no step layer (keras_htaf.layers.HTAF, Heaviside, Sign), so "
            f"there is nothing to harden or soften.{other_steps(model)}"
        )
    twin = _rebuild(model)
    for layer in step_layers(twin):
        layer.set_forward(forward)
    twin.set_weights(model.get_weights())
    return twin


def other_steps(model: keras.Model) -> str:
    """A sentence about the functions that a model without step layers uses in their place."""
    used = [use for mode in FORWARDS for use in _functions(model, mode)]
    return f" It uses {', '.join(used)}: a function, not the layer." if used else ""


def _functions(model: keras.Model, forward: str) -> list[str]:
    """The functions of `ops` of the given mode that are used, each with its node or layer."""
    found = []
    for layer in model._flatten_layers():
        nodes = [op for op in getattr(layer, "operations", ()) if isinstance(op, steps.StepNode)]
        nodes = [node for node in nodes if node.forward_mode == forward]
        found += [(type(node).__name__.lstrip("_").lower(), node.name) for node in nodes]
        activation = getattr(layer, "activation", None)
        for function, mode in steps.FUNCTIONS.items():
            name = function.__name__
            if activation is function and mode == forward:
                found.append((name, layer.name))
    return [f"keras_htaf.ops.{function} in {name!r}" for function, name in found]


def _compiled_like(model: keras.Model, twin: keras.Model) -> keras.Model:
    if model.compiled and (config := model.get_compile_config()):
        try:
            twin.compile_from_config(config)
        except (TypeError, ValueError) as error:
            warnings.warn(
                f"The copy of model {model.name!r} is not compiled: {error}. Compile it yourself "
                "before evaluate or fit; predict works without.",
                stacklevel=3,
            )
    return twin


def _rebuild(model: keras.Model) -> keras.Model:
    """A freshly initialised model of the same architecture."""
    try:
        twin = type(model).from_config(model.get_config())
        if not twin.built:
            twin.build_from_config(model.get_build_config())
    except Exception as error:
        raise ValueError(
            f"Model {model.name!r} ({type(model).__name__}) cannot be rebuilt from its config, as "
            "saving would need too. Give it (and its custom layers) get_config and from_config, "
            f"registered with keras.saving.register_keras_serializable. The error was: {error}"
        ) from error
    shapes = [tuple(w.shape) for w in model.weights]
    if shapes != [tuple(w.shape) for w in twin.weights]:
        raise ValueError(
            f"Model {model.name!r} ({type(model).__name__}), rebuilt from its config, has other "
            f"weights: expected shapes {shapes}, got {[tuple(w.shape) for w in twin.weights]}. "
            "Call the model on data, or give it a build method, before hardening."
        )
    return twin
