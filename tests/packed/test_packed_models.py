"""Packed models give what the hardened Keras models give, bit for bit where sums are integers."""

import os

import keras
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from keras import layers
from packed_case import (
    by_name,
    decided_surely,
    eager,
    expected,
    inputs_for,
    randomized,
    unfolded,
    unpacked,
)
from support import BACKEND

import keras_htaf
from keras_htaf import packed
from keras_htaf.layers import (
    HTAF,
    BinaryConv1D,
    BinaryConv2D,
    BinaryDense,
    BinaryDepthwiseConv2D,
    BinaryLayer,
    Heaviside,
    LearnedScale,
    RPReLU,
    RSign,
    Sign,
)
from keras_htaf.models import (
    binary_mlp,
    binary_resnet,
    binary_vgg,
    deep_heaviside_network,
    icbm,
)
from keras_htaf.quantizers import Step

pytestmark = pytest.mark.filterwarnings("ignore:.*hardly moves latent")
not_on_jax = pytest.mark.skipif(
    BACKEND == "jax", reason="JAX compiles each operation for each shape: minutes for nothing new"
)

EXACT = {
    "mlp": lambda: binary_mlp((4, 3, 2), 3, width=37, depth=3),
    "vgg": lambda: binary_vgg(
        (8, 8, 2), 3, filters=(5, 33), dense_units=(9,), ends="binary", input_quantizer="heaviside"
    ),
}
"""Builders of networks all of whose sums are of integers."""
REAL = {
    "scaled": lambda: binary_mlp((6,), 3, width=20, kernel_quantizer="xnor_sign", ends="float"),
    "vgg": lambda: binary_vgg((8, 8, 2), 3, filters=(4, 20, 6, 6)),
    "bireal": lambda: binary_resnet((8, 8, 2), 3, width=4),
    "react": lambda: binary_resnet(
        (8, 8, 2), 3, width=4, block="react", kernel_quantizer="magnitude_aware_sign"
    ),
    "large": lambda: binary_resnet((32, 32, 3), 3, width=3, depth=18, stem="large"),
    "dense": lambda: deep_heaviside_network((10,), 3, depth=3, width=19),
    "bits": lambda: deep_heaviside_network(
        (10,), 3, depth=3, width=19, skip=None, coding="bit", normalization="layer",
        linear_share=0.25, targets=np.arange(12.0).reshape(4, 3) ** 2,
    ),
    "skips": lambda: deep_heaviside_network((10,), 3, depth=3, width=19, skip="dense"),
    "images": lambda: deep_heaviside_network(
        (8, 8, 2), 3, kind="convolutional", depth=4, width=7, stages=2
    ),
    "skipped": lambda: deep_heaviside_network(
        (8, 8, 2), 3, kind="convolutional", depth=3, width=7, stages=2, skip="dense", coding="bit",
        normalization=None,
    ),
    "icbm": lambda: icbm(num_concepts=9, num_classes=4, input_shape=(12, 12, 1)),
}  # fmt: skip
"""Builders whose sums are of real numbers somewhere; no sum here lies within rounding of 0."""


@pytest.mark.parametrize("build", EXACT.values(), ids=list(EXACT))
def test_networks_of_integers_are_exact(build):
    model = randomized(build())
    x = inputs_for(model)
    found = packed.pack(model)
    wanted = expected(model, x)
    predicted = found.predict(x, batch_size=4)
    assert predicted.dtype == "float32"
    if BACKEND == "torch":  # elsewhere a compiler may round the last normalisation once
        np.testing.assert_array_equal(predicted, wanted)
    np.testing.assert_allclose(predicted, wanted, rtol=1e-6, atol=1e-6)
    kinds = [row.kind for row in found.summary().rows]
    assert "unpack" not in kinds
    assert kinds.count("affine") == 1  # the head's


@not_on_jax
@pytest.mark.parametrize("build", REAL.values(), ids=list(REAL))
def test_networks_of_real_numbers_agree_to_rounding(build):
    keras.utils.set_random_seed(0)
    model = randomized(build(), seed=3)
    x = inputs_for(model)
    np.testing.assert_allclose(packed.pack(model).predict(x), eager(model, x), rtol=2e-5, atol=2e-5)


BUILDERS = {f"exact-{name}": build for name, build in EXACT.items()}
BUILDERS |= {f"real-{name}": build for name, build in REAL.items()}


@not_on_jax
@pytest.mark.parametrize("seed", [0, 1])
@pytest.mark.parametrize("build", BUILDERS.values(), ids=list(BUILDERS))
def test_sums_and_bits_are_those_of_the_layers(build, seed):
    """Samples that rounding may decide are left out."""
    keras.utils.set_random_seed(seed)
    model = randomized(build(), seed)
    x = inputs_for(model, 8, seed)
    network, before = packed.pack(model), unfolded(model)
    bits, values = network.values(x), before.values(x)
    sure = decided_surely(network, bits)
    assert sure.sum() >= 2

    found = [layer for layer in model.layers if layer.name in values]
    found = [layer for layer in found if isinstance(layer, (Step, BinaryLayer))]
    wanted = eager(keras.Model(model.input, [layer.output for layer in found]), x)
    wanted = wanted if len(found) > 1 else [wanted]
    for layer, output in zip(found, wanted, strict=True):
        operation, output = by_name(before)[layer.name], output[sure]
        if operation.kind == "step":
            ones = unpacked(before, values, layer.name)[sure]
            np.testing.assert_array_equal(ones, output > 0, layer.name)
        elif operation.kind in ("product", "depthwise"):
            sums = values[layer.name][sure]
            np.testing.assert_array_equal(sums, np.round(sums), layer.name)
            if f"{layer.name}/scale" in values:
                sums = values[f"{layer.name}/scale"][sure]
                np.testing.assert_allclose(sums, output, rtol=1e-6, atol=1e-6)
            elif layer.activation in (None, keras.activations.linear):
                np.testing.assert_array_equal(sums, output, layer.name)
    # What decides after folding, by what takes its bits.
    compared = 0
    for name, operation in by_name(network).items():
        taken = operation.inputs
        if operation.kind in ("product", "depthwise", "lookup", "unpack") and name in values:
            (other,) = by_name(before)[name].inputs
            np.testing.assert_array_equal(
                unpacked(network, bits, taken[0])[sure], unpacked(before, values, other)[sure], name
            )
            compared += 1
    assert compared >= 1
    np.testing.assert_allclose(
        network.predict(x)[sure], eager(model, x)[sure], rtol=2e-5, atol=2e-5
    )


STEPS = {"sign": Sign, "heaviside": Heaviside, "rsign": RSign, "htaf": HTAF}
KERNELS = ["sign", "heaviside", "magnitude_aware_sign", "xnor_sign", "ternary"]
KERNEL_SIZES = (1, 1, 2, 3, 3, 4, 9)
"""9 is larger than the maps, which have 4 to 7 rows and columns at most."""
CHANNELS = st.one_of(st.integers(1, 9), st.sampled_from([16, 17, 33, 64, 65]))


def small_model(draw):
    """From integers to the bits of steps, by layers that only sums of integers come in between."""
    kind = draw(st.sampled_from(["dense", "conv1", "conv2", "depthwise"]))
    axes = {"dense": 0, "conv1": 1}.get(kind, 2)
    sizes = tuple(draw(st.integers(4, 7)) for _ in range(axes))
    x = inputs = keras.Input((*sizes, draw(CHANNELS)))
    x = STEPS[draw(st.sampled_from(["sign", "heaviside"]))]()(x)
    for _ in range(draw(st.integers(1, 2))):
        padding = draw(st.sampled_from(["same", "valid", "causal"][: 3 if axes == 1 else 2]))
        common = {
            "use_bias": draw(st.booleans()),
            "input_quantizer": draw(st.sampled_from([None, "sign", "heaviside"])),
        }
        kernels = draw(st.sampled_from(KERNELS))
        quantizer = {"kernel_quantizer": kernels}
        if axes:
            room = min(x.shape[1:-1]) if padding == "valid" else 9
            size = [draw(st.sampled_from([n for n in KERNEL_SIZES if n <= room]))] * axes
            size[-1] = draw(st.sampled_from([n for n in KERNEL_SIZES if n <= room]))
            even = padding == "same" and any(n % 2 == 0 for n in size)
            strided = draw(st.booleans())
            common |= {
                "kernel_size": tuple(size),
                "strides": 2 if strided else 1,
                "padding": padding,
                "pad_values": 0 if even else draw(st.sampled_from([None, -1, 0, 1])),
            }
            if not strided and padding != "valid":
                common["dilation_rate"] = draw(st.integers(1, 2))
        if kind == "dense":
            x = BinaryDense(draw(CHANNELS), **common, **quantizer)(x)
        elif kind == "conv1":
            x = BinaryConv1D(draw(CHANNELS), **common, **quantizer)(x)
        elif kind == "conv2":
            x = BinaryConv2D(draw(CHANNELS), **common, **quantizer)(x)
        else:
            quantizer = {"depthwise_quantizer": kernels}
            multiplier = draw(st.integers(1, 2))
            x = BinaryDepthwiseConv2D(depth_multiplier=multiplier, **common, **quantizer)(x)
        if draw(st.booleans()):
            x = layers.Add()([x, x])
        pools = draw(st.sampled_from(["", "before", "after"])) if axes else ""
        exact = pools == "before" and not common["use_bias"] and kernels in ("sign", "heaviside")
        reduce = draw(st.sampled_from(["Max", "Average"])) if exact else "Max"
        pool = getattr(layers, f"{reduce}Pooling{axes}D") if axes else None
        if pools == "before":
            x = pool(2, padding="same")(x)
        between = draw(st.sampled_from(["", "", "scale", "rescaling", "normalization", "relu"]))
        if between == "scale":
            x = LearnedScale()(x)
        elif between == "rescaling":
            x = layers.Rescaling(draw(st.sampled_from([0.5, -0.7])), draw(st.integers(-2, 2)))(x)
        elif between == "normalization":
            x = layers.Normalization(mean=draw(st.integers(-2, 2)), variance=2.5)(x)
        elif between == "relu":
            x = layers.ReLU()(x)
        if draw(st.booleans()):
            x = layers.BatchNormalization(scale=draw(st.booleans()), center=draw(st.booleans()))(x)
        if pools == "after":
            x = pool(2, padding="same")(x)
        if axes and draw(st.booleans()):
            x, axes, kind = layers.Flatten()(x), 0, "dense"
        x = STEPS[draw(st.sampled_from(list(STEPS)))]()(x)
    return keras.Model(inputs, x)


def check_small(draw):
    model, seed = small_model(draw), draw(st.integers(0, 2**32 - 1))
    model = randomized(model, seed)
    x = inputs_for(model, 3, seed)
    try:
        np.testing.assert_array_equal(packed.pack(model).predict(x), eager(model, x))
    finally:
        keras.backend.clear_session()


@settings(max_examples={"torch": 15, "jax": 1}.get(BACKEND, 5), deadline=None, derandomize=True)
@given(st.data())
def test_bits_of_random_models_are_exact(data):
    check_small(data.draw)


@pytest.mark.slow
@pytest.mark.timeout(7200)
@pytest.mark.skipif(BACKEND != "torch", reason="the others compile each of thousands of models")
@settings(max_examples=int(os.environ.get("PACKED_EXAMPLES", "2000")), deadline=None)
@given(st.data())
def test_bits_of_thousands_of_random_models_are_exact(data):
    check_small(data.draw)


def test_every_sum_is_decided_as_by_the_layers():
    """All sums of a dense layer, each with many normalisations, ties among them."""
    inputs = keras.Input((31,))
    x = BinaryDense(300, kernel_quantizer="sign", kernel_initializer="ones")(Sign()(inputs))
    model = keras.Model(inputs, Sign()(layers.BatchNormalization()(x)))
    for seed in range(3):
        hard = randomized(model, seed)
        hard.layers[2].kernel.assign(np.ones((31, 300)))
        x = np.where(np.arange(31) < np.arange(32)[:, None], 1.0, -1.0)  # sums -31, -29, ..., 31
        wanted = eager(hard, x)
        assert 0.2 < (wanted > 0).mean() < 0.8
        np.testing.assert_array_equal(packed.pack(hard).predict(x), wanted)


@not_on_jax
def test_a_step_with_a_weight_for_each_feature_moves_over_a_flattening():
    """Its weights have the shape of the features, where the sums that decide have channels."""
    inputs = keras.Input((2, 3, 4))
    x = BinaryConv2D(1, 1, input_quantizer="sign", kernel_quantizer="sign")(inputs)
    for step in (RSign(), HTAF(per_channel=True)):
        model = keras.Model(inputs, step(layers.Flatten()(x)))
        for thresholds in ([0.5] * 6, [0.0, 0.5, -1.0, 0.0, 2.0, 0.0]):
            hard = randomized(model)
            if isinstance(step, RSign):
                hard.layers[-1].threshold.assign(thresholds)
            x_ = inputs_for(hard)
            np.testing.assert_array_equal(packed.pack(hard).predict(x_), eager(hard, x_))


@not_on_jax
def test_a_network_that_is_nested_shares_and_shapes():
    inner_inputs = keras.Input((4, 4, 3))
    inner = keras.Model(
        inner_inputs,
        BinaryConv2D(6, 3, padding="same", input_quantizer="sign", kernel_quantizer="sign")(
            inner_inputs
        ),
        name="inner",
    )
    inputs = keras.Input((4, 4, 3))
    x = inner(inputs)
    both = layers.Concatenate()([Sign()(x), Sign()(layers.BatchNormalization()(x))])
    pooled = layers.MaxPooling2D(2)(both)
    mixed = layers.Concatenate()([pooled, layers.AveragePooling2D(2)(Heaviside()(x))])
    flat = layers.Flatten()(mixed)
    y = layers.Dense(5, "relu")(layers.Dropout(0.5)(flat))
    model = randomized(keras.Model(inputs, layers.Dense(2, "softmax")(y)))
    x = inputs_for(model)
    np.testing.assert_allclose(packed.pack(model).predict(x), eager(model, x), atol=1e-5)


@not_on_jax
def test_float_layers_of_every_kind():
    inputs = keras.Input((9, 2))
    x = layers.Conv1D(4, 3, padding="causal", dilation_rate=2)(inputs)
    x = layers.AveragePooling1D(2, padding="same")(RPReLU()(x))
    x = layers.Rescaling(0.5, 1.0)(layers.Reshape((5, 1, 4))(x))
    x = layers.DepthwiseConv2D(3, padding="same", depth_multiplier=2)(x)
    x = layers.Conv2D(3, (2, 1), strides=2, activation="hard_tanh")(x)
    x = layers.GlobalMaxPooling2D(keepdims=True)(layers.ReLU()(x))
    x = layers.Activation("tanh")(layers.Flatten()(x + x))
    model = randomized(keras.Model(inputs, layers.Activation("sigmoid")(x)), 1)
    x = inputs_for(model)
    np.testing.assert_allclose(packed.pack(model).predict(x), eager(model, x), atol=1e-5)


def test_a_sequential_model():
    model = keras.Sequential([keras.Input((5,)), HTAF(), BinaryDense(3, kernel_quantizer="sign")])
    model = randomized(model)
    x = inputs_for(model)
    np.testing.assert_array_equal(packed.pack(model).predict(x), expected(model, x))


def refused(model):
    with pytest.raises(ValueError, match=r"packed|sizes") as caught:
        packed.pack(model)
    return str(caught.value)


@not_on_jax
def test_what_is_refused_is_named_with_the_reason():
    inputs = keras.Input((4, 4, 2))
    x = BinaryConv2D(4, 3, groups=2, input_quantizer="sign", name="grouped")(inputs)
    x = BinaryConv2D(4, 1, input_quantizer="dorefa", name="levels")(x)
    x = HTAF(name="soft")(x)
    x = layers.UpSampling2D(name="larger")(x)
    x = layers.Dense(2, activation="gelu", name="curved", dtype="mixed_bfloat16")(x)
    message = refused(keras.Model(inputs, layers.GlobalAveragePooling2D()(x)))
    for part in (
        "grouped (BinaryConv2D): it has groups=2",
        "levels (BinaryConv2D): its input_quantizer is DoReFa",
        "soft (HTAF): its step 'soft' is smooth: harden",
        "larger (UpSampling2D): this kind of layer is not known",
        "curved (Dense): its dtype policy is mixed_bfloat16",
        'unsupported="keras"',
    ):
        assert part in message
    assert "gelu" in refused(keras.Sequential([keras.Input((2,)), layers.Dense(2, "gelu")]))
    norm = layers.LayerNormalization(rms_scaling=True)
    assert "root mean square" in refused(keras.Sequential([keras.Input((2,)), norm]))
    quantized = keras.Sequential([keras.Input((2,)), layers.Dense(2)])
    quantized.layers[0].quantize("int8")
    assert "quantized by Keras" in refused(quantized)
    unknown = keras.Sequential([keras.Input((None, 2)), layers.Dense(2)])
    assert "Expected known sizes" in refused(unknown)
    with pytest.raises(ValueError, match="unsupported='torch'"):
        packed.pack(unknown, unsupported="torch")
    for model in (3, keras.Sequential([layers.Dense(2)])):
        with pytest.raises(ValueError, match="Expected a"):
            packed.pack(model)


@not_on_jax
def test_what_does_not_fit_is_named_with_the_others():
    inputs = keras.Input((4, 4, 8))
    x = layers.Add(name="wide")([inputs, keras.ops.max(inputs, (1, 2), keepdims=True)])
    x = layers.Dense(3, name="deep")(layers.Reshape((2, 2, 4, 8))(x))
    dropped = layers.Dropout(0.5, name="dropped")(x, training=True)
    model = keras.Model(inputs, layers.Flatten()(keras.ops.cumsum(dropped, 1)))
    message = refused(model)
    for part in (
        "(Max): this kind",
        "wide (Add): it adds shapes that differ: [(1, 1, 8), (4, 4, 8)]",
        "deep (Dense): Operation 'deep' (linear): received an input of shape (2, 2, 4, 8)",
        "dropped (Dropout): it is called with training=True",
        "(Cumsum): this kind",
    ):
        assert part in message
    model = keras.Model(inputs, layers.Flatten()(x))
    kinds = [row.kind for row in packed.pack(model, unsupported="keras").summary().rows]
    assert kinds == ["input", "keras", "keras", "reshape", "keras", "reshape"]
    x = inputs_for(model)
    found = packed.pack(model, unsupported="keras").predict(x)
    np.testing.assert_allclose(found, expected(model, x), rtol=1e-5, atol=1e-5)


@not_on_jax
def test_operations_left_to_keras_keep_their_arguments():
    inputs = keras.Input((4, 4, 6))
    x = BinaryConv2D(6, 3, input_quantizer="sign", kernel_quantizer="sign")(inputs)
    squeezed = layers.Dense(6, "sigmoid")(layers.GlobalAveragePooling2D(keepdims=True)(x))
    x = layers.Multiply()([x * squeezed, squeezed]) * 2.0 - x
    model = randomized(keras.Model(inputs, layers.Flatten()(x[:, 1:, :, ::2])))
    x = inputs_for(model)
    found = packed.pack(model, unsupported="keras").predict(x)
    np.testing.assert_allclose(found, expected(model, x), rtol=1e-5, atol=1e-5)


@not_on_jax
@pytest.mark.parametrize("invert", [False, True])
def test_a_normalization_far_from_zero_keeps_its_digits(invert):
    mean, variance = [10000.0, -3000.0, 0.0], [1.0, 0.01, 4.0]
    layer = layers.Normalization(mean=mean, variance=variance, invert=invert)
    model = keras.Sequential([keras.Input((3,)), layer])
    x = np.random.default_rng(0).normal(size=(50, 3)).astype("float32")
    x = x if invert else (x * np.sqrt(variance) + mean).astype("float32")
    np.testing.assert_allclose(packed.pack(model).predict(x), eager(model, x), rtol=1e-6, atol=1e-6)


@not_on_jax
def test_constants_are_not_forgotten():
    inputs = keras.Input((3,))
    model = keras.Model(inputs, keras_htaf.layers.Sign()(0.5 + inputs * np.arange(3.0)))
    assert "a constant is among its inputs" in refused(model)
    x = inputs_for(model)
    packed_model = packed.pack(model, unsupported="keras")
    np.testing.assert_array_equal(packed_model.predict(x), expected(model, x))


def test_broken_weights_are_refused():
    model = keras_htaf.harden(binary_mlp((4,), 2, width=8, depth=2))
    model.get_layer("layer1_norm").moving_mean.assign(np.full(8, np.nan))
    assert "'layer2/inputs' cannot be packed: it gives NaN" in refused(model)


@not_on_jax
def test_what_has_no_packed_form_may_stay_in_keras(tmp_path):
    inputs = keras.Input((4, 4, 2))
    x = layers.UpSampling2D(name="larger")(Sign()(inputs))
    x = BinaryConv2D(3, 3, input_quantizer="sign", kernel_quantizer="sign")(x)
    model = randomized(keras.Model(inputs, x))
    x = inputs_for(model)
    mixed = packed.pack(model, unsupported="keras")
    np.testing.assert_array_equal(mixed.predict(x), expected(model, x))
    with pytest.raises(ValueError, match=r"leaves \['larger'\] to Keras"):
        mixed.save(tmp_path / "model.khtaf")


@not_on_jax
def test_inputs_are_checked():
    model = packed.pack(randomized(EXACT["mlp"]()))
    x = np.zeros((2, 4, 3, 2))
    assert model.input_shape == (None, 4, 3, 2)
    assert model.output_shape == (None, 3)
    assert model.predict(x[:0]).shape == (0, 3)
    assert model.predict(x.astype("uint8")).shape == (2, 3)
    for bad, message in (
        (x[0], "shape"),
        (x[..., :1], "shape"),
        (x + np.nan, "NaN"),
        (x + 1e300, "infinity"),
        (x.astype(str), "dtype"),
    ):
        with pytest.raises(ValueError, match=message), np.errstate(over="ignore"):
            model.predict(bad)
        with pytest.raises(ValueError, match=message), np.errstate(over="ignore"):
            model.values(bad)
    assert model.predict(x, np.int64(1)).shape == (2, 3)
    assert all(len(value) == 0 for value in model.values(x[:0]).values())
    for batch_size in (0, -1, 1.5, True):
        with pytest.raises(ValueError, match="batch_size"):
            model.predict(x, batch_size)


@not_on_jax
def test_summary_counts_bytes():
    summary = packed.pack(randomized(EXACT["mlp"]())).summary()
    rows = {row.name: row for row in summary.rows}
    assert rows["layer3"].held_bytes == 37 * 5 + 37 * 4 + 5
    assert (rows["layer3"].kernel_bits, rows["layer3"].output_bits) == (1, 1)
    assert rows["flatten"].kernel_bits is None
    assert rows["head"].output_bits == 32
    assert "layer3" in str(summary)
    assert summary.held_bytes == sum(row.held_bytes for row in summary.rows)
