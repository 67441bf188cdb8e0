"""The builder of implicit concept bottleneck models, its backbone and its concept maps."""

import keras
import numpy as np
import pytest
from support import to_numpy

from keras_htaf import datasets, harden, soften
from keras_htaf.callbacks import AnnealSharpness
from keras_htaf.callbacks.gap import measure_gap
from keras_htaf.hardening import observe_steps, step_layers
from keras_htaf.layers import HTAF, Heaviside, Sign
from keras_htaf.models import concept_maps, icbm, small_cnn
from keras_htaf.regularizers import BitDiversity

X = np.random.default_rng(0).normal(size=(3, 8, 8, 1)).astype("float32")


def small(**kwargs):
    return icbm(**{"num_concepts": 12, "num_classes": 3, "input_shape": (8, 8, 1), **kwargs})


def perturbed(model):
    """The model with all weights moved, moving means and variances too."""
    random = np.random.default_rng(1)
    model.set_weights([w + np.abs(random.normal(0, 0.2, w.shape)) for w in model.get_weights()])
    return model


def names(model):
    return [layer.name for layer in model.layers]


def test_layers_of_the_defaults():
    model = small(concept_dropout=0.25)
    assert names(model) == [
        "image",
        "small_cnn",
        "concept_pool",
        "concept_logits",
        "concept_norm",
        "concepts",
        "concept_dropout",
        "head",
    ]
    assert model.output_shape == (None, 3)
    assert model.name == "icbm"
    assert model.get_layer("concept_dropout").rate == 0.25
    assert not model.get_layer("concept_logits").use_bias
    step = model.get_layer("concepts")
    assert type(step) is HTAF
    assert (step.surrogate.sharpness, step.surrogate.beta, step.forward_mode) == (2, 0.5, "smooth")
    assert "concept_dropout" not in names(small())
    assert to_numpy(model(X)).shape == (3, 3)


def test_options():
    regularizer = BitDiversity(1.0, 1.0)
    model = small(
        alpha=3.0,
        beta=0.7,
        forward="hard",
        normalization=None,
        name="mine",
        bit_regularizer=regularizer,
    )
    step = model.get_layer("concepts")
    assert (step.surrogate.sharpness, step.surrogate.beta, step.forward_mode) == (3, 0.7, "hard")
    assert model.get_layer("concept_logits").use_bias
    assert "concept_norm" not in names(model)
    assert model.name == "mine"
    with observe_steps(model) as seen:
        model(X)
    expected = to_numpy(regularizer(seen[step.path][0]))
    (loss,) = map(to_numpy, model.losses)
    np.testing.assert_allclose(loss, expected, rtol=1e-5)


@pytest.mark.parametrize(
    "step",
    [
        Heaviside("atan", name="concepts"),
        Sign(activity_regularizer="l2", name="concepts"),
        HTAF(5.0, per_channel=True, name="concepts"),
    ],
)
def test_any_step_layer(step):
    model = small(activation=step)
    assert step_layers(model) == [step]
    bits = harden(model)
    assert np.isfinite(to_numpy(bits(X))).all()


def test_dense_twin():
    """As many parameters, apart from those of the step, and the same names."""
    binary, dense = small(), small(activation="relu")
    assert names(binary) == names(dense)
    (step,) = step_layers(binary)
    assert binary.count_params() - step.count_params() == dense.count_params()
    shapes = [tuple(w.shape) for w in dense.weights]
    names_of_step = {w.name for w in step.weights}
    assert [tuple(w.shape) for w in binary.weights if w.name not in names_of_step] == shapes
    assert step_layers(dense) == []
    regularized = small(activation="sigmoid", bit_regularizer=BitDiversity())
    regularized(X)
    assert len(regularized.losses) == 1


def test_backbone_with_features():
    inputs = keras.Input((6,))
    backbone = keras.Model(inputs, keras.layers.Dense(7)(inputs), name="mlp")
    model = icbm(backbone, num_concepts=4, num_classes=2)
    assert names(model)[:3] == ["image", "mlp", "concept_logits"]
    assert to_numpy(model(np.ones((5, 6)))).shape == (5, 2)
    with pytest.raises(ValueError, match="concept_pool"):
        concept_maps(model)


def test_backbone_of_keras_applications():
    backbone = keras.applications.MobileNetV2(
        weights=None, include_top=False, input_shape=(32, 32, 3), alpha=0.35
    )
    model = icbm(backbone, num_concepts=5, num_classes=2)
    hard = harden(model)
    for one, other in zip(model.get_weights(), hard.get_weights(), strict=True):
        np.testing.assert_array_equal(one, other)
    assert hard.output_shape == (None, 2)
    assert concept_maps(model).output_shape == (None, 1, 1, 5)


@pytest.mark.parametrize("normalization", ["batch", None])
@pytest.mark.parametrize("shape", [(8, 8, 1), (12, 20, 3)])
def test_concept_maps_average_to_the_logits(normalization, shape):
    model = perturbed(small(normalization=normalization, input_shape=shape))
    maps = concept_maps(model)
    x = np.random.default_rng(2).normal(size=(4, *shape)).astype("float32")
    layer = "concept_norm" if normalization else "concept_logits"
    logits = keras.Model(model.input, model.get_layer(layer).output).predict(x, verbose=0)
    found = maps.predict(x, verbose=0)
    assert found.shape[1:3] != (1, 1)
    np.testing.assert_allclose(found.mean(axis=(1, 2)), logits, rtol=1e-4, atol=1e-5)


def test_concept_maps_share_no_state_with_the_model():
    model = perturbed(small())
    before = model.get_weights()
    maps = concept_maps(model)
    maps.predict(X, verbose=0)
    for one, other in zip(before, model.get_weights(), strict=True):
        np.testing.assert_array_equal(one, other)
    assert names(model) == names(small())


def test_concept_maps_of_other_models():
    with pytest.raises(ValueError, match="Expected one built by"):
        concept_maps(keras.Sequential([keras.Input((8, 8, 1)), keras.layers.Dense(2)]))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"num_concepts": 0}, "num_concepts=0"),
        ({"num_concepts": 2.0}, r"num_concepts=2\.0"),
        ({"num_classes": True}, "num_classes=True"),
        ({"concept_dropout": 1.0}, r"concept_dropout=1\.0"),
        ({"concept_dropout": -0.1}, r"concept_dropout=-0\.1"),
        ({"normalization": "layer"}, "normalization='layer'"),
        ({"alpha": -1.0}, r"alpha=-1\.0"),
        ({"beta": 0.0}, r"beta=0\.0"),
        ({"forward": "exact"}, "forward='exact'"),
        ({"input_shape": None}, "needs input_shape"),
        ({"input_shape": (8, 8)}, r"input_shape=\(8, 8\)"),
        ({"input_shape": (3, 8, 1)}, r"input_shape=\(3, 8, 1\)"),
        ({"backbone": "resnet"}, "backbone='resnet'"),
        ({"activation": Sign(name="signs")}, 'made with name="concepts"'),
        ({"backbone": small_cnn((16, 16, 1))}, "with a backbone for images of shape"),
    ],
)
def test_errors(arguments, message):
    with pytest.raises(ValueError, match=message):
        small(**arguments)


def test_backbone_with_sequences():
    inputs = keras.Input((6, 2))
    with pytest.raises(ValueError, match="include_top=False"):
        icbm(keras.Model(inputs, keras.layers.Dense(3)(inputs)))


@pytest.mark.parametrize(
    ("shape", "options", "output"),
    [
        ((8, 8, 1), {}, (None, 4, 4, 128)),
        ((28, 28, 1), {}, (None, 7, 7, 128)),
        ((32, 24, 3), {"width": 4, "stages": 4}, (None, 8, 6, 32)),
        ((4, 4, 2), {"stages": 1, "width": 5}, (None, 4, 4, 5)),
    ],
)
def test_small_cnn(shape, options, output):
    assert small_cnn(shape, **options).output_shape == output


def test_trains_on_digits():
    """The whole way: anneal each step, harden, and lose next to nothing."""
    pytest.importorskip("sklearn")
    keras.utils.set_random_seed(0)
    digits = datasets.load("digits")
    model = icbm(small_cnn(digits.image_shape, width=16), num_concepts=32, num_classes=10)
    model.compile(
        keras.optimizers.Adam(3e-3), keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    )
    x, y = digits.train.arrays()
    model.fit(
        x,
        y,
        batch_size=64,
        epochs=12,
        verbose=0,
        callbacks=[AnnealSharpness(2.0, 16.0, frequency="step")],
    )
    gap = measure_gap(soften(model), harden(model), *digits.test.arrays())
    assert gap["hard_accuracy"] >= 0.95
    assert abs(gap["gap"]) <= 0.02
    assert gap["softness"] < 0.5
