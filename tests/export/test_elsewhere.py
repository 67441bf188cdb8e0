"""Models that travel to a second process: under which names, and without what."""

import json
import zipfile

import keras
import numpy as np
import pytest
from keras import layers
from support import BACKEND

from keras_htaf.export import card, export
from keras_htaf.export.program import prepare, save_uncompiled
from keras_htaf.saving import load_model


class Squared(keras.losses.Loss):
    """Not registered."""

    def call(self, y_true, y_pred):
        return keras.ops.mean((y_true - y_pred) ** 2, axis=-1)


class Error(keras.metrics.MeanSquaredError):
    """Not registered."""


def sequential():
    return keras.Sequential([keras.Input((4,)), layers.Dense(3)])


def functional():
    one, other = keras.Input((4,)), keras.Input((3,))
    return keras.Model([one, other], layers.Concatenate()([layers.Dense(3)(one), other]))


def trained():
    model = sequential()
    model.compile("adam", Squared(), metrics=[Error()])
    model.fit(np.ones((4, 4)), np.ones((4, 3)), verbose=0)
    return model


@pytest.mark.parametrize("preprocessing", [None, layers.Rescaling(2.0)])
@pytest.mark.parametrize("build", [sequential, functional])
def test_unnamed_inputs_have_the_names_of_the_saved_model(tmp_path, build, preprocessing):
    model = build()
    program = prepare(model, model, preprocessing, "auto", True)
    program.model.save(tmp_path / "model.keras")
    loaded = load_model(tmp_path / "model.keras")
    again = prepare(loaded, loaded, None, "auto", True)
    assert [x.name for x in again.inputs] == [x.name for x in program.inputs]


def test_losses_and_metrics_stay(tmp_path):
    model, inputs = trained(), keras.Input((4,))
    outer = keras.Model(inputs, model(inputs))
    outer.compile("sgd", Squared())
    save_uncompiled(outer, tmp_path / "model.keras")
    assert (outer.compiled, model.compiled) == (True, True)
    with zipfile.ZipFile(tmp_path / "model.keras") as file:
        config = json.loads(file.read("config.json"))
    assert "Squared" not in json.dumps(config)
    loaded = load_model(tmp_path / "model.keras")
    assert not loaded.compiled
    for a, b in zip(outer.get_weights(), loaded.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.mark.skipif(BACKEND != "torch", reason="one that must travel")
def test_models_without_steps_travel(tmp_path):
    """These are sent as they are; others were rebuilt, with exact steps."""
    pytest.importorskip("tensorflow")
    model = functional()
    model.compile("adam", Squared(), metrics=[Error()])
    assert export(model, tmp_path / "model").equal
    names = [x["name"] for x in card.find(tmp_path / "model")["inputs"]]
    assert all(name.startswith("input_layer") for name in names)
