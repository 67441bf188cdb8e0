"""deep_heaviside_network: its layers, its equations in numpy, its start."""

import itertools

import keras
import numpy as np
import pytest
from support import to_numpy

from keras_htaf import surrogates
from keras_htaf.hardening import observe_steps, step_layers
from keras_htaf.layers import Heaviside, Sign
from keras_htaf.models import deep_heaviside_network

SKIPS = pytest.mark.parametrize("skip", [None, "residual", "dense"])
KINDS = pytest.mark.parametrize("kind", ["dense", "convolutional"])
NORMS = pytest.mark.parametrize("norm", [None, "batch", "layer"])
INPUTS = {"dense": (3, 2), "convolutional": (7, 6, 2)}


def small(kind="dense", **kwargs):
    """Three layers of 8 units; if convolutional, the third has half the image and 16 channels."""
    options = {"depth": 3, "width": 8, "stages": 2, **kwargs}
    return deep_heaviside_network(INPUTS[kind], 4, kind=kind, **options)


def images(shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape).astype("float32")


def values(model, tensors, x):
    """The tensors of the functional model, as arrays, for the inputs x."""
    return [to_numpy(y) for y in keras.Model(model.input, tensors)(x)]


def maps(model, depth):
    return [model.get_layer(f"layer{layer}_map") for layer in range(1, depth + 1)]


# Layers


def expected_names(kind, skip, norm, step, linear):
    conv, names = kind == "convolutional", {"inputs", "head"}
    names |= {"head_pool"} if conv else {"flatten"}
    names |= {"head_seen"} if skip == "dense" else set()
    for layer in (1, 2, 3):
        parts = ["map", step] + ["norm"] * bool(norm) + ["units"] * bool(linear)
        if layer > 1:
            parts += {None: [], "residual": ["stream"], "dense": ["seen"]}[skip]
        if conv and layer == 3:
            parts += {
                None: [],
                "residual": ["pool", "channels"],
                "dense": ["pool0", "pool1", "pool2"],
            }[skip]
        names |= {f"layer{layer}_{part}" for part in parts}
    return names


@KINDS
@SKIPS
@NORMS
def test_layers_of_every_combination(kind, skip, norm):
    for share, options in itertools.product(
        [0.0, 0.25], [{"coding": "sign"}, {"coding": "bit"}, {"activation": "relu"}]
    ):
        model = small(kind, skip=skip, normalization=norm, linear_share=share, **options)
        step = "activation" if "activation" in options else "step"
        names = {layer.name for layer in model.layers}
        assert names == expected_names(kind, skip, norm, step, share)
        assert model.name == "deep_heaviside_network"

        conv = kind == "convolutional"
        sizes = [(None, 7, 6, 8), (None, 7, 6, 8), (None, 4, 3, 16)] if conv else [(None, 8)] * 3
        read = {None: [2, 8, 8], "residual": [2, 8, 8], "dense": [2, 10, 18]}[skip]
        if not conv:  # which flattens the input to 6 numbers
            read = [n + 4 if i == 0 or skip == "dense" else n for i, n in enumerate(read)]
        for layer, (size, channels) in enumerate(zip(sizes, read, strict=True), start=1):
            linear_map = model.get_layer(f"layer{layer}_map")
            assert linear_map.use_bias == (norm is None)
            assert linear_map.input.shape[-1] == channels
            unit = model.get_layer(f"layer{layer}_{'units' if share else step}").output
            assert unit.shape == size
            assert linear_map.kernel.shape == (*[3, 3][: 2 * conv], channels, size[-1])
        assert model.output_shape == (None, 4)

        if step == "step":
            steps = step_layers(model)
            assert [s.name for s in steps] == ["layer1_step", "layer2_step", "layer3_step"]
            assert {type(s) for s in steps} == {Sign if options["coding"] == "sign" else Heaviside}
            assert {s.forward_mode for s in steps} == {"hard"}
            assert {s.surrogate for s in steps} == {surrogates.HTAF(2.0, 0.5)}
            assert {s.input.shape[-1] for s in steps[:2]} == {6 if share else 8}
            shapes = [w.shape for w in model.weights if w.name not in ("sharpness", "scale")]
        else:  # the twin: the same maps, norms and head, and nothing else
            assert step_layers(model) == []
            assert [w.shape for w in model.weights] == shapes


def test_options():
    model = small(surrogate="atan", forward="smooth", name="mine")
    assert model.name == "mine"
    assert {s.surrogate for s in step_layers(model)} == {surrogates.ATan()}
    assert {s.forward_mode for s in step_layers(model)} == {"smooth"}
    assert small(activation=keras.ops.tanh).get_layer("layer1_activation")
    images_of_any_size = deep_heaviside_network(
        (None, None, 3), 2, kind="convolutional", depth=2, width=2, stages=2
    )
    assert images_of_any_size.output_shape == (None, 2)


def test_defaults():
    model = deep_heaviside_network((5,), 2)
    assert len(step_layers(model)) == 12
    assert {layer.kernel.shape for layer in maps(model, 12)[1:]} == {(256, 256)}
    assert model.get_layer("layer12_stream")
    assert isinstance(model.get_layer("layer1_norm"), keras.layers.BatchNormalization)
    assert isinstance(step_layers(model)[0], Sign)


@pytest.mark.parametrize(("share", "linear"), [(0.01, 0), (0.25, 2), (0.5, 4), (0.99, 7)])
def test_linear_share(share, linear):
    """Rounded, but at least one unit stays a step."""
    model = small(linear_share=share)
    assert [s.input.shape[-1] for s in step_layers(model)] == [8 - linear] * 3
    assert np.isfinite(to_numpy(model(images((2, 3, 2))))).all()


# Equations


def whole(model, seed=0):
    """The model with small integers for weights, so that sums are exact; means among them too."""
    random = np.random.default_rng(seed)
    for weight in model.weights:
        if weight.name == "moving_variance":
            weight.assign(random.uniform(0.5, 30.0, weight.shape))
        elif weight.name not in ("sharpness", "scale"):
            spread = random.integers(-1, 2, weight.shape)
            norm = weight.name in ("gamma", "beta", "moving_mean")
            weight.assign(spread + norm * random.uniform(0.1, 0.6, weight.shape))
    return model


def convolved(x, kernel, stride):
    """3 x 3, padded as little as "same" asks for, more of it at the end."""
    sizes = [-(-n // stride) for n in x.shape[1:3]]
    pads = [(m - 1) * stride + 3 - n for m, n in zip(sizes, x.shape[1:3], strict=True)]
    x = np.pad(x, [(0, 0), *((p // 2, p - p // 2) for p in pads), (0, 0)])
    windows = np.lib.stride_tricks.sliding_window_view(x, (3, 3), axis=(1, 2))
    return np.einsum("bhwcij,ijco->bhwo", windows[:, ::stride, ::stride], kernel)


def pooled(x, reduce):
    """By 2 x 2, of images of even size."""
    b, h, w, c = x.shape
    return reduce(x.reshape(b, h // 2, 2, w // 2, 2, c), axis=(2, 4))


def by_hand(model, x, kind, skip, norm, bit, linear, halving=()):
    """What the docstring says, in numpy: (pre-activations of the steps, their outputs, y)."""

    def linear_map(layer, s, stride):
        found = model.get_layer(f"layer{layer}_map")
        kernel = to_numpy(found.kernel)
        u = s @ kernel if kind == "dense" else convolved(s, kernel, stride)
        return u + to_numpy(found.bias) if norm is None else u

    def normalised(layer, u):
        if norm is None:
            return u
        found = model.get_layer(f"layer{layer}_norm")
        if norm == "batch":
            mean, var = to_numpy(found.moving_mean), to_numpy(found.moving_variance)
        else:
            mean, var = u.mean(-1, keepdims=True), u.var(-1, keepdims=True)
        z = (u - mean) / np.sqrt(var + found.epsilon)
        return z * to_numpy(found.gamma) + to_numpy(found.beta)

    s = np.float64(x).reshape(len(x), -1) if kind == "dense" else np.float64(x)
    seen, stream, pre, outputs = [s], None, [], []
    for layer in range(1, len(step_layers(model)) + 1):
        halves = layer in halving
        if halves and skip == "dense":
            seen = [pooled(each, np.max) for each in seen]
        given = np.concatenate(seen, -1) if skip == "dense" else s
        u = linear_map(layer, given, 2 if halves and skip != "dense" else 1)
        if skip == "residual" and stream is not None:
            if halves:
                channels = to_numpy(model.get_layer(f"layer{layer}_channels").kernel)[0, 0]
                stream = pooled(stream, np.mean) @ channels
            u = u + stream
        stream = u
        z = normalised(layer, u)
        steps = z.shape[-1] - linear
        pre.append(z[..., :steps])
        outputs.append(np.float64(pre[-1] > 0) if bit else np.where(pre[-1] >= 0, 1.0, -1.0))
        s = np.concatenate([outputs[-1], z[..., steps:]], -1)
        seen.append(s)
    s = np.concatenate(seen, -1) if skip == "dense" else s
    s = s if kind == "dense" else s.mean((1, 2))
    head = model.get_layer("head")
    return pre, outputs, s @ to_numpy(head.kernel) + to_numpy(head.bias)


def assert_as_by_hand(model, x, **options):
    pre, outputs, y = by_hand(model, x, **options)
    if options["norm"] is None:  # where all is exact, ties too
        assert any(np.any(u == 0) for u in pre)
    else:
        assert min(np.abs(u).min() for u in pre) > 1e-5
    with observe_steps(model) as seen:
        found = to_numpy(model(x))
    for (bits,), expected in zip(seen.values(), outputs, strict=True):
        np.testing.assert_array_equal(to_numpy(bits), expected)
    np.testing.assert_allclose(found, y, rtol=1e-4, atol=1e-4)


@SKIPS
@NORMS
@pytest.mark.parametrize(("coding", "share"), [("sign", 0.0), ("bit", 0.0), ("sign", 0.25)])
def test_equations(skip, norm, coding, share):
    model = deep_heaviside_network(
        (3, 2),
        4,
        depth=4,
        width=8,
        skip=skip,
        normalization=norm,
        coding=coding,
        linear_share=share,
    )
    x = np.random.default_rng(5).integers(-3, 4, (40, 3, 2))
    options = {"skip": skip, "norm": norm, "bit": coding == "bit", "linear": round(8 * share)}
    assert_as_by_hand(whole(model), x, kind="dense", **options)


@SKIPS
@pytest.mark.parametrize(("norm", "coding"), [(None, "sign"), ("batch", "bit")])
def test_equations_of_convolutions(skip, norm, coding):
    """The third layer on images of half the size, 4 x 2 pixels."""
    model = deep_heaviside_network(
        (8, 4, 2),
        4,
        kind="convolutional",
        depth=3,
        width=8,
        stages=2,
        skip=skip,
        normalization=norm,
        coding=coding,
    )
    x = np.random.default_rng(5).integers(-3, 4, (20, 8, 4, 2))
    options = {"skip": skip, "norm": norm, "bit": coding == "bit", "linear": 0}
    assert_as_by_hand(whole(model), x, kind="convolutional", halving=(3,), **options)


@SKIPS
@pytest.mark.parametrize("coding", ["sign", "bit"])
def test_maps_read_bits(skip, coding):
    """Also where a stage with images of an odd size ends; dense skips show them the input too."""
    model = small("convolutional", skip=skip, coding=coding, depth=4)
    x = images((10, *INPUTS["convolutional"]))
    channels = 2 if skip == "dense" else 0
    for read in values(model, [layer.input for layer in maps(model, 4)[1:]], x):
        expected = [-1.0, 1.0] if coding == "sign" else [0.0, 1.0]
        np.testing.assert_array_equal(np.unique(read[..., channels:]), expected)


# The start of training

UNITS = {  # the mean square of a unit, and how near means over 400 x 256 of them come to it
    "sign": ({"coding": "sign"}, 1.0, 0.05),
    "bit": ({"coding": "bit"}, 0.5, 0.2),
    "relu": ({"activation": "relu"}, 0.5, 0.2),
    "sign, linear": ({"linear_share": 0.25}, 1.0, 0.05),
    "bit, linear": ({"coding": "bit", "linear_share": 0.25}, 0.625, 0.1),
}
every_unit = pytest.mark.parametrize("unit", UNITS)
STANDARD = images((256, 400))


def wide(**options):
    keras.utils.set_random_seed(0)
    return deep_heaviside_network((400,), 2, depth=4, width=400, **options)


@every_unit
def test_variance_of_kernels(unit):
    options, square, _ = UNITS[unit]
    model = wide(skip=None, **options)
    for layer, found in enumerate(maps(model, 4), start=1):
        variance = np.var(to_numpy(found.kernel)) * 400
        assert variance == pytest.approx(1.0 if layer == 1 else 1 / square, rel=0.02)


def mean_squares(model, tensors):
    outputs = keras.Model(model.input, tensors)(STANDARD, training=True)
    return [np.mean(to_numpy(u) ** 2) for u in outputs]


@every_unit
@pytest.mark.parametrize("norm", [None, "batch"])
def test_variance_of_maps(norm, unit):
    """1, whatever the units."""
    options, _, near = UNITS[unit]
    model = wide(skip=None, normalization=norm, **options)
    found = mean_squares(model, [layer.output for layer in maps(model, 4)])
    np.testing.assert_allclose(found, 1, rtol=near)


@pytest.mark.parametrize(
    ("norm", "unit"), [(None, "sign"), (None, "bit"), *(("batch", unit) for unit in UNITS)]
)
def test_variance_of_the_stream(norm, unit):
    """1, 2, 3, 4 if what enters the maps is exact or normalised."""
    options, _, near = UNITS[unit]
    model = wide(skip="residual", normalization=norm, **options)
    streams = [model.get_layer(f"layer{layer}_stream").output for layer in (2, 3, 4)]
    np.testing.assert_allclose(mean_squares(model, streams), [2, 3, 4], rtol=near)


def test_variance_of_convolutions():
    """Within the image; at its border the padding adds nothing."""
    keras.utils.set_random_seed(0)
    model = deep_heaviside_network(
        (12, 12, 16), 2, kind="convolutional", depth=2, width=48, stages=1
    )
    for u in values(model, [layer.output for layer in maps(model, 2)], images((16, 12, 12, 16))):
        assert np.mean(u[:, 2:-2, 2:-2] ** 2) == pytest.approx(1, rel=0.05)


def test_reproducible():
    """The same seed gives the same weights."""

    def weights(seed):
        keras.utils.set_random_seed(seed)
        return small("convolutional").get_weights()

    for one, other in zip(weights(1), weights(1), strict=True):
        np.testing.assert_array_equal(one, other)
    assert np.any(weights(1)[0] != weights(2)[0])
