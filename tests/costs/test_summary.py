"""Bits, multiply-accumulates and memory of a model: published totals, closed forms, the graph."""

import json
import math
from pathlib import Path

import keras
import numpy as np
import pytest
from keras import layers

import keras_htaf
from keras_htaf.constraints import WeightClip
from keras_htaf.layers import (
    HTAF,
    BinaryConv2D,
    BinaryConv2DTranspose,
    BinaryDense,
    BinaryDepthwiseConv2D,
    BinaryRNNCell,
    BinarySeparableConv2D,
    Heaviside,
    Sign,
)

KERNEL = {"kernel_quantizer": "ste_sign", "kernel_constraint": WeightClip(1.0)}
BOTH = {"input_quantizer": "ste_sign", **KERNEL}


def larq_mnist():
    """The network of Larq's tutorial on MNIST."""
    norm = {"scale": False}
    return keras.Sequential(
        [
            keras.Input((28, 28, 1)),
            BinaryConv2D(32, 3, name="conv1", **KERNEL),
            layers.MaxPooling2D(name="pool1"),
            layers.BatchNormalization(name="norm1", **norm),
            BinaryConv2D(64, 3, name="conv2", **BOTH),
            layers.MaxPooling2D(name="pool2"),
            layers.BatchNormalization(name="norm2", **norm),
            BinaryConv2D(64, 3, name="conv3", **BOTH),
            layers.BatchNormalization(name="norm3", **norm),
            layers.Flatten(name="flatten"),
            BinaryDense(64, name="dense1", **BOTH),
            layers.BatchNormalization(name="norm4", **norm),
            BinaryDense(10, name="dense2", **BOTH),
            layers.BatchNormalization(name="norm5", **norm),
            layers.Activation("softmax", name="softmax"),
        ],
        name="larq_mnist",
    )


def larq_binarynet():
    """BinaryNet for CIFAR-10 as in Larq's examples."""
    x = inputs = keras.Input((32, 32, 3))
    x = BinaryConv2D(128, 3, name="conv1", **KERNEL)(x)
    x = layers.BatchNormalization(scale=False, name="norm1")(x)
    for i, filters in enumerate((128, 256, 256, 512, 512), start=2):
        x = BinaryConv2D(filters, 3, padding="same", name=f"conv{i}", **BOTH)(x)
        x = x if i % 2 else layers.MaxPooling2D(2, name=f"pool{i}")(x)
        x = layers.BatchNormalization(scale=False, name=f"norm{i}")(x)
    x = layers.Flatten(name="flatten")(x)
    for i, units in enumerate((1024, 1024, 10), start=1):
        x = BinaryDense(units, name=f"dense{i}", **BOTH)(x)
        x = layers.BatchNormalization(scale=False, name=f"dense{i}_norm")(x)
    x = layers.Activation("softmax", name="softmax")(x)
    return keras.Model(inputs, x, name="larq_binarynet")


def test_larq_mnist_totals():
    found = keras_htaf.summary(larq_mnist())
    assert found.weights == {1: 93088, 32: 468}
    assert found.macs == {1: 2599552, 32: 194688}
    assert round(found.memory["packed"] / 1024, 2) == 13.19
    assert round(found.memory["packed_int8"] / 1024, 2) == 11.82
    assert round(found.memory["float32"] / 1024, 2) == 365.45
    assert found.binary_share["macs"] == pytest.approx(2599552 / (2599552 + 194688))
    assert not found.uncounted


def test_larq_binarynet_totals():
    found = keras_htaf.summary(larq_binarynet())
    assert found.weights == {1: 10352000, 32: 7700}
    assert found.macs == {1: 510961664, 32: 3110400}
    assert round(found.memory["packed"] / 1024, 2) == 1293.75
    assert found.memory["int8"] == 10352000 + 7700


@pytest.mark.parametrize("make", [larq_mnist, larq_binarynet])
def test_text(make):
    expected = (Path(__file__).parent / f"{make.__name__}.txt").read_text(encoding="utf-8")
    assert f"{keras_htaf.summary(make())}\n" == expected


def test_markdown_and_dict():
    found = keras_htaf.summary(larq_mnist())
    table = [line for line in found.to_markdown().splitlines() if line.startswith("|")]
    assert len({line.count("|") for line in table}) == 1
    assert table[2].startswith("| conv1 | BinaryConv2D | 32 | 26x26x32 | 32 | 288 |")
    again = json.loads(json.dumps(found.to_dict()))
    assert again == found.to_dict()
    assert again["weights"] == {"1": 93088, "32": 468}
    assert [row["name"] for row in again["layers"]][:2] == ["conv1", "pool1"]


def only(layer, shape=(8, 8, 4)):
    found = keras_htaf.summary(keras.Sequential([keras.Input(shape), layer]))
    (row,) = found.layers
    return row


@pytest.mark.parametrize("data_format", ["channels_last", "channels_first"])
@pytest.mark.parametrize(
    ("make", "macs"),
    [
        (lambda **o: layers.Conv2D(6, 3, strides=2, **o), 9 * (9 * 4 * 6)),
        (lambda **o: layers.Conv2D(6, 3, groups=2, padding="same", **o), 64 * (9 * 2 * 6)),
        (lambda **o: layers.DepthwiseConv2D(3, depth_multiplier=2, **o), 36 * (9 * 4 * 2)),
        (lambda **o: layers.SeparableConv2D(5, 3, **o), 36 * (9 * 4 + 4 * 5)),
        (lambda **o: layers.Conv2DTranspose(5, 3, strides=2, **o), 64 * (9 * 4 * 5)),
    ],
)
def test_convolutions(make, macs, data_format):
    if data_format == "channels_first" and keras.config.backend() == "tensorflow":
        shape = (8, 8, 4)  # which TensorFlow computes on GPUs only
        data_format = "channels_last"
    shape = (4, 8, 8) if data_format == "channels_first" else (8, 8, 4)
    row = only(make(data_format=data_format, use_bias=False), shape)
    assert row.macs == {32: macs}


@pytest.mark.parametrize(
    ("layer", "shape", "macs"),
    [
        (lambda: layers.Dense(5), (7,), 35),
        (lambda: layers.Dense(5), (3, 7), 105),
        (lambda: layers.EinsumDense("abc,cd->abd", (3, 5)), (3, 7), 105),
        (lambda: layers.Conv1D(5, 3), (8, 2), 6 * 30),
        (lambda: layers.SimpleRNN(5), (4, 3), 4 * (15 + 25)),
        (lambda: layers.LSTM(5), (4, 3), 4 * 4 * (15 + 25)),
        (lambda: layers.GRU(5), (4, 3), 4 * 3 * (15 + 25)),
        (lambda: layers.RNN(BinaryRNNCell(5)), (4, 3), 4 * (15 + 25)),
    ],
)
def test_other_kernels(layer, shape, macs):
    assert only(layer(), shape).macs == {32: macs}


@pytest.mark.parametrize(
    ("make", "weights", "macs"),
    [
        (
            lambda: BinaryDepthwiseConv2D(3, input_quantizer="sign", depthwise_quantizer="sign"),
            {1: 36},
            {1: 36 * 36},
        ),
        (
            lambda: BinarySeparableConv2D(
                5,
                3,
                input_quantizer="sign",
                depthwise_quantizer="sign",
                pointwise_quantizer="sign",
            ),
            {1: 36 + 20},
            {1: 36 * 36, 32: 36 * 20},
        ),
        (
            lambda: BinaryConv2DTranspose(5, 3, input_quantizer="sign", kernel_quantizer="sign"),
            {1: 180},
            {1: 64 * 180},
        ),
        (
            lambda: BinaryConv2D(
                5, 3, input_quantizer="sign", kernel_quantizer="sign", use_bias=True
            ),
            {1: 180, 32: 5},
            {1: 36 * 180},
        ),
        (lambda: BinaryConv2D(5, 3, input_quantizer="sign"), {32: 180}, {32: 36 * 180}),
        (
            lambda: BinaryConv2D(
                5, 3, input_quantizer="sign", kernel_quantizer="magnitude_aware_sign"
            ),
            {1: 180, 32: 5},  # a scale for each output channel
            {1: 36 * 180},
        ),
        (
            lambda: BinaryConv2D(5, 3, input_quantizer="sign", kernel_quantizer="ternary",
                                 kernel_constraint=WeightClip()),
            {2: 180},
            {2: 36 * 180},
        ),
    ],
)  # fmt: skip
def test_binary_layers(make, weights, macs):
    row = only(make())
    assert (row.weights, row.macs) == (weights, macs)
    assert row.memory["packed"] == sum(bits * number for bits, number in weights.items()) / 8


def test_binary_recurrence():
    signs = ("input", "kernel", "state", "recurrent")
    cell = BinaryRNNCell(5, **{f"{key}_quantizer": "sign" for key in signs})
    row = only(layers.RNN(cell), (4, 3))
    assert row.weights == {1: 15 + 25}
    assert row.macs == {1: 4 * (15 + 25)}


def test_bits_flow_through_what_selects():
    x = inputs = keras.Input((8, 8, 2))
    bits = Heaviside(name="bits")(x)
    x = layers.MaxPooling2D(name="pool")(bits)
    x = keras.ops.reshape(x, (-1, 32))
    x = layers.Concatenate(name="joined")([x, Heaviside(name="more")(layers.Flatten()(inputs))])
    x = BinaryDense(3, kernel_quantizer="sign", name="binary")(x)
    x = layers.Dense(4, activation=Sign(), name="stepped")(x)
    x = layers.Dropout(0.5, name="dropout")(x)
    x = layers.Dense(2, name="head")(x)
    x = layers.Add(name="sum")([x, x])
    found = keras_htaf.summary(keras.Model(inputs, x))
    rows = {row.name: row for row in found.layers}
    assert rows["pool"].output_bits == rows["joined"].output_bits == 1
    assert rows["binary"].macs == {1: (32 + 128) * 3}
    assert rows["stepped"].output_bits == rows["dropout"].output_bits == 1
    assert rows["head"].input_bits == 1
    assert rows["head"].macs == {32: 8}
    assert rows["sum"].output_bits == 32


def test_nested_and_shared():
    block = keras.Sequential([keras.Input((6,)), Sign(name="step")], name="block")
    shared = BinaryDense(6, kernel_quantizer="sign", name="shared")
    inputs = keras.Input((6,))
    x = shared(block(inputs))
    outputs = shared(block(x))
    found = keras_htaf.summary(keras.Model(inputs, outputs))
    assert [row.name for row in found.layers] == ["block/step", "shared"]
    assert found.weights == {1: 36}
    assert found.macs == {1: 72}


def test_bits_pass_into_nested_models():
    inner = keras.Sequential([keras.Input((6,)), layers.Reshape((6,), name="shape")], name="inner")
    inputs = keras.Input((6,))
    x = BinaryDense(2, kernel_quantizer="sign", name="dense")(inner(Sign()(inputs)))
    assert keras_htaf.summary(keras.Model(inputs, x)).macs == {1: 12}


def test_bits_pass_through_models_in_models():
    step = keras.Sequential([keras.Input((6,)), Sign()])
    for _ in range(2):
        step = keras.Sequential([keras.Input((6,)), step])
    model = keras.Sequential([keras.Input((6,)), step, BinaryDense(2, kernel_quantizer="sign")])
    found = keras_htaf.summary(model)
    assert found.layers[-1].input_bits == 1
    assert found.macs == {1: 12}


def test_each_output_of_a_nested_model_has_its_own_bits():
    inputs = keras.Input((6,))
    inner = keras.Model(inputs, [layers.ReLU()(inputs), Sign()(inputs), inputs])
    inputs = keras.Input((6,))
    outputs = [layers.Dense(1, name=f"dense{i}")(x) for i, x in enumerate(inner(inputs))]
    found = keras_htaf.summary(keras.Model(inputs, outputs))
    assert [row.input_bits for row in found.layers if row.kind == "Dense"] == [32, 1, 32]


def bits_after(layer, step=Sign, shape=(6, 6, 2)):
    """Bits of a layer's, or function's, output for those of a step."""
    inputs = keras.Input(shape)
    given = inputs if step is None else step()(inputs)
    outputs = layers.Identity(name="end")(layer(given))
    (row,) = [r for r in keras_htaf.summary(keras.Model(inputs, outputs)).layers if r.name == "end"]
    return row.input_bits


@pytest.mark.parametrize(
    ("make", "bits"),
    [
        (lambda: layers.Dense(2, activation=keras_htaf.ops.sign), 1),
        (lambda: layers.Dense(2, activation=keras_htaf.ops.htaf), 1),
        (lambda: layers.Conv1D(2, 1, activation=Heaviside()), 1),
        (lambda: layers.Activation(Sign()), 1),
        (lambda: layers.SimpleRNN(2, activation=Sign()), 1),
        (lambda: layers.RNN(BinaryRNNCell(2, activation=Sign())), 1),
        (lambda: layers.Dense(2), 32),
        (lambda: layers.LSTM(2, activation=Sign()), 32),  # times its output gate
        (lambda: layers.GRU(2, activation=Sign()), 32),
        (lambda: keras_htaf.ops.sign, 1),
    ],
)
def test_activations_at_the_end_give_their_bits(make, bits):
    assert bits_after(make(), None, (4, 3)) == bits


@pytest.mark.parametrize(
    ("layer", "bits"),
    [
        (layers.Activation("linear"), 1),
        (layers.Activation("tanh"), 32),
        (layers.UpSampling2D(), 1),
        (layers.UpSampling2D(interpolation="bilinear"), 32),
        (layers.GaussianNoise(0.5), 1),
        (lambda x: keras.ops.squeeze(keras.ops.expand_dims(x, 1), 1), 1),
        (lambda x: keras.ops.repeat(x, 2, axis=1), 1),
        (lambda x: keras.ops.flip(x, axis=1), 1),
        (lambda x: x + 1.0, 32),
    ],
)
def test_what_keeps_bits(layer, bits):
    assert bits_after(layer) == bits


@pytest.mark.parametrize("merge", [layers.Maximum, layers.Minimum, layers.Concatenate])
def test_bits_beside_signs_are_three_values(merge):
    for first, second, bits in [
        (Sign, Sign, 1),
        (Heaviside, HTAF, 1),
        (Heaviside, Sign, 32),
        (Sign, layers.Identity, 32),
    ]:
        assert bits_after(lambda x, a=first, b=second: merge()([a()(x), b()(x)]), None) == bits


@pytest.mark.parametrize("kind", ["dense", "convolutional"])
def test_deep_heaviside_network(kind):
    model = keras_htaf.models.deep_heaviside_network((8, 8, 1), 3, kind=kind, depth=3, width=4)
    found = keras_htaf.summary(model)
    assert set(found.macs) == {32}
    kernels = [w for w in model.weights if w.path.endswith("kernel")]
    norms = [w for w in model.weights if w.path.endswith("gamma")]
    numbers = sum(math.prod(w.shape) for w in kernels) + 2 * sum(math.prod(w.shape) for w in norms)
    assert found.weights == {32: numbers + 3}  # the head's bias


def test_smooth_steps_count_as_the_exact_ones():
    row = only(HTAF(forward="smooth"))
    assert (row.output_bits, row.weights) == (1, {})


def test_what_is_not_known_is_said():
    inputs = keras.Input((4, 6))
    x = layers.MultiHeadAttention(2, 3, name="attention")(inputs, inputs)
    found = keras_htaf.summary(keras.Model(inputs, layers.Dense(2, name="dense")(x)))
    assert found.uncounted == ["attention"]
    assert found.macs == {32: 4 * 12}
    assert str(found).endswith("multiply-accumulates not known: attention")
    found = keras_htaf.summary(keras.Sequential([keras.Input((None, 6)), layers.Conv1D(2, 3)]))
    assert found.macs == {}
    assert len(found.uncounted) == 1


class Plain(layers.Layer):
    """A layer without weights, of which nothing is known."""

    def call(self, inputs):
        return inputs

    def compute_output_shape(self, input_shape):
        return input_shape


@pytest.mark.parametrize(
    ("layer", "shape"),
    [
        (lambda x: layers.Attention()([x, x]), (4, 6)),
        (lambda x: layers.AdditiveAttention()([x, x]), (4, 6)),
        (lambda x: layers.Dot(axes=1)([x, x]), (6,)),
        (lambda x: layers.Lambda(lambda y: y, output_shape=(6,))(x), (6,)),
        (lambda x: Plain()(x), (6,)),
        (lambda x: layers.ConvLSTM1D(2, 3)(x), (5, 8, 3)),
        (lambda x: layers.ConvLSTM2D(2, 3)(x), (5, 8, 8, 3)),
        (lambda x: keras.ops.matmul(x, x), (4, 4)),
        (lambda x: keras.ops.inner(x, x), (4,)),
        (lambda x: keras.ops.outer(x, x), (4,)),
        (lambda x: keras.ops.conv(x, np.ones((3, 2, 5), "float32")), (8, 2)),
        (lambda x: keras.ops.dot_product_attention(x, x, x), (4, 2, 3)),
    ],
)
def test_products_elsewhere_are_not_known(layer, shape):
    inputs = keras.Input(shape)
    found = keras_htaf.summary(keras.Model(inputs, layer(inputs)))
    assert len(found.uncounted) == len(found.layers) == 1
    assert found.macs == {}
    assert found.layers[0].binary_share["macs"] is None


@pytest.mark.parametrize(
    "layer",
    [
        layers.AveragePooling2D(2),
        layers.LayerNormalization(),
        layers.PReLU(),
        layers.ZeroPadding2D(),
        layers.Dropout(0.5),
        keras_htaf.layers.RPReLU(),
        keras_htaf.layers.RSign(),
        keras_htaf.layers.LearnedScale(),
        lambda x: keras.ops.relu(x) + x,
        lambda x: keras.ops.mean(x, axis=1),
        lambda x: keras_htaf.ops.sign(x[:, 1:]),
    ],
)
def test_no_products(layer):
    inputs = keras.Input((8, 8, 4))
    found = keras_htaf.summary(keras.Model(inputs, layer(inputs)))
    assert all(row.macs == {} for row in found.layers)


@pytest.mark.parametrize(("dtype", "bits"), [("bfloat16", 16), ("float16", 16), ("float32", 32)])
def test_narrow_weights(dtype, bits):
    model = keras.Sequential([keras.Input((4,)), layers.Dense(2, dtype=dtype)])
    assert keras_htaf.summary(model).weights == {bits: 10}


def test_weights_in_two_places_count_once():
    dense = layers.Dense(3, name="dense")
    inputs = keras.Input((4, 2))
    x = layers.TimeDistributed(dense, name="each")(inputs)
    found = keras_htaf.summary(keras.Model(inputs, [x, dense(inputs)]))
    assert found.weights == {32: 9}


def test_normalization_needs_a_mean_and_a_variance():
    layer = layers.Normalization()
    layer.adapt(np.random.default_rng(0).normal(size=(8, 3)).astype("float32"))
    assert only(layer, (3,)).weights == {32: 6}


def test_rows_have_plain_counts_memory_and_shares():
    row = only(BinaryDense(6, input_quantizer="sign", kernel_quantizer="sign", use_bias=True), (4,))
    assert type(row.weights) is type(row.macs) is dict
    assert row.memory == {"packed": 27.0, "packed_int8": 9.0, "int8": 30.0, "float32": 120.0}
    assert row.binary_share == {"weights": 24 / 30, "macs": 1.0}
    data = row.to_dict()
    assert data["weights"] == {"1": 24, "32": 6}
    assert (data["memory"], data["binary_share"]) == (row.memory, row.binary_share)


def test_what_selects_leaves_values_alone():
    """Each layer that passes bits on gives no value that it was not given."""
    from keras_htaf.costs.graph import _SELECTING

    x = np.sign(np.random.default_rng(0).normal(size=(2, 6, 6, 6, 2)))
    arguments = {
        "Reshape": {"target_shape": (-1,)},
        "Permute": {"dims": (2, 1, 3, 4)},
        "RepeatTime": {"num_steps": 2},
        "RepeatVector": {"n": 2},
        "ActivityPenalty": {"regularizer": "l2"},
        "GaussianNoise": {"stddev": 0.5},
    }
    for kind in _SELECTING:
        name = kind.__name__
        if name == "InputLayer":
            continue
        rate = {"rate": 0.5} if "Dropout" in name else {}
        layer = kind(**arguments.get(name, rate))
        rank = 3 if "1D" in name else 4 if "2D" in name else 2 if name == "RepeatVector" else 5
        given = x[(slice(None),) * (rank - 1) + (0,) * (5 - rank)]
        merges = name in ("Concatenate", "Maximum", "Minimum")
        given = keras.ops.convert_to_tensor(given, "float32")
        outputs = layer([given, given] if merges else given)
        assert set(np.unique(keras.ops.convert_to_numpy(outputs))) <= {-1.0, 1.0}, name


def test_errors():
    class Subclassed(keras.Model):
        pass

    for model in (Subclassed(name="own"), keras.Sequential([layers.Dense(2)], name="own")):
        with pytest.raises(ValueError, match=r"Model 'own' .* has no graph to count in"):
            keras_htaf.summary(model)
    with pytest.raises(ValueError, match=r"Received Dense\. Expected a keras\.Model"):
        keras_htaf.summary(layers.Dense(2))
