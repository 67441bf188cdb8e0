"""What an artifact is to give: names, scores, bits."""

from functools import partial

import keras
import numpy as np
import pytest
from keras import layers
from support import to_numpy

from keras_htaf import harden
from keras_htaf.export.program import prepare
from keras_htaf.export.verification import Reference
from keras_htaf.layers import HTAF, BinaryDense, FoldTime, Heaviside, Sign
from keras_htaf.losses import SmoothedCrossentropy, SpikeRateCrossentropy
from keras_htaf.models import spiking_mlp, streaming

X = np.random.default_rng(0).normal(size=(5, 4)).astype("float32")


def program_of(model, outputs="auto", bits=True, preprocessing=None):
    return prepare(model, model, preprocessing, outputs, bits)


def run(model, *inputs, **options):
    program = program_of(model, **options)
    tensors = [keras.ops.convert_to_tensor(x) for x in inputs]
    return {name: to_numpy(y) for name, y in program(*tensors).items()}


def network(last, units=3):
    return keras.Sequential([keras.Input((4,), name="x"), layers.Dense(units), last])


LINEAR = layers.Activation("linear")


@pytest.mark.parametrize("last", [layers.Softmax, lambda: layers.Activation("softmax")])
def test_probabilities_have_logits(last):
    made = run(network(last()), X)
    assert list(made) == ["logits", "probabilities"]
    np.testing.assert_allclose(np.exp(made["logits"]), made["probabilities"], rtol=1e-5)


@pytest.mark.parametrize("before", [None, lambda: layers.Rescaling(2.0)])
def test_a_single_input_is_no_list(before):
    """What Keras's `serve` takes."""
    program = program_of(network(LINEAR), preprocessing=before and before())
    assert keras.tree.flatten(program.model.input) == program.model.inputs
    assert not isinstance(program.model.input, list)


def test_one_sigmoid():
    made = run(network(layers.Activation("sigmoid"), 1), X)
    np.testing.assert_allclose(1 / (1 + np.exp(-made["logits"])), made["probabilities"], rtol=1e-5)


def test_one_logit():
    made = run(network(LINEAR, 1), X, outputs="logits")
    np.testing.assert_allclose(1 / (1 + np.exp(-made["logits"])), made["probabilities"], rtol=1e-5)


@pytest.mark.parametrize(
    ("loss", "units", "names"),
    [
        (None, 3, ["logits", "probabilities"]),
        (None, 1, ["output"]),
        ("mse", 3, ["output"]),
        (keras.losses.Huber(), 3, ["output"]),
        (keras.losses.BinaryCrossentropy(from_logits=True), 1, ["logits", "probabilities"]),
        (SmoothedCrossentropy(), 3, ["logits", "probabilities"]),
        ("hinge", 1, ["output"]),
    ],
)
def test_the_loss_says_what_outputs_are(loss, units, names):
    model = network(layers.Activation("linear"), units)
    if loss is not None:
        model.compile("sgd", loss)
    assert program_of(model).served == names
    assert program_of(model, outputs="values").served == ["output"]


@pytest.mark.parametrize(
    ("loss", "last", "units", "scores"),
    [
        (keras.losses.BinaryCrossentropy(from_logits=True), None, 3, "label_logits"),
        (keras.losses.BinaryFocalCrossentropy(from_logits=True), None, 3, "label_logits"),
        (keras.losses.BinaryCrossentropy(), None, 3, "sigmoid"),
        ("binary_crossentropy", None, 1, "sigmoid"),
        ("binary_crossentropy", "softmax", 3, "softmax"),
        (None, "sigmoid", 3, "sigmoid"),
        ("sparse_categorical_crossentropy", None, 3, "softmax"),
        ("crossentropy", None, 3, "softmax"),
        (SmoothedCrossentropy(from_logits=False), None, 3, "softmax"),
        (
            partial(keras.losses.sparse_categorical_crossentropy, from_logits=True),
            *(None, 3, "logits"),
        ),
        (SpikeRateCrossentropy(), None, 3, "logits"),
    ],
)
def test_logits_or_probabilities_of_classes_or_labels(loss, last, units, scores):
    model = network(layers.Activation(last or "linear"), units)
    if loss is not None:
        model.compile("sgd", loss)
    assert program_of(model).scores == scores


def test_labels_decide_one_by_one():
    model = network(LINEAR)
    model.compile("sgd", keras.losses.BinaryCrossentropy(from_logits=True))
    made = run(model, X)
    np.testing.assert_allclose(made["probabilities"], 1 / (1 + np.exp(-made["logits"])), rtol=1e-5)
    made = run(network(layers.Activation("sigmoid")), X)
    p = made["probabilities"]
    np.testing.assert_allclose(made["logits"], np.log(p / (1 - p)), rtol=1e-3, atol=1e-5)


def test_probabilities_are_not_squashed_twice():
    inputs = keras.Input((4,), name="x")
    two = [layers.Dense(3, "softmax")(inputs) for _ in range(2)]
    model = keras.Model(inputs, layers.Average()(two))
    model.compile("sgd", "sparse_categorical_crossentropy")
    np.testing.assert_allclose(run(model, X)["probabilities"].sum(1), 1, rtol=1e-5)
    np.testing.assert_allclose(run(model, X)["probabilities"], to_numpy(model(X)), rtol=1e-6)


def test_probabilities_must_be_some():
    model = network(LINEAR)
    model.compile("sgd", "sparse_categorical_crossentropy")
    with pytest.raises(ValueError, match="Give outputs='logits'"):
        Reference.of(program_of(model), {"x": X})


def test_scores_of_something_else():
    inputs = keras.Input((4, 4))
    model = keras.Model(inputs, layers.Dense(3)(inputs))
    assert program_of(model).served == ["output"]
    with pytest.raises(ValueError, match=r"Expected one output \(batch, classes\)"):
        program_of(model, outputs="logits")


def test_several_outputs_have_their_layers_names():
    inputs = keras.Input((4,), name="x")
    model = keras.Model(
        inputs, [layers.Dense(2, name="a")(inputs), layers.Dense(3, name="b")(inputs)]
    )
    assert list(run(model, X)) == ["a", "b"]


def test_bits_of_nested_steps():
    """In other layers, within nested models, of a shared step, of inputs of binary layers."""
    shared = Heaviside(name="shared")
    inner_inputs = keras.Input((4,))
    inner = keras.Model(inner_inputs, shared(layers.Dense(4)(inner_inputs)), name="inner")
    inputs = keras.Input((4,), name="x")
    h = layers.Dense(4, activation=HTAF(name="unit"), name="outer")(inputs)
    h = inner(inner(h))
    h = BinaryDense(4, input_quantizer="ste_sign", kernel_quantizer="sign", name="binary")(h)
    model = harden(keras.Model(inputs, layers.Dense(2)(h)))
    made = run(model, X)
    names = [name for name in made if name not in ("logits", "probabilities")]
    assert names == ["unit", "shared", "shared.2", "binary.input_quantizer"]
    assert all(set(np.unique(made[name])) <= {-1, 0, 1} for name in names)
    assert list(run(model, X, bits=False)) == ["logits", "probabilities"]


def test_bits_over_time():
    inputs = keras.Input((3, 4), name="x")
    x = FoldTime(layers.Dense(4, activation=Sign(name="sign"), name="dense"), name="fold")(inputs)
    model = keras.Model(inputs, x)
    made = run(model, np.stack([X] * 3, 1))
    (bits,) = [y for name, y in made.items() if name != "output"]
    assert bits.shape == (5, 3, 4)
    np.testing.assert_array_equal(bits, made["output"])
    spiking = spiking_mlp((4,), 2, num_steps=3, width=5)
    made = run(spiking, X)
    assert made["layer1_spikes.spike"].shape == (5, 3, 5)
    np.testing.assert_array_equal(made["head_spikes.spike"].sum(1), made["logits"])


def test_steps_in_loops_of_keras_are_left_out():
    from keras_htaf.layers import LIFCell

    inputs = keras.Input((3, 4), name="x")
    model = keras.Model(inputs, layers.Dense(2)(layers.RNN(LIFCell(4))(inputs)))
    assert list(run(model, np.stack([X] * 3, 1))) == ["logits", "probabilities"]


def test_a_stream_names_its_states():
    stream = streaming(spiking_mlp((4,), 2, num_steps=3, width=5))
    program = program_of(stream)
    assert program.states["layer1_spikes_potential"] == "layer1_spikes_potential_next"
    assert [x.name for x in program.inputs] == ["inputs", *program.states]
    assert program.served == ["logits", "probabilities", *program.states.values()]


def test_inputs_keep_their_names_behind_preprocessing():
    model = network(LINEAR)
    program = program_of(model, preprocessing=layers.Rescaling(2.0))
    assert [x.name for x in program.inputs] == ["x"]
    made = run(model, X / 2, preprocessing=layers.Rescaling(2.0))
    np.testing.assert_allclose(made["logits"], to_numpy(model(X)), atol=1e-6)


@keras.saving.register_keras_serializable("test_programs")
class Subclassed(keras.Model):
    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.dense, self.step = layers.Dense(3), HTAF(forward="hard")

    def build(self, input_shape):
        self.dense.build(input_shape)
        self.step.build((None, 3))

    def call(self, x):
        return self.step(self.dense(x))


def test_subclassed_model():
    model = Subclassed()
    model.build((None, 4))
    made = run(model, X, outputs="values")
    assert len(made) == 2
    assert made["output"].shape == (5, 3)
