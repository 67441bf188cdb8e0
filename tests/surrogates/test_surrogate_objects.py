"""Surrogates as objects: names, configs, equality, errors."""

import json

import keras
import numpy as np
import pytest

import keras_htaf
from keras_htaf import surrogates
from keras_htaf.surrogates import HTAF, ATan, Rectangle, Sigmoid, Surrogate, get

OBJECTS = [
    *(cls() for cls in dict.fromkeys(surrogates._BY_NAME.values())),
    HTAF(alpha=3.0, beta=0.25, normalized="area"),
    ATan(a=0.7, normalized="peak"),
    Rectangle(clip=1.25),
    Rectangle(clip=None, normalized="peak"),
]

every_object = pytest.mark.parametrize("surrogate", OBJECTS, ids=repr)


@every_object
def test_round_trips(surrogate):
    twins = [
        type(surrogate).from_config(surrogate.get_config()),
        get(json.loads(json.dumps(keras.saving.serialize_keras_object(surrogate)))),
        keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(surrogate)),
        eval(repr(surrogate), vars(surrogates)),
    ]
    for twin in twins:
        assert twin == surrogate
        assert hash(twin) == hash(surrogate)
        assert repr(twin) == repr(surrogate)


def test_equality():
    assert len(set(OBJECTS)) == len(OBJECTS)
    assert HTAF() == HTAF(8, 0.5) != HTAF(8, 0.6)
    assert Sigmoid(2.0) != ATan(2.0)
    assert ATan() != ATan(normalized="area")
    assert ATan() != "atan"


@pytest.mark.parametrize(("name", "cls"), surrogates._BY_NAME.items())
def test_get(name, cls):
    for identifier in (name, cls.__name__, cls()):
        assert get(identifier) == cls()
    assert get(surrogate := cls()) is surrogate
    assert issubclass(cls, Surrogate)


DENSE = keras.saving.serialize_keras_object(keras.layers.Dense(1))


@pytest.mark.parametrize("wrong", ["arctan", "", None, 1.0, ATan, [ATan()], {"a": 1}, DENSE])
def test_get_errors(wrong):
    with pytest.raises(ValueError, match=r"(?s)Received surrogate .*Expected .*'atan'"):
        get(wrong)


@pytest.mark.parametrize("cls", dict.fromkeys(surrogates._BY_NAME.values()))
@pytest.mark.parametrize(
    "wrong", [0, -2.0, float("nan"), float("inf"), "2", [1.0], np.nan], ids=repr
)
def test_sharpness_errors(cls, wrong):
    name = "clip" if cls is Rectangle else cls.sharpness_name
    with pytest.raises(ValueError, match=rf"Received {name}=.*Expected a positive finite number"):
        cls(wrong)


def test_a_class_in_place_of_a_layer():
    """Which Keras calls with a tensor when the layer is first used."""
    for cls in (keras_htaf.layers.HTAF, keras_htaf.layers.Sign):
        with pytest.raises(ValueError, match=r"It is a tensor: .* with parentheses, not the class"):
            keras.layers.Dense(2, activation=cls)(np.ones((3, 4), "float32"))


def test_other_errors():
    with pytest.raises(ValueError, match=r"Received beta=-1.*Expected a positive finite number"):
        HTAF(beta=-1)
    with pytest.raises(ValueError, match=r"Received normalized='max'\. Expected one of"):
        ATan(normalized="max")
    with pytest.raises(ValueError, match="clip=None with normalized='area'"):
        Rectangle(None, normalized="area")


@every_object
def test_numbers_become_floats(surrogate):
    """NumPy scalars and integers give the same object as floats, so that configs are plain."""
    assert ATan(np.float32(2)) == ATan(np.int64(2)) == ATan(2) == ATan(2.0)
    plain = (str, float, type(None))
    assert all(isinstance(value, plain) for value in surrogate.get_config().values())


@every_object
def test_sharpness_for_a_peak(surrogate):
    constant = surrogate.normalized == "peak" or surrogate._peak(1.0) == surrogate._peak(4.0)
    if constant:
        with pytest.raises(ValueError, match=r"is 1 at every sharpness.*normalized='area'"):
            surrogate.sharpness_for(2.0)
        return
    for peak in (1.25, 3.0):
        sharpness = surrogate.sharpness_for(peak)
        found = float(keras.ops.convert_to_numpy(surrogate.derivative(np.float32(0), sharpness)))
        assert found == pytest.approx(peak, rel=1e-5)
    assert surrogate.sharpness_for(surrogate.peak) == pytest.approx(surrogate.sharpness)


def test_peaks_out_of_reach():
    with pytest.raises(ValueError, match=r"Received peak=-1.*Expected a positive"):
        ATan().sharpness_for(-1)
    slope = HTAF(beta=0.5, normalized="area")  # never flatter than tanh(x / 2) / 2
    assert slope.sharpness_for(0.25) == pytest.approx(1e-6)
    with pytest.raises(ValueError, match=r"Received peak=0.2\. Expected 0.25 to 1.25e\+05"):
        slope.sharpness_for(0.2)
    assert surrogates.EDE().sharpness_for(1.0) == pytest.approx(1.0)
