"""ConceptGroups: the t-th largest is above 0 if and only if at least t of the group are."""

import keras
import numpy as np
import pytest
from support import dtype_of, gradient, tensor, to_numpy

from keras_htaf.layers import ConceptGroups

Z = np.random.default_rng(0).normal(size=(40, 6)).astype("float32")


def test_at_least():
    groups, at_least = [[5], [0, 1, 2, 3], [4, 2], [1]], [1, 3, 2, 1]
    layer = ConceptGroups(groups, at_least)
    given = to_numpy(layer(Z))
    for column, (group, t) in enumerate(zip(groups, at_least, strict=True)):
        np.testing.assert_array_equal(given[:, column] > 0, (Z[:, group] > 0).sum(axis=1) >= t)
    maps = to_numpy(layer(Z.reshape(10, 2, 2, 6)))
    np.testing.assert_array_equal(maps, given.reshape(10, 2, 2, 4))
    assert layer.compute_output_shape((None, 2, 6)) == (None, 2, 4)
    symbolic = layer(keras.KerasTensor((None, 6)))
    assert symbolic.shape == (None, 4)


def test_gradient_goes_to_the_one_that_is_taken():
    z = tensor([[1.0, 3.0, 2.0, -1.0]])
    layer = ConceptGroups([[0, 1, 2], [3]], [2, 1])
    layer.build(z.shape)
    np.testing.assert_array_equal(gradient(layer, z), [[0, 0, 1, 1]])


@pytest.mark.parametrize("policy", ["mixed_bfloat16", "mixed_float16"])
def test_policies(policy):
    half = ConceptGroups([[0, 1], [3]], dtype=policy)(Z)
    assert dtype_of(half) == policy.removeprefix("mixed_")
    assert half.shape == (40, 2)


def test_round_trip():
    layer = ConceptGroups(np.array([[0, 1], [3, 2]]), (2, 1), ("a", "<i>"), name="edited")
    again = keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(layer))
    assert again.get_config() == layer.get_config()
    assert (again.groups, again.at_least, again.names) == ([[0, 1], [3, 2]], [2, 1], ["a", "<i>"])
    np.testing.assert_array_equal(to_numpy(again(Z)), to_numpy(layer(Z)))


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"groups": []}, "0 groups"),
        ({"groups": [[]]}, "at least one"),
        ({"groups": [[0, 0]]}, "different numbers"),
        ({"groups": [[-1]]}, "different numbers"),
        ({"groups": [[0, 1]], "at_least": [3]}, "at_least=3"),
        ({"groups": [[0]], "names": ["a", "b"]}, "2 names"),
    ],
)
def test_errors(wrong, message):
    with pytest.raises(ValueError, match=message):
        ConceptGroups(**wrong)


def test_error_of_an_input_with_too_few_concepts():
    with pytest.raises(ValueError, match="at least 10"):
        ConceptGroups([[9]])(Z)
