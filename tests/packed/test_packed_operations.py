"""Each kind of operation: its fast way computes what its numpy definition says."""

import tracemalloc
from unittest.mock import patch

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support import BACKEND

from keras_htaf_packed import threads
from keras_htaf_packed.bits import from_units, to_bytes, to_units
from keras_htaf_packed.graph import Graph, Operation, Spec
from keras_htaf_packed.operations import KINDS, pointwise, specs

pytestmark = pytest.mark.skipif(BACKEND != "torch", reason="has nothing to do with Keras")

few = settings(max_examples=60, deadline=None, derandomize=True)
channels = st.one_of(st.integers(1, 20), st.sampled_from([31, 32, 33, 63, 64, 65, 100]))
seeds = st.integers(0, 2**32 - 1)


def value(spec, samples, random):
    if spec.coding is None:
        return random.normal(size=(samples, *spec.shape)).round(1).astype("float32")
    return to_units(random.integers(0, 2, (samples, *spec.shape)), spec.runs)


def check(operation, *given_specs, samples=3, seed=0, exact=True):
    """The definition and the fast way agree, on what `infer` says that they give."""
    random = np.random.default_rng(seed)
    kind = KINDS[operation.kind]
    spec = kind.infer(operation, *given_specs)
    values = [value(each, samples, random) for each in given_specs]
    wanted = kind.define(operation, given_specs, *values)
    run = kind.prepare(operation, *given_specs)
    found = run(*values)
    with patch.multiple(threads, _number=3, _WORTH=1e-15):  # work in parts
        np.testing.assert_allclose(run(*values), found, atol=0 if exact else 1e-4)
    assert found.dtype == wanted.dtype
    assert found.shape == wanted.shape
    if spec.coding is None:
        assert found.shape == (samples, *spec.shape)
    else:
        assert from_units(found, spec.runs).shape == (samples, *spec.shape)
    if exact:
        np.testing.assert_array_equal(found, wanted)
    else:
        np.testing.assert_allclose(found, wanted, atol=1e-4)


@st.composite
def windows(draw, most=3):
    """Attributes of a window, and a shape that it fits: an image, a sequence or a vector."""
    axes = draw(st.integers(0, 2))
    window = {"kernel_size": [1, 1], "strides": [1, 1], "dilation": [1, 1], "padding": [0] * 4}
    shape = []
    for axis in range(2 - axes, 2):
        size, stride, dilation = (draw(st.integers(1, most)) for _ in range(3))
        reach = dilation * (size - 1)
        before, after = draw(st.integers(0, reach)), draw(st.integers(0, reach))
        least = max(1, reach + 1 - before - after)
        shape.append(draw(st.integers(least, least + 6)))
        window["kernel_size"][axis], window["strides"][axis] = size, stride
        window["dilation"][axis] = dilation
        window["padding"][axis], window["padding"][axis + 2] = before, after
    return window, tuple(shape)


def flips(count, random):
    return to_bytes(random.integers(0, 2, count))


def runs_of(count, random):
    """The channels, cut somewhere, as concatenation leaves them."""
    cut = int(random.integers(0, count))
    return (cut, count - cut) if cut else (count,)


@few
@given(
    windows(), channels, channels, st.booleans(), st.sampled_from([-1, 0, 1]), seeds,
    st.sampled_from(["sign", "bit"]), st.sampled_from(["sign", "bit"]),
)  # fmt: skip
def test_product(window, inputs, filters, stepped, pad_value, seed, coding, weights):
    random = np.random.default_rng(seed)
    window, shape = window
    spec = Spec((*shape, inputs), coding, runs_of(inputs, random))
    places = int(np.prod(window["kernel_size"])) * inputs
    attributes = {**window, "weights": weights, "filters": filters, "pad_value": pad_value}
    arrays = {"kernel": to_bytes(random.integers(0, 2, (filters, places)))}
    if stepped:
        attributes["coding"] = "bit"
        thresholds = random.integers(-5, 6, filters)
        thresholds[random.random(filters) < 0.1] = 2**31 - 1
        thresholds[random.random(filters) < 0.1] = -(2**31)
        arrays |= {"threshold": thresholds.astype(np.int32), "flip": flips(filters, random)}
    check(Operation("product", "p", ("x",), attributes, arrays), spec, seed=seed)


@few
@given(windows(), channels, st.integers(1, 2), st.sampled_from([-1, 0, 1]), seeds,
       st.sampled_from(["sign", "bit"]), st.sampled_from(["sign", "bit"]))  # fmt: skip
def test_depthwise(window, inputs, multiplier, pad_value, seed, coding, weights):
    random = np.random.default_rng(seed)
    window, shape = window
    places = int(np.prod(window["kernel_size"])) * inputs
    attributes = {**window, "weights": weights, "multiplier": multiplier, "pad_value": pad_value}
    arrays = {"kernel": to_bytes(random.integers(0, 2, (multiplier, places)))}
    operation = Operation("depthwise", "d", ("x",), attributes, arrays)
    check(operation, Spec((*shape, inputs), coding, (inputs,)), seed=seed)


@few
@given(windows(), channels, channels, st.booleans(), st.sampled_from([-1, 0, 1]), seeds,
       st.booleans(), st.booleans())  # fmt: skip
def test_linear(window, inputs, filters, signs, pad_value, seed, bias, each):
    random = np.random.default_rng(seed)
    window, shape = window
    groups = inputs if each else 1
    filters = filters * groups if each else filters
    depth = inputs // groups
    attributes = {**window, "filters": filters, "pad_value": pad_value, "groups": groups}
    if signs:
        attributes["weights"] = "sign"
        places = int(np.prod(window["kernel_size"])) * depth
        arrays = {"kernel": to_bytes(random.integers(0, 2, (filters, places)))}
    else:
        size = (*window["kernel_size"], depth, filters)
        arrays = {"kernel": random.normal(size=size).astype("float32")}
    if bias:
        arrays["bias"] = random.normal(size=filters).astype("float32")
    operation = Operation("linear", "l", ("x",), attributes, arrays)
    check(operation, Spec((*shape, inputs)), seed=seed, exact=False)


@few
@given(
    windows(), channels, st.sampled_from(["max", "mean"]), st.sampled_from([None, "sign"]), seeds
)
def test_pool(window, inputs, reduce, coding, seed):
    random = np.random.default_rng(seed)
    window, shape = window
    if any(p >= k for p, k in zip(window["padding"], window["kernel_size"] * 2, strict=True)):
        window["padding"] = [0] * 4  # else a window may lie beyond the border
        shape = tuple(size + 9 for size in shape)
    runs = runs_of(inputs, random) if coding else ()
    reduce = "max" if coding else reduce
    arrays = {"flip": flips(inputs, random)} if coding and seed % 2 else {}
    operation = Operation("pool", "p", ("x",), {**window, "reduce": reduce}, arrays)
    check(operation, Spec((*shape, inputs), coding, runs), seed=seed, exact=reduce == "max")


@pytest.mark.parametrize(("reduce", "coding"), [("max", None), ("mean", None), ("max", "sign")])
def test_a_window_larger_than_the_image_pools(reduce, coding):
    """As pyramids of pooling do on small maps: some places of the window are never inside."""
    window = {"kernel_size": [9, 4], "strides": [1, 2], "dilation": [1, 1], "padding": [4, 1, 4, 2]}
    operation = Operation("pool", "p", ("x",), {**window, "reduce": reduce})
    check(operation, Spec((3, 2, 5), coding, (5,) if coding else ()), exact=reduce == "max")


@few
@given(st.sampled_from([(), (3,), (2, 3)]), channels, seeds)
def test_step_and_unpack(shape, inputs, seed):
    random = np.random.default_rng(seed)
    threshold = random.normal(size=inputs).round(1).astype("float32")
    threshold[random.random(inputs) < 0.1] = -np.inf
    threshold[random.random(inputs) < 0.1] = np.inf
    arrays = {"threshold": threshold, "flip": flips(inputs, random)}
    spec = Spec((*shape, inputs))
    check(Operation("step", "s", ("x",), {"coding": "sign"}, arrays), spec, seed=seed)
    for coding in ("sign", "bit"):
        bits = Spec(spec.shape, coding, runs_of(inputs, random))
        check(Operation("unpack", "u", ("x",)), bits, seed=seed)


@pytest.mark.parametrize("samples", [1, 8, 9])
@pytest.mark.parametrize("coding", ["sign", "bit"])
def test_lookup(samples, coding):
    random = np.random.default_rng(samples)
    for shape, runs in (((37,), (37,)), ((2, 50), (17, 33))):
        arrays = {"kernel": random.normal(size=(sum(runs), 5)).astype("float32")}
        operation = Operation("lookup", "l", ("x",), {"filters": 5}, arrays)
        check(operation, Spec(shape, coding, runs), samples=samples, exact=False)
        operation.arrays["bias"] = arrays["kernel"][0]
        check(operation, Spec(shape, coding, runs), samples=samples, exact=False)


def test_a_small_sigmoid_keeps_its_digits():
    x = np.linspace(-80, 80, 41, dtype="float32")
    with np.errstate(all="raise"):
        found = pointwise.FUNCTIONS["sigmoid"](x)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, 1 / (1 + np.exp(-x.astype("float64"))), rtol=1e-6)


def test_a_shape_has_an_axis():
    with pytest.raises(ValueError, match="1 to 8 integers"):
        KINDS["reshape"].infer(Operation("reshape", "r", ("x",), {"shape": []}), Spec((1,)))


def test_the_others():
    image, random = Spec((4, 5, 6)), np.random.default_rng(0)
    ones = {"scale": random.normal(size=6), "offset": random.normal(size=6)}
    ones = {key: array.astype("float32") for key, array in ones.items()}
    check(Operation("affine", "a", ("x",), {}, ones), image)
    check(Operation("affine", "a", ("x",), {}, {**ones, "mean": ones["scale"] + 1}), image)
    check(Operation("layer_norm", "n", ("x",), {"epsilon": 1e-3}, ones), image)
    shapes = ("input_shift", "slope", "output_shift")
    check(Operation("rprelu", "r", ("x",), {}, dict.fromkeys(shapes, ones["scale"])), image)
    for function in ("linear", "relu", "relu6", "hard_tanh", "tanh", "sigmoid", "softmax"):
        check(Operation("activation", "f", ("x",), {"function": function}), image)
    check(Operation("add", "a", ("x", "y", "z")), image, image, image)
    check(Operation("concatenate", "c", ("x", "y")), image, Spec((4, 5, 3)))
    bits = Spec((4, 5, 6), "sign", (6,)), Spec((4, 5, 17), "sign", (17,))
    check(Operation("concatenate", "c", ("x", "y")), *bits)
    check(Operation("slice", "s", ("x",), {"start": 2, "stop": 5}), image)
    check(Operation("reshape", "r", ("x",), {"shape": [120]}), image)
    check(Operation("reshape", "r", ("x",), {"shape": [120]}), bits[0])
    for reduce in ("max", "mean"):
        for keep in (True, False):
            attributes = {"reduce": reduce, "keep": keep}
            check(Operation("global_pool", "g", ("x",), attributes), image)


def test_published_counts():
    """The two dot products of 8 bits whose sums are known."""
    a = np.array([1, -1, -1, 1, 1, -1, 1, 1])
    w = np.array([1, 1, -1, -1, 1, -1, -1, 1])
    window = {"kernel_size": [1, 1], "strides": [1, 1], "dilation": [1, 1], "padding": [0] * 4}
    attributes = {**window, "weights": "sign", "filters": 1, "pad_value": 0}
    operation = Operation("product", "p", ("x",), attributes, {"kernel": to_bytes(w[None] > 0)})
    for coding, wanted in (("sign", 2), ("bit", 1)):
        run = KINDS["product"].prepare(operation, Spec((8,), coding, (8,)))
        assert run(to_units(a[None] > 0, (8,))).tolist() == [[wanted]]


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"filters": 0}, "filters"),
        ({"filters": 5}, "kernel"),
        ({"weights": "ternary"}, "weights"),
        ({"strides": [1]}, "strides"),
        ({"strides": [1, True]}, "strides"),
        ({"kernel_size": [9, 9]}, "fits"),
        ({"padding": [9, 9, 9, 9]}, "fits"),
        ({"pad_value": 2}, "pad_value"),
    ],
)
def test_what_does_not_fit_is_refused(changed, message):
    window = {"kernel_size": [1, 1], "strides": [1, 1], "dilation": [1, 1], "padding": [0] * 4}
    attributes = {**window, "weights": "sign", "filters": 3, "pad_value": 0, **changed}
    arrays = {"kernel": np.zeros((3, 1), np.uint8)}
    step = {"threshold": np.zeros(8, np.float32), "flip": np.zeros(1, np.uint8)}
    graph = Graph(
        [
            Operation("input", "x", (), {"shape": [4, 4, 8]}),
            Operation("step", "s", ("x",), {"coding": "sign"}, step),
            Operation("product", "p", ("s",), attributes, arrays),
        ]
    )
    with pytest.raises(ValueError, match=message):
        specs(graph)


POINT = {"kernel_size": [1, 1], "strides": [1, 1], "dilation": [1, 1], "padding": [0] * 4}
STEP = {"threshold": np.zeros(1, np.float32), "flip": np.zeros(1, np.uint8)}


def doubled(times):
    """Bits beside themselves, again and again."""
    return [
        Operation("concatenate", f"c{i}", (f"c{i - 1}" if i else "s",) * 2) for i in range(times)
    ]


@pytest.mark.parametrize(
    ("shape", "operations", "message"),
    [
        ([30000, 30000, 1], [], "at most 134217728 numbers"),
        ([2] * 9, [], "1 to 8 integers"),
        ([2**20, 1], [Operation("reshape", "r", ("s",), {"shape": [2**20]})], "runs"),
        ([2, 1], doubled(40), "runs"),
        (
            [2**16, 1],
            [Operation("pool", "p", ("x",), {**POINT, "kernel_size": [1, 2**15], "reduce": "max"})],
            "32769 outputs of 32768 inputs",
        ),
    ],
)
def test_a_small_file_takes_little_memory(shape, operations, message):
    first = [Operation("input", "x", (), {"shape": shape})]
    first.append(Operation("step", "s", ("x",), {"coding": "sign"}, STEP))
    with pytest.raises(ValueError, match=message) as caught:
        specs(Graph([*first, *operations]))
    assert len(str(caught.value)) < 1000


def test_a_large_kernel_with_borders_is_refused():
    """Each of its windows has a border of its own."""
    window = {**POINT, "kernel_size": [127, 127], "padding": [63] * 4}
    attributes = {**window, "weights": "sign", "filters": 1, "pad_value": 0}
    kernel = np.zeros((1, -(-(127**2) // 8)), np.uint8)
    operation = Operation("product", "p", ("x",), attributes, {"kernel": kernel})
    with pytest.raises(ValueError, match="a smaller kernel"):
        KINDS["product"].prepare(operation, Spec((127, 127, 1), "sign", (1,)))


def test_preparing_takes_a_few_times_the_memory_of_the_kernel():
    kernel = np.zeros((2048, 256), np.uint8)
    attributes = {**POINT, "weights": "sign", "filters": 2048, "pad_value": 0}
    operation = Operation("product", "p", ("x",), attributes, {"kernel": kernel})
    KINDS["product"].prepare(operation, Spec((2048,), "sign", (2048,)))  # what it imports
    tracemalloc.start()
    try:
        KINDS["product"].prepare(operation, Spec((2048,), "sign", (2048,)))
        assert tracemalloc.get_traced_memory()[1] < 4 * kernel.nbytes
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_kernels_are_finite(bad):
    arrays = {"kernel": np.full((1, 1, 2, 1), bad, np.float32)}
    operation = Operation(
        "linear", "l", ("x",), {**POINT, "filters": 1, "pad_value": 0, "groups": 1}, arrays
    )
    with pytest.raises(ValueError, match="kernel with NaN or infinity"):
        KINDS["linear"].infer(operation, Spec((2,)))
