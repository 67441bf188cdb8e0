"""Trained ReLU networks as spiking ones."""

from __future__ import annotations

import math
from numbers import Real

import keras
import numpy as np
from keras import activations, ops
from keras import layers as stock

from keras_htaf import layers
from keras_htaf.models.checks import check_choice, check_sizes
from keras_htaf.models.spiking.graph import functional_graph
from keras_htaf.samples import numbers

_BATCH = 64
"""Samples that the network sees at once while its activities are measured."""
_CONVOLUTIONS = (stock.Conv1D, stock.Conv2D, stock.Conv3D)
_MAPS = (stock.Dense, *_CONVOLUTIONS, stock.DepthwiseConv1D, stock.DepthwiseConv2D)
_MAX_POOLING = (
    *(stock.MaxPooling1D, stock.MaxPooling2D, stock.MaxPooling3D),
    *(stock.GlobalMaxPooling1D, stock.GlobalMaxPooling2D, stock.GlobalMaxPooling3D),
)
_SCALING = (
    *(stock.AveragePooling1D, stock.AveragePooling2D, stock.AveragePooling3D),
    *(stock.GlobalAveragePooling1D, stock.GlobalAveragePooling2D, stock.GlobalAveragePooling3D),
    *(stock.Flatten, stock.Reshape, stock.Permute, stock.Identity, stock.Dropout),
    *(stock.SpatialDropout1D, stock.SpatialDropout2D, stock.SpatialDropout3D),
    *(stock.ZeroPadding1D, stock.ZeroPadding2D, stock.ZeroPadding3D),
    *(stock.UpSampling1D, stock.UpSampling2D, stock.UpSampling3D),
)
"""What gives a multiple for a multiple, whatever the factor is, as maxima of positive ones do."""
_AFFINE = (stock.BatchNormalization, stock.Rescaling, stock.Normalization)
_MERGING = (stock.Add, stock.Concatenate)


def to_spiking(
    model: keras.Model,
    x,
    num_steps: int = 32,
    *,
    percentile: float = 99.9,
    max_pooling: str | None = None,
    name: str | None = None,
) -> keras.Model:
    """A trained network with ReLU as a network of integrate-and-fire neurons.

    Each ReLU becomes neurons with the threshold a, which are reset by subtraction, so that over T
    steps they fire at the rate of what they receive, up to one spike a step:

        relu(u) ~ a s,    s = 1/T sum_t s_t,    a the `percentile` of relu(u) over the data `x`

    Neurons start half charged, which halves the largest error of a rate, a / T, and makes it
    unbiased. The factor a is multiplied into the kernel that reads the spikes, so that these are
    0/1; biases flow in at each step, as does the input (direct coding; maps before the first ReLU
    are computed once). The outputs are means over time, to which a last activation, such as
    softmax, is applied. The error of rates shrinks like 1 / T, but for the activities beyond a,
    which are cut off, and for spikes that come late in deep networks.

    The result has the same weights but for the factors, and is a starting point: neurons have
    surrogate slopes, so it can be trained on.

    Args:
        model: A built functional or sequential model of one input and output, of dense layers,
            (depthwise) convolutions, batch normalisation, pooling, sums and concatenations,
            with ReLU (as a layer, or a layer's activation) as its only hidden activation.
        x: Inputs to set the thresholds by, an array of numbers as the model takes them (whose dtype
            it makes of them); some hundreds of samples suffice.
        num_steps: Number of steps T. Default 32.
        percentile: Above 0, up to 100. Default 99.9. A lower one fires sooner and cuts off more.
        max_pooling: What to do with maximum pooling behind spikes, whose rates it does not give:
            `None` (default) refuses it; `"spikes"` takes the maximum of each step's spikes, which
            has too high a rate where they alternate. Train with average pooling if you can.
        name: Of the new model. Default: the model's, with "_spiking" after it.

    Returns:
        A functional model, not compiled. The neurons of layer "conv1" are "conv1_spikes".

    Raises:
        ValueError: If the model has layers or activations that cannot be converted, or no ReLU;
            the inputs are not of its shape; or an argument is out of range.

    Example:

    >>> relu = keras.Sequential([keras.Input((4,)), keras.layers.Dense(8, "relu"),
    ...                          keras.layers.Dense(2)])
    >>> x = np.random.default_rng(0).uniform(size=(32, 4))
    >>> spiking = to_spiking(relu, x, num_steps=256)
    >>> bool(keras.ops.max(keras.ops.abs(spiking(x) - relu(x))) < 0.05)
    True

    Reference: Rueckauer et al. (2017), Frontiers in Neuroscience 11; Bu et al. (2022),
    arXiv:2202.01440, for the initial charge.
    """
    check_sizes(num_steps=num_steps)
    check_choice("max_pooling", max_pooling, (None, "spikes"))
    if not isinstance(percentile, Real) or not 0 < percentile <= 100:
        raise ValueError(f"Received percentile={percentile!r}. Expected 0 < percentile <= 100.")
    graph = functional_graph(model)
    if len(graph.inputs) != 1 or len(graph.outputs) != 1:
        raise ValueError(
            f"Model {model.name!r} has {len(graph.inputs)} inputs and {len(graph.outputs)} "
            "outputs. Expected one of each."
        )
    (given,) = graph.inputs
    thresholds = _thresholds(graph, _data(given, x), percentile)
    conversion = _Conversion(graph, thresholds, num_steps, max_pooling)
    inputs = keras.Input(batch_shape=given.shape, dtype=given.dtype, name=given.name)
    outputs = graph._run_through_graph(inputs, call_fn=conversion.call)
    outputs = conversion.result(keras.tree.flatten(outputs)[0])
    spiking = keras.Model(inputs, outputs, name=name or f"{model.name}_spiking")
    for layer, copy, factor in conversion.copies:
        weights = layer.get_weights()
        if factor != 1:
            weights[0] = weights[0] * weights[0].dtype.type(factor)
        copy.set_weights(weights)
    return spiking


def _data(given, x) -> np.ndarray:
    """`x` if a model with the input `given` takes it."""
    x = numbers("x", ops.convert_to_numpy(x) if ops.is_tensor(x) else x)
    expected = given.shape[1:]
    if (
        not len(x)
        or x.ndim != len(given.shape)
        or any(size not in (None, n) for size, n in zip(expected, x.shape[1:], strict=True))
    ):
        raise ValueError(
            f"Received x of shape {x.shape}. Expected at least one sample, in an array of shape "
            f"{('samples', *expected)}."
        )
    return x


def _thresholds(graph, x, percentile) -> dict[int, float]:
    """By the identity of each layer that ends with a ReLU."""
    found: dict[stock.Layer, list[np.ndarray]] = {}
    for start in range(0, len(x), _BATCH):
        for layer, activity in _activities(graph, x[start : start + _BATCH]).items():
            found.setdefault(layer, []).append(activity)
    if not found:
        raise ValueError(
            f"Model {graph.name!r} has no ReLU. Expected layers with activation='relu', or "
            "keras.layers.ReLU, which become neurons."
        )
    return {
        id(layer): _threshold(layer, np.concatenate(parts), percentile)
        for layer, parts in found.items()
    }


def _activities(graph, x) -> dict[stock.Layer, np.ndarray]:
    """What each layer that ends with a ReLU gives for a batch."""
    found = {}

    def call(layer, *arguments, **options):
        y = layer(*arguments, **options)
        if _most(layer) is not None:
            if layer in found:
                raise ValueError(
                    f"Layer {layer.name!r} is called twice. Expected a layer for each place."
                )
            found[layer] = ops.convert_to_numpy(ops.cast(y, "float32"))
        return y

    with keras.StatelessScope():
        inputs = ops.convert_to_tensor(x, dtype=graph.inputs[0].dtype)
        graph._run_through_graph(inputs, call_fn=call)
    return found


def _threshold(layer, activity, percentile) -> float:
    if not np.isfinite(activity).all():
        raise ValueError(
            f"Layer {layer.name!r} gives numbers for the data that are not all finite. Expected "
            "finite activities."
        )
    threshold = float(np.percentile(activity, percentile)) or float(activity.max()) or 1.0
    most = _most(layer)
    return threshold if most is None else min(threshold, most)


def _most(layer) -> float | None:
    """The largest value of the ReLU that the layer ends with; None if it ends with none."""
    if isinstance(layer, stock.ReLU):
        if layer.negative_slope or layer.threshold:
            raise ValueError(
                f"Layer {layer.name!r} has negative_slope={layer.negative_slope}, "
                f"threshold={layer.threshold}. Expected 0: neurons do not fire below 0."
            )
        return math.inf if layer.max_value is None else layer.max_value
    activation = getattr(layer, "activation", None)
    return {activations.relu: math.inf, activations.relu6: 6.0}.get(activation)


class _Conversion:
    """Layer by layer, from tensors of numbers to tensors that are a factor times theirs."""

    def __init__(self, graph, thresholds, num_steps, max_pooling):
        self.last = graph.outputs[0]._keras_history.operation
        self.thresholds = thresholds
        self.num_steps = num_steps
        self.max_pooling = max_pooling
        self.copies = []
        """Of layers with weights: the layer, its copy, and the factor of the copy's kernel."""
        self.factors: dict[int, float] = {}
        """By the identity of a tensor of the new model; 1 if it is not there."""
        self.timed: set[int] = set()
        """Identities of the tensors with a time axis."""
        self.made: dict[tuple, keras.KerasTensor] = {}
        """What has been made of a tensor, by that and its identity."""

    def call(self, layer, x, **options):
        if isinstance(layer, _MERGING):
            return self._merged(layer, x)
        if isinstance(layer, _MAX_POOLING) and self._is_timed(x) and self.max_pooling is None:
            raise ValueError(
                f"{type(layer).__name__} {layer.name!r} is behind a ReLU: the largest of spikes "
                "does not have the largest of their rates. Expected average pooling, or "
                'max_pooling="spikes".'
            )
        if isinstance(layer, (*_MAPS, *_MAX_POOLING, *_SCALING, *_AFFINE)):
            y = self._applied(layer, x)
        elif isinstance(layer, (stock.ReLU, stock.Activation)):
            y = self.plain(x)
        else:
            raise ValueError(
                f"{type(layer).__name__} {layer.name!r} cannot be converted. Expected dense and "
                "convolutional layers, batch normalisation, pooling, sums, and ReLU."
            )
        if id(layer) in self.thresholds:
            return self._fired(y, layer)
        activation = getattr(layer, "activation", activations.linear)
        if activation is activations.linear:
            return y
        if layer is not self.last:
            raise ValueError(
                f"Layer {layer.name!r} has the activation {activation.__name__!r}. Expected ReLU, "
                "or another at the model's end only."
            )
        return stock.Activation(activation, name=f"{layer.name}_activation")(self.result(y))

    def result(self, x):
        """The mean over time, in the units of the model."""
        if not self._is_timed(x):
            return x
        mean = layers.ReduceTime("mean", name="readout", dtype="float32")(x)
        self.factors[id(mean)] = self._factor(x)
        return self.plain(mean)

    def plain(self, x):
        """The tensor with its factor."""
        factor = self._factor(x)
        if factor == 1:
            return x
        if ("times", id(x)) not in self.made:
            y = stock.Rescaling(factor, name=f"{x._keras_history.operation.name}_times")(x)
            self.made["times", id(x)] = self._marked(y, self._is_timed(x))
        return self.made["times", id(x)]

    def _applied(self, layer, x):
        factor = self._factor(x)
        if isinstance(layer, _AFFINE) and factor != 1:
            x, factor = self.plain(x), 1.0
        config = layer.get_config()
        if isinstance(layer, _MAPS):
            config["activation"] = None
        copy = type(layer).from_config(config)
        timed = self._is_timed(x)
        y = (layers.FoldTime(copy, name=layer.name) if timed else copy)(x)
        if isinstance(layer, _MAPS):
            self.copies.append((layer, copy, factor))
            factor = 1.0
        elif layer.weights:
            self.copies.append((layer, copy, 1.0))
        return self._marked(y, timed, factor)

    def _fired(self, u, layer):
        threshold = self.thresholds[id(layer)]
        neurons = layers.IF(threshold, rest=threshold / 2, name=f"{layer.name}_spikes")
        return self._marked(neurons(self._over_time(u)), True, threshold)

    def _merged(self, layer, xs):
        xs = list(xs)
        timed = any(self._is_timed(x) for x in xs)
        factors = {self._factor(x) for x in xs}
        factor = factors.pop() if len(factors) == 1 else 1.0
        if factors:
            xs = [self.plain(x) for x in xs]
        if timed:
            xs = [self._over_time(x) for x in xs]
        config = layer.get_config()
        if timed and config.get("axis", -1) > 0:
            config["axis"] += 1
        return self._marked(type(layer).from_config(config)(xs), timed, factor)

    def _over_time(self, x):
        if self._is_timed(x):
            return x
        if ("repeat", id(x)) not in self.made:
            repeat = layers.RepeatTime(
                self.num_steps, name=f"{x._keras_history.operation.name}_repeat"
            )
            self.made["repeat", id(x)] = self._marked(repeat(x), True, self._factor(x))
        return self.made["repeat", id(x)]

    def _marked(self, x, timed, factor=1.0):
        self.factors[id(x)] = factor
        if timed:
            self.timed.add(id(x))
        return x

    def _factor(self, x) -> float:
        return self.factors.get(id(x), 1.0)

    def _is_timed(self, x) -> bool:
        return id(x) in self.timed
