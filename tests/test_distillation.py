"""Distillation: the divergence, the two steps, and the way of the weights between them."""

import keras
import numpy as np
import pytest
from support import to_numpy

import keras_htaf
from keras_htaf.constraints import WeightClip
from keras_htaf.distillation import Distiller, TeacherDivergence, transfer_weights
from keras_htaf.layers import BinaryDense, Sign
from keras_htaf.optimizers import SplitOptimizer

X = np.random.default_rng(1).normal(size=(64, 6)).astype("float32")
Y = (X[:, 0] * X[:, 1] > 0).astype("int32")
CROSSENTROPY = keras.losses.SparseCategoricalCrossentropy(from_logits=True)


def make_teacher(classes=3):
    keras.utils.set_random_seed(1)
    layers = [keras.layers.Dense(16, "relu"), keras.layers.Dense(classes)]
    teacher = keras.Sequential([keras.Input((6,)), *layers])
    for layer in teacher.layers:
        layer.kernel.assign(2 * to_numpy(layer.kernel))
    return teacher


def make_student(kernel_quantizer=None, seed=2):
    keras.utils.set_random_seed(seed)
    options = {"kernel_quantizer": kernel_quantizer, "kernel_constraint": WeightClip()}
    inputs = keras.Input((6,))
    x = keras.layers.BatchNormalization()(keras.layers.Dense(24)(inputs))
    x = BinaryDense(24, input_quantizer=Sign(per_channel=True), name="binary", **options)(x)
    x = keras.layers.BatchNormalization()(x)
    return keras.Model(inputs, keras.layers.Dense(3)(x))


class Augmented(keras.utils.PyDataset):
    """Batches with noise that differs from epoch to epoch, without labels."""

    def __init__(self):
        super().__init__()
        self.random = np.random.default_rng(3)

    def __len__(self):
        return 4

    def __getitem__(self, i):
        x = X[16 * i : 16 * i + 16]
        return ((x + 0.1 * self.random.normal(size=x.shape)).astype("float32"),)


def by_hand(teacher, student, temperature=1.0):
    def log_softmax(z):
        z = np.asarray(z, "float64") / temperature
        return z - np.log(np.exp(z).sum(-1, keepdims=True))

    p, q = log_softmax(teacher), log_softmax(student)
    return temperature**2 * np.sum(np.exp(p) * (p - q), axis=-1)


@pytest.mark.parametrize("temperature", [1.0, 4.0])
def test_divergence(temperature):
    teacher, student = np.random.default_rng(0).normal(size=(2, 5, 3)) * 3
    loss, weights = TeacherDivergence(temperature), np.arange(5.0)
    expected = by_hand(teacher, student, temperature)
    assert float(loss(teacher, student)) == pytest.approx(expected.mean(), rel=1e-5)
    weighted = float(loss(teacher, student, weights))
    assert weighted == pytest.approx((expected * weights).mean(), rel=1e-5)
    assert float(loss(teacher, teacher + 1)) == pytest.approx(0, abs=1e-6)
    again = TeacherDivergence.from_config(loss.get_config())
    assert float(again(teacher, student)) == float(loss(teacher, student))


def test_loss_is_the_sum():
    teacher, student = make_teacher(), make_student()
    student.get_layer("binary").kernel.regularizer = keras.regularizers.L2(0.1)
    distiller = Distiller(student, teacher, weight=0.5, temperature=2.0)
    distiller.compile("sgd", CROSSENTROPY, metrics=["accuracy"])
    logs = distiller.evaluate(X, Y, batch_size=24, verbose=0, return_dict=True)
    scores = student.predict(X, verbose=0)
    divergence = by_hand(teacher.predict(X, verbose=0), scores, 2.0).mean()
    assert logs["divergence"] == pytest.approx(divergence, rel=1e-4)
    penalty = 0.1 * np.sum(to_numpy(student.get_layer("binary").kernel) ** 2)
    expected = 0.5 * divergence + float(CROSSENTROPY(Y, scores)) + penalty
    assert logs["loss"] == pytest.approx(expected, rel=1e-4)
    assert logs["accuracy"] == pytest.approx(np.mean(scores.argmax(1) == Y))


def test_two_steps_lower_the_divergence():
    """Without labels and with augmentation; the second student starts where the first ended."""
    teacher = make_teacher()
    frozen = teacher.get_weights()
    history = []
    first, second = make_student(), make_student("ste_sign", seed=9)
    for source, student in ((None, first), (first, second)):
        if source is not None:
            transfer_weights(source, student)
        distiller = Distiller(student, teacher)
        distiller.compile(keras.optimizers.Adam(0.01))
        logs = distiller.fit(Augmented(), epochs=12, verbose=0).history
        history.append(logs["divergence"])
        assert logs["loss"] == logs["divergence"]
    for losses in history:
        assert losses[-1] < 0.7 * losses[0]
    for one, other in zip(frozen, teacher.get_weights(), strict=True):
        np.testing.assert_array_equal(one, other)


def test_saved_mid_training_is_uninterrupted(tmp_path):
    student = make_student("ste_sign")
    distiller = Distiller(student, make_teacher(), weight=2.0)
    parts = keras.optimizers.Adam(0.01), keras.optimizers.SGD(0.1, momentum=0.9)
    distiller.compile(SplitOptimizer(student, *parts), CROSSENTROPY)
    options = {"batch_size": 16, "shuffle": False, "verbose": 0}
    distiller.fit(X, Y, epochs=2, **options)
    distiller.save(tmp_path / "m.keras")
    loaded = keras_htaf.load_model(tmp_path / "m.keras")
    assert loaded.get_config()["weight"] == 2.0
    histories = [
        model.fit(X, Y, epochs=4, initial_epoch=2, **options).history
        for model in (distiller, loaded)
    ]
    assert histories[0]["loss"] == pytest.approx(histories[1]["loss"], rel=1e-5)
    for one, other in zip(distiller.get_weights(), loaded.get_weights(), strict=True):
        np.testing.assert_allclose(one, other, atol=1e-5)


def test_transfer():
    first, second = make_student(), make_student("sign", seed=4)
    kernel = first.get_layer("binary").kernel
    kernel.assign(3 * to_numpy(kernel) - 0.5)
    sharpness = np.linspace(1, 2, 24)
    first.get_layer("binary").input_quantizer.sharpness.assign(sharpness)
    second.get_layer("binary").kernel_quantizer.sharpness.assign(5.0)
    transfer_weights(first, second)
    new = second.get_layer("binary")
    assert np.abs(to_numpy(kernel)).max() > 1
    np.testing.assert_array_equal(to_numpy(new.kernel), np.clip(to_numpy(kernel), -1, 1))
    np.testing.assert_allclose(to_numpy(new.input_quantizer.sharpness), sharpness, rtol=1e-6)
    assert float(to_numpy(new.kernel_quantizer.sharpness)) == 5.0
    for one, other in zip(first.layers, second.layers, strict=True):
        if one.name != "binary":
            for a, b in zip(one.get_weights(), other.get_weights(), strict=True):
                np.testing.assert_array_equal(a, b)


def test_transfer_between_other_networks():
    with pytest.raises(ValueError, match=r"differ at weight 0.*received \('kernel', \(6, 16\)\)"):
        transfer_weights(make_teacher(), make_student())
    longer = keras.Sequential([make_teacher(), keras.layers.Dense(3)])
    with pytest.raises(ValueError, match=r"differ at weight 4.*received None for"):
        transfer_weights(make_teacher(), longer)


def test_bad_pairs():
    student, teacher = make_student(), make_teacher()
    with pytest.raises(ValueError, match="Received teacher="):
        Distiller(student, keras.Sequential([keras.layers.Dense(3)]))
    with pytest.raises(ValueError, match="teacher with outputs of shape"):
        Distiller(student, make_teacher(4))
    with pytest.raises(ValueError, match="at least 2 classes"):
        Distiller(make_teacher(1), make_teacher(1))
    for last in (keras.layers.Softmax(), keras.layers.Dense(3, "softmax")):
        with pytest.raises(ValueError, match=r"teacher .* ends in probabilities"):
            Distiller(student, keras.Sequential([keras.Input((6,)), last]))
    with pytest.raises(ValueError, match="one model as student and as teacher"):
        Distiller(student, student)
    assert student.trainable
    with pytest.raises(ValueError, match="Received weight=0"):
        Distiller(student, teacher, weight=0)
    with pytest.raises(ValueError, match="Received temperature=-1"):
        Distiller(student, teacher, temperature=-1)
