"""From a model and images to codes: the only file of this room that runs a model."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeVar

import keras
import numpy as np

from keras_htaf.hardening import step_layers, with_forward
from keras_htaf.interpret.codes import Codes, check_positive, names_of
from keras_htaf.layers import BinaryLayer, ConceptGroups
from keras_htaf.quantizers import Step

Part = TypeVar("Part")


def collect(
    model: keras.Model,
    x,
    y=None,
    *,
    class_names: Sequence[str] | None = None,
    concept_names: Sequence[str] | None = None,
    concepts: str = "concepts",
    head: str = "head",
    batch_size: int = 256,
) -> Codes:
    """Runs a model over images once and keeps its bits, concept logits, smooth bits and head.

    The bits are those of `harden(model)`, the smooth bits those of `soften(model)`, so it does not
    matter which of the two is given. Signs become bits, h = (1 + sign) / 2, and a head with a
    single logit, which decides by its sign, becomes one with two classes; neither changes a
    decision.

    Args:
        model: A functional or sequential model with one input in which a step layer's output is
            the input of a `keras.layers.Dense` head, such as one that `keras_htaf.models.icbm`
            built. (Dropout and penalties may stand between them.)
        x: Images, an array whose first axis is the batch.
        y: Labels, integers (n,) or one-hot; None (default) where they are not known.
        class_names: Default "0", "1", ...
        concept_names: Default: those that `edit_concepts` saved with the model, else "bit 0", ...
        concepts: Name of the step layer. Default "concepts".
        head: Name of the head. Default "head".
        batch_size: Default 256.

    Returns:
        `Codes`.

    Raises:
        ValueError: If the model has no such layers, the head is not linear in the bits, x is empty
            or not finite, or labels or names do not fit.

    Example:

    >>> model = keras_htaf.models.icbm(num_concepts=6, num_classes=3, input_shape=(8, 8, 1))
    >>> codes = collect(model, np.zeros((4, 8, 8, 1)), [0, 1, 2, 0])
    >>> codes.bits.shape, codes.weights.shape
    ((4, 6), (6, 3))
    """
    names = {"class_names": class_names, "concept_names": concept_names}
    return Collector(model, concepts=concepts, head=head, batch_size=batch_size, **names)(x, y)


class Collector:
    """`collect` for one model as it is now, to be called with images, and labels if known.

    It keeps copies of the model, so that calling it again builds and compiles nothing; training
    that follows does not reach them. Arguments as for `collect`.
    """

    def __init__(
        self,
        model: keras.Model,
        *,
        class_names: Sequence[str] | None = None,
        concept_names: Sequence[str] | None = None,
        concepts: str = "concepts",
        head: str = "head",
        batch_size: int = 256,
    ):
        check_positive(batch_size=batch_size)
        step, dense = _found(model, concepts, head)
        if concept_names is None:
            concept_names = saved_names(model, concepts)
        self.names = {"class_names": class_names, "concept_names": concept_names}
        self.concepts, self.head = concepts, head
        self.batch_size = batch_size
        self.signs = step.rise == 2
        self.weights, self.bias = _linear(dense)
        if self.signs:
            self.weights, self.bias = 2 * self.weights, self.bias - self.weights.sum(axis=0)
        if len(self.bias) == 1:
            pair = (np.concatenate([0 * a, a], axis=-1) for a in (self.weights, self.bias))
            self.weights, self.bias = pair
        self.soft = _probe(with_forward(model, "smooth"), concepts, head)
        # With steps before the concepts, these receive something else in the hard model.
        alone = len(step_layers(model)) == 1
        self.hard = None if alone else _probe(with_forward(model, "hard"), concepts, head)

    def name_concepts(self, naming: Callable[[Sequence[str]], Sequence[str]]) -> None:
        """Sets the names of the concepts, given the default ones."""
        default = names_of("concept_names", self.names["concept_names"], "bit ", len(self.weights))
        self.names["concept_names"] = naming(default)

    def __call__(self, x, y=None) -> Codes:
        x = _images(x)
        z, smooth = self._passed(self.soft, x)
        if self.hard is not None:
            z, _ = self._passed(self.hard, x)
        bits = z >= 0 if self.signs else z > 0
        smooth = (1 + smooth) / 2 if self.signs else smooth
        return Codes(bits, self.weights, self.bias, y, z, smooth, **self.names)

    def _passed(self, probe, x) -> tuple[np.ndarray, np.ndarray]:
        """What the concept layer receives and gives, float32."""
        z, smooth = (np.empty((len(x), len(self.weights)), "float32") for _ in range(2))
        for begin in range(0, len(x), self.batch_size):
            part = slice(begin, begin + self.batch_size)
            images = x[part]
            if images.dtype.kind == "f":
                images = images.astype(keras.config.floatx(), copy=False)
            received, given, read = (
                np.asarray(a).astype("float32") for a in probe.predict_on_batch(images)
            )
            broken = ~np.isfinite(received.reshape(len(images), -1)).all(axis=1)
            if broken.any():
                raise ValueError(
                    f"The concept logits of x[{begin + int(broken.argmax())}] are NaN or infinite. "
                    "Expected finite images (keras_htaf.datasets.check_images finds what is not) "
                    "and finite weights."
                )
            if given.shape != (len(images), z.shape[1]) or not np.allclose(given, read, atol=1e-5):
                raise ValueError(
                    f"The head of model {probe.name!r} does not read what its concept layer gives. "
                    "Expected it right behind the bits (n, m); dropout and penalties may stand "
                    "between them."
                )
            z[part], smooth[part] = received, given
        return z, smooth


def saved_names(model: keras.Model, concepts: str = "concepts") -> tuple[str, ...] | None:
    """The concept names that `edit_concepts` saved with a model; None where there are none."""
    for layer in model.layers:
        if isinstance(layer, ConceptGroups) and layer.output is model.get_layer(concepts).input:
            return tuple(layer.names)
    return None


def needed(part: Part | None, what: str) -> Part:
    """A part of an analysis that a model alone gives, or a ValueError that says what needs it."""
    if part is None:
        raise ValueError(f"This analysis has no model; {what} needs one: use analyze(...).")
    return part


def _found(model, concepts, head):
    if not isinstance(model, keras.Model):
        raise ValueError(f"Received {type(model).__name__}. Expected a keras.Model.")
    if len(inputs := getattr(model, "inputs", None) or [None]) > 1:
        raise ValueError(f"Model {model.name!r} has {len(inputs)} inputs. Expected one.")
    layers = {layer.name: layer for layer in model.layers}
    advice = (
        "Expected a model such as keras_htaf.models.icbm builds, with a step layer (HTAF, "
        "Heaviside or Sign) named 'concepts' and a keras.layers.Dense named 'head'; for other "
        "names, give concepts= and head=."
    )
    for name in (concepts, head):
        if name not in layers:
            nested = any(layer.name == name for layer in model._flatten_layers())
            where = " (only within a nested model: analyse that one)" if nested else ""
            raise ValueError(
                f"Model {model.name!r} has no layer {name!r}{where}, but {list(layers)}. {advice}"
            )
    step, dense = layers[concepts], layers[head]
    if not isinstance(step, Step):
        raise ValueError(
            f"Layer {concepts!r} of model {model.name!r} is of type {type(step).__name__}, which "
            f"gives no bits. {advice}"
        )
    if (mode := getattr(dense, "quantization_mode", None)) is not None:
        raise ValueError(
            f"Layer {head!r} of model {model.name!r} was quantized to {mode!r}: it computes in "
            "integers what an explanation by its weights would not. Expected the head as it was "
            "before `quantize`."
        )
    linear = isinstance(dense, keras.layers.Dense) and not isinstance(dense, BinaryLayer)
    activation = getattr(getattr(dense, "activation", None), "__name__", "another")
    # The largest logit stays the largest under a softmax or sigmoid.
    if not linear or activation not in ("linear", "softmax", "sigmoid"):
        raise ValueError(
            f"Layer {head!r} of model {model.name!r} is of type {type(dense).__name__} with "
            f"activation {activation!r}. Expected a keras.layers.Dense without activation, or with "
            "softmax or sigmoid."
        )
    return step, dense


def _images(x) -> np.ndarray:
    x = np.asarray(x)
    if x.dtype.kind not in "fiub" or x.ndim < 2 or not x.size:
        raise ValueError(
            f"Received x of dtype {x.dtype} and shape {x.shape}. Expected images as one array of "
            "numbers whose first axis is the batch, at least one."
        )
    return x


def _probe(twin, concepts, head) -> keras.Model:
    try:
        (image,) = twin.inputs
        step = twin.get_layer(concepts)
        outputs = [step.input, step.output, twin.get_layer(head).input]
        return keras.Model(image, outputs, name=twin.name)
    except (TypeError, ValueError, AttributeError) as error:
        raise ValueError(
            f"Model {twin.name!r} is not a functional or sequential model, so that the input of "
            f"its layer {concepts!r} cannot be had. Expected one that is made of an Input and "
            f"layers, as keras_htaf.models.icbm builds. The error was: {error}"
        ) from error


def _linear(head) -> tuple[np.ndarray, np.ndarray]:
    weights = keras.ops.convert_to_numpy(head.kernel).astype("float64")
    if head.bias is None:
        return weights, np.zeros(weights.shape[1])
    return weights, keras.ops.convert_to_numpy(head.bias).astype("float64")
