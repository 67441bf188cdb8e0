"""Maps of concepts: their mean is the logit, and they point to what switches a bit on."""

import keras
import numpy as np
import pytest

from keras_htaf.interpret import analyze
from keras_htaf.interpret.maps import upsample
from keras_htaf.layers import HTAF
from keras_htaf.models import icbm, small_cnn

RANDOM = np.random.default_rng(0)
X = RANDOM.normal(size=(24, 8, 8, 1)).astype("float32")
Y = np.arange(24) % 3


@pytest.fixture(scope="module")
def analysis():
    model = icbm(small_cnn((8, 8, 1), width=4, stages=2), 6, 3)
    random = np.random.default_rng(1)
    model.set_weights([w + random.normal(0, 0.3, w.shape) ** 2 for w in model.get_weights()])
    return analyze(model, X, Y, batch_size=16)


def test_the_mean_of_a_map_is_the_logit(analysis):
    found = analysis.maps(np.arange(24))
    assert found.kind == "exact"
    assert found.values.shape == (24, 4, 4, 6)
    np.testing.assert_allclose(found.values.mean(axis=(1, 2)), analysis.codes.z, atol=1e-5)
    large = found.upsampled(8, 8)
    np.testing.assert_allclose(large.mean(axis=(1, 2)), analysis.codes.z, atol=1e-5)


def test_maps_of_some_bits(analysis):
    some = analysis.maps(X[:3], bits=[4, 1])
    np.testing.assert_allclose(some.values, analysis.maps([0, 1, 2]).values[..., [4, 1]], atol=1e-6)
    assert some.to_dict()["bits"] == [4, 1]


def test_edited_models(analysis):
    """Renamed and removed concepts keep exact maps, merged ones have none."""
    kept = analyze(analysis.edit(rename={0: "first"}, remove=[1]), X, Y, batch_size=16)
    found = kept.maps(X)
    assert found.kind == "exact"
    np.testing.assert_allclose(found.values, analysis.maps(X, [0, 2, 3, 4, 5]).values, atol=1e-5)
    merged = analyze(analysis.edit(merge={"either": ("any", [0, 1])}), X, Y, batch_size=16)
    assert merged.maps(X[:2]).kind == "occlusion"
    with pytest.raises(ValueError, match="no exact concept maps"):
        merged.maps(X[:2], method="exact")


def test_occlusion_finds_the_place():
    """A bit that is on where the upper left corner is bright."""
    image = keras.Input((8, 8, 1))
    z = keras.layers.Dense(1)(keras.layers.Flatten()(image))
    model = keras.Model(image, keras.layers.Dense(2, name="head")(HTAF(name="concepts")(z)))
    corner = np.zeros((8, 8))
    corner[:4, :4] = 1 / 16
    model.layers[2].set_weights([corner.reshape(64, 1), np.array([-0.5])])
    x = np.zeros((3, 8, 8, 1))
    x[1, :4, :4] = 1
    x[2, 4:] = 1
    analysis = analyze(model, x, [0, 1, 0])
    found = analysis.maps([1], grid=2)
    assert found.kind == "occlusion"
    np.testing.assert_allclose(found.values[0, ..., 0], [[0.75, 0], [0, 0]], atol=1e-6)
    scores = analysis.map_scores(pairs=4, steps=4)
    assert scores.pairs == 1
    assert scores.areas["deletion"] < scores.areas["random_deletion"]
    with pytest.raises(ValueError, match="no layer that gives feature maps"):
        analysis.locator.eigen_cam(x)


def test_scores_are_shares(analysis):
    scores = analysis.map_scores(pairs=5, steps=2)
    assert scores.kind == "exact"
    assert scores.shares.tolist() == [0, 0.5, 1]
    # Nothing is painted over, or everything shown: the bit is on.
    for untouched in (scores.deletion[0], scores.insertion[-1], scores.random_deletion[0]):
        assert untouched == 1


def test_eigen_cam_is_the_first_component(analysis):
    cam = analysis.locator.eigen_cam(X[:3])
    assert cam.shape == (3, 4, 4)
    features = analysis.locator.run(analysis.locator.features, X[:1])[0].reshape(16, -1)
    u, s, _ = np.linalg.svd(features, full_matrices=False)
    np.testing.assert_allclose(cam[0].ravel(), np.maximum(np.abs(u[:, 0] * s[0]), 0), atol=1e-4)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"images": X[0]}, "Expected numbers of shape"),
        ({"images": [24]}, "from 0 to 23"),
        ({"images": X, "bits": [6]}, "from 0 to 5"),
        ({"images": X, "method": "guess"}, "Expected None or one of"),
        ({"images": X, "grid": 0}, "positive integer"),
    ],
)
def test_bad_arguments(analysis, options, message):
    with pytest.raises(ValueError, match=message):
        analysis.maps(**options)


def test_upsampling_keeps_the_mean_and_stays_within():
    maps = RANDOM.normal(size=(2, 3, 5, 2))
    large = upsample(maps, 12, 10)
    np.testing.assert_allclose(large.mean(axis=(1, 2)), maps.mean(axis=(1, 2)))
    assert large.min() >= maps.min()
    assert large.max() <= maps.max()
