"""Packed networks as C: compiled by gcc without a warning, they give the same numbers."""

import shutil
import subprocess

import keras
import numpy as np
import pytest
from packed_case import inputs_for, randomized
from support import BACKEND
from test_packed_models import EXACT, REAL
from test_packed_operations import flips

from keras_htaf import packed
from keras_htaf_packed.bits import to_bytes
from keras_htaf_packed.graph import Graph, Operation
from keras_htaf_packed.model import PackedModel

pytestmark = [
    pytest.mark.skipif(BACKEND != "torch", reason="C does not depend on Keras"),
    pytest.mark.skipif(shutil.which("gcc") is None, reason="needs gcc"),
    pytest.mark.filterwarnings("ignore:.*hardly moves latent"),
]
FLAGS = ["-std=c99", "-Wall", "-Wextra", "-pedantic", "-Werror"]


def run_in_c(networks, inputs, folder):
    """The outputs of networks, all of them in one program, which reads and writes raw floats."""
    names = ["net", "Net", *(f"net{i}" for i in range(2, len(networks)))][: len(networks)]
    lines = ["#include <stdio.h>", *(f'#include "{i}.h"' for i in range(len(names)))]
    lines += ["int main(void)", "{"]
    for i, (name, network, x) in enumerate(zip(names, networks, inputs, strict=True)):
        network.save_c(folder / f"{i}.h", name)
        lines.append(
            f"    static float x_{name}[{name}_INPUTS], y_{name}[{name}_OUTPUTS];\n"
            f"    for (int i = 0; i < {len(x)}; i++) {{\n"
            f"        if (fread(x_{name}, 4, {name}_INPUTS, stdin) != {name}_INPUTS) return 1;\n"
            f"        {name}_predict(x_{name}, y_{name});\n"
            f"        fwrite(y_{name}, 4, {name}_OUTPUTS, stdout);\n    }}"
        )
    (folder / "main.c").write_text("\n".join([*lines, "    return 0;\n}\n"]))
    command = ["gcc", *FLAGS, "-fsanitize=undefined,address", "main.c", "-o", "main"]
    subprocess.run(command, cwd=folder, check=True, timeout=200)
    given = b"".join(x.astype("<f4").tobytes() for x in inputs)
    done = subprocess.run(
        [folder / "main"], input=given, capture_output=True, check=True, timeout=60
    )
    found, at, outputs = np.frombuffer(done.stdout, "<f4"), 0, []
    for network, x in zip(networks, inputs, strict=True):
        shape = (len(x), *network.output_shape[1:])
        outputs.append(found[at : at + np.prod(shape)].reshape(shape))
        at += int(np.prod(shape))
    assert at == len(found)
    return outputs


def test_networks_of_integers_are_exact_in_c(tmp_path):
    models = [randomized(build()) for build in EXACT.values()]
    networks, inputs = [packed.pack(m) for m in models], [inputs_for(m) for m in models]
    for network, x, found in zip(
        networks, inputs, run_in_c(networks, inputs, tmp_path), strict=True
    ):
        np.testing.assert_array_equal(found, network.predict(x))


def test_networks_of_real_numbers_agree_in_c(tmp_path):
    keras.utils.set_random_seed(0)
    networks, inputs = [], []
    for name in ("vgg", "react", "skips", "skipped"):
        model = randomized(REAL[name](), seed=3)
        networks.append(packed.pack(model))
        inputs.append(inputs_for(model))
    for network, x, found in zip(
        networks, inputs, run_in_c(networks, inputs, tmp_path), strict=True
    ):
        np.testing.assert_allclose(found, network.predict(x), rtol=2e-5, atol=2e-5)


def random_network(seed):
    """Numbers, their bits, pooled, a product or a depthwise one, both codings, any padding."""
    random = np.random.default_rng(seed)
    channels, filters = (int(random.choice([1, 3, 16, 17, 40])) for _ in range(2))
    signs, weights = (str(random.choice(["sign", "bit"])) for _ in range(2))
    size = [int(n) for n in random.integers(1, 4, 2)]
    dilation = [int(n) for n in random.integers(1, 3, 2)]
    reach = [d * (k - 1) for d, k in zip(dilation, size, strict=True)]
    attributes = {
        "kernel_size": size,
        "strides": [int(n) for n in random.integers(1, 3, 2)],
        "dilation": dilation,
        "padding": [int(random.integers(0, reach[i % 2] + 1)) for i in range(4)],
        "weights": weights,
        "pad_value": int(random.integers(-1, 2)),
    }
    pool = {"kernel_size": [2, 3], "strides": [1, 1], "dilation": [1, 1], "padding": [0, 1, 1, 1]}
    threshold = random.choice([-np.inf, -1, 0, 0.5, np.inf], channels).astype(np.float32)
    operations = [
        Operation("input", "x", (), {"shape": [6, 7, channels]}),
        Operation(
            "step",
            "s",
            ("x",),
            {"coding": signs},
            {"threshold": threshold, "flip": flips(channels, random)},
        ),
        Operation(
            "pool", "p", ("s",), {"reduce": "max", **pool}, {"flip": flips(channels, random)}
        ),
    ]
    places = size[0] * size[1]
    if seed % 3 == 0:
        kernel = to_bytes(random.integers(0, 2, (2, places * channels)))
        attributes["multiplier"], kind, last = 2, "depthwise", channels * 2
    else:
        kernel = to_bytes(random.integers(0, 2, (filters, places * channels)))
        attributes["filters"], kind, last = filters, "product", filters
    arrays = {"kernel": kernel}
    if seed % 3 == 1:
        arrays |= {
            "threshold": random.choice([-(2**31), -2, 0, 1, 3, 2**31 - 1], last).astype(np.int32),
            "flip": flips(last, random),
        }
        attributes["coding"] = "sign"
    operations.append(Operation(kind, "o", ("p",), attributes, arrays))
    if seed % 3 == 1:
        operations += [
            Operation("concatenate", "c", ("o", "o")),
            Operation("reshape", "f", ("c",), {"shape": [-1]}),
            Operation("unpack", "u", ("f",)),
        ]
        from keras_htaf_packed.operations import specs

        found = specs(Graph(operations[:-2]))
        operations[-2].attributes["shape"] = [int(np.prod(found["c"].shape))]
    return PackedModel(Graph(operations, "random"))


def test_random_operations_are_exact_in_c(tmp_path):
    networks = [random_network(seed) for seed in range(15)]
    random = np.random.default_rng(1)
    inputs = [random.normal(size=(3, *n.input_shape[1:])).round(1) for n in networks]
    for network, x, found in zip(
        networks, inputs, run_in_c(networks, inputs, tmp_path), strict=True
    ):
        np.testing.assert_array_equal(found, network.predict(x))


def test_numbers_of_all_other_kinds_in_c(tmp_path):
    layers = keras.layers
    inputs = keras.Input((9, 2))
    x = layers.Conv1D(4, 3, padding="causal", dilation_rate=2)(inputs)
    x = layers.AveragePooling1D(2, padding="same")(layers.Activation("relu6")(x))
    x = layers.DepthwiseConv2D(3, padding="same", depth_multiplier=2)(layers.Reshape((5, 1, 4))(x))
    x = layers.Conv2D(3, (2, 1), strides=2, activation="hard_tanh")(x)
    one, two = keras.ops.split(layers.Concatenate()([x, x + x]), 2, axis=-1)
    x = layers.Flatten()(layers.GlobalMaxPooling2D(keepdims=True)(layers.ReLU()(one + two)))
    model = randomized(keras.Model(inputs, x), 1)
    network, x = packed.pack(model), inputs_for(model)
    (found,) = run_in_c([network], [x], tmp_path)
    np.testing.assert_allclose(found, network.predict(x), atol=1e-5)


def test_what_c_cannot_hold_is_named(tmp_path):
    model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(2, "softmax", name="odds")])
    network = packed.pack(model)
    with pytest.raises(ValueError, match=r"odds/activation \(softmax\)"):
        network.save_c(tmp_path / "model.h")
    for prefix in ("3d", "a-b", "", 3):
        with pytest.raises(ValueError, match="C identifier"):
            network.save_c(tmp_path / "model.h", prefix)
    assert not list(tmp_path.iterdir())
