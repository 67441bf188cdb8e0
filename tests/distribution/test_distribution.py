"""What several devices refuse, and what one replica sees of a batch."""

from __future__ import annotations

import keras
import numpy as np
import pytest
from keras import ops, tree

from keras_htaf import distribution, regularizers
from keras_htaf.backend.replicas.checks import check
from keras_htaf.backend.replicas.share import Share, current, sharing, whole
from keras_htaf.distribution.penalties import penalised
from keras_htaf.distribution.synchronized import synchronized

BACKEND = keras.config.backend()


class Batches(keras.utils.PyDataset):
    def __len__(self):
        return 1

    def __getitem__(self, i):
        return np.ones((4, 2), "float32"), np.ones((4, 1), "float32")


@pytest.fixture
def across():
    return distribution.data_parallel(1)


def compiled(across):
    with across.scope():
        model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)])
        model.compile("sgd", "mse")
    return model


def test_one_device_trains(across):
    assert (across.count, across.processes, across.chief) == (1, 1, True)
    model = compiled(across)
    history = across.fit(model, Batches(), epochs=2, verbose=0)
    assert history.history["loss"][1] < history.history["loss"][0]
    assert across.spread(model) == 0
    assert "train_step" not in vars(model)


def test_data_that_are_no_batches(across):
    with pytest.raises(ValueError, match=r"Received ndarray as data\. Expected a .*PyDataset"):
        across.fit(compiled(across), np.ones((4, 2)))


def test_a_model_that_is_not_compiled(across):
    with across.scope():
        model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)])
    with pytest.raises(ValueError, match="is not compiled"):
        across.fit(model, Batches())


@pytest.mark.skipif(BACKEND != "tensorflow", reason="is about strategies")
def test_a_model_of_elsewhere(across):
    model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)])
    model.compile("sgd", "mse")
    with pytest.raises(ValueError, match=r"not made for these devices.*across\.scope"):
        across.fit(model, Batches())
    model = compiled(across)
    with across.scope(), pytest.raises(ValueError, match="Leave it first"):
        across.fit(model, Batches())


@pytest.mark.parametrize("devices", [0, -1, True, 1.5, "2"])
def test_numbers_of_devices(devices):
    with pytest.raises(ValueError, match="Expected a positive integer"):
        distribution.data_parallel(devices)


def test_more_devices_than_there_are(across):
    ops.convert_to_numpy(ops.ones(()) + 1)  # whatever runs now has the devices it has
    with pytest.raises(ValueError, match="Received devices=999"):
        distribution.data_parallel(999)


def test_kernels_are_divided_on_jax_only():
    with pytest.raises(ValueError, match=r"JAX backend only|Expected a divisor"):
        distribution.model_parallel(batch=7)


def test_launch_refuses_and_calls():
    with pytest.raises(ValueError, match="processes=0"):
        distribution.launch(print, processes=0)
    found = []
    distribution.launch(found.append, 1, processes=1)
    assert found == [1]


def mean_of_all(y, predicted):
    return ops.mean(ops.square(y - predicted))


def total(y, predicted):
    return ops.sum(ops.square(y - predicted), axis=-1)


SUM = keras.losses.MeanSquaredError(reduction="sum")
WEIGHTED = keras.losses.MeanSquaredError(reduction="mean_with_sample_weight")


def two_heads(loss, masked=False):
    inputs = keras.Input((3, 2))
    x = keras.layers.Masking()(inputs) if masked else inputs
    heads = [keras.layers.Dense(1, name=name)(x) for name in "ab"]
    model = keras.Model(inputs, heads if not masked else heads[0])
    model.compile("sgd", loss)
    x, y = np.ones((4, 3, 2), "float32"), np.ones((4, 3, 1), "float32")
    return model, (x, y if masked else (y, y))


@pytest.mark.parametrize(
    ("loss", "said"),
    [
        (["mse", SUM], "'sum'"),
        ({"a": WEIGHTED, "b": total}, "'mean_with_sample_weight'"),
        (keras.losses.MeanSquaredError(reduction=None), "None"),
    ],
)
def test_losses_that_are_no_means(loss, said):
    with pytest.raises(ValueError, match=f"reduction={said}"):
        check(*two_heads(loss))


def test_losses_over_masks_and_numbers():
    check(*two_heads(["mse", total]))
    check(*two_heads({"a": "mse", "b": keras.losses.Huber(reduction="mean")}))
    with pytest.raises(ValueError, match="carries a mask"):
        check(*two_heads("mse", masked=True))
    model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)])
    fits = ("crossentropy", "ce", ["CE"])  # Keras's words for the one that fits the labels
    for loss in ("mse", total, keras.losses.MeanAbsoluteError(), "BinaryCrossentropy", *fits):
        model.compile("sgd", loss)
        check(model, Batches()[0])
    model.compile("sgd", mean_of_all)
    with pytest.raises(ValueError, match="'mean_of_all' returns one number for a batch"):
        check(model, Batches()[0])


class Largest(keras.metrics.Metric):
    def __init__(self, name="largest"):
        super().__init__(name=name)
        self.peak = self.add_variable((), "zeros", name="peak")

    def update_state(self, y_true, y_pred, sample_weight=None):
        self.peak.assign(ops.maximum(self.peak.value, ops.max(ops.abs(y_pred))))

    def result(self):
        return self.peak.value


def classifier(metrics):
    keras.utils.set_random_seed(0)
    model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(4, "softmax")])
    model.compile("sgd", "mse", metrics=metrics)
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(9, 3)).astype("float32"), np.eye(4, dtype="float32")[np.arange(9) % 4]
    return model, (x, y, rng.uniform(0.5, 2, 9).astype("float32"))


def test_metrics_that_are_sums():
    metrics = keras.metrics
    model, batch = classifier(
        [
            *("accuracy", "mae", metrics.RootMeanSquaredError(), metrics.PearsonCorrelation()),
            *(metrics.AUC(), metrics.Precision(top_k=2), metrics.RecallAtPrecision(0.5)),
            *(metrics.F1Score("macro"), metrics.R2Score(), metrics.OneHotMeanIoU(4)),
        ]
    )
    check(model, batch)
    assert all(not ops.any(v.value) for v in model.metrics_variables)
    check(model, tree.map_structure(lambda part: part[:1], batch))  # of which there are no halves


@pytest.mark.parametrize(
    ("make", "state"),
    [
        (Largest, "peak' of metric 'largest"),
        (lambda: mean_of_all, "total' of metric 'mean_of_all"),
        (lambda: keras.metrics.PearsonCorrelation(axis=0), "total' of metric 'pearson_correlation"),
        (lambda: keras.metrics.CosineSimilarity(axis=0), "total' of metric 'cosine_similarity"),
    ],
)
def test_metrics_that_are_no_sums(make, state):
    with pytest.raises(ValueError, match=f"state '{state}' is no sum over the samples"):
        check(*classifier([make()]))


def test_processes_agree_with_themselves(across):
    across.barrier()
    assert across.gather([3, 0]) == [[3, 0]]


def test_a_replica_sees_the_whole_batch():
    parts = np.arange(12, dtype="float32").reshape(2, 3, 2)

    def all_sum(x):  # of replica 1, with what replica 0 has
        return x + ops.convert_to_tensor(np.stack([parts[0], np.zeros_like(parts[0])]))

    assert current() is None
    x = ops.convert_to_tensor(parts[1])
    with sharing(Share(all_sum, 1, 2, copies=False)):
        np.testing.assert_array_equal(ops.convert_to_numpy(whole(x)), parts.reshape(6, 2))
    with sharing(Share(all_sum, 1, 2, copies=True)):
        assert whole(x) is x
    assert whole(x) is x


@pytest.mark.parametrize("masked", [False, True])
def test_moments_of_all_shares(masked):
    """Two replicas with equal shares: the moments are those of one."""
    model = keras.Sequential([keras.Input((3, 2)), keras.layers.BatchNormalization()])
    x = np.random.default_rng(0).normal(size=(4, 3, 2)).astype("float32")
    mask = np.array([[1, 1, 0], [1, 0, 0], [1, 1, 1], [0, 0, 0]], bool) if masked else None
    with synchronized(model), sharing(Share(lambda x: 2 * x, 0, 2, copies=True)):
        model.layers[0](x, training=True, mask=mask)
    kept = x[mask] if masked else x.reshape(-1, 2)
    mean, variance = (ops.convert_to_numpy(v) for v in model.non_trainable_variables)
    np.testing.assert_allclose(mean, 0.01 * kept.mean(0), rtol=1e-5)
    np.testing.assert_allclose(variance, 0.99 + 0.01 * kept.var(0), rtol=1e-5)
    assert "_moments" not in vars(model.layers[0])


def penalised_model(regularizer):
    lstm = keras.layers.LSTM(2, return_sequences=True, activity_regularizer=regularizer)
    inner = keras.Sequential([keras.Input((3, 2)), keras.layers.Bidirectional(lstm)])
    inputs = keras.Input((3, 2))
    layer = Scaled(3.0)
    layer.activity_regularizer = keras.regularizers.get(regularizer)
    return keras.Model(inputs, layer(inner(inputs)))


def penalised_layers(model):
    found = [layer for layer in model._flatten_layers() if layer.activity_regularizer is not None]
    assert len(found) >= 2
    return found


class Scaled(keras.layers.Layer):
    """Whose configuration Keras finds by itself."""

    def __init__(self, factor=1.0, **kwargs):
        super().__init__(**kwargs)
        self.factor = factor

    def call(self, x):
        return self.factor * x


@pytest.mark.parametrize("copies", [False, True])
def test_activity_regularizers_see_all_shares(copies):
    regularizer = regularizers.SpikeRate(high=0.0)
    model = penalised_model(regularizer)
    x = np.random.default_rng(0).normal(size=(2, 3, 2)).astype("float32")

    def all_sum(parts):  # of replica 1, which has what replica 0 has
        return parts + ops.flip(parts, 0)

    model(np.concatenate([x, x]) if not copies else x)
    expected = [float(ops.stop_gradient(loss)) for loss in model.losses]
    assert len(expected) == 3
    with penalised(model):
        with sharing(Share(all_sum, 1, 2, copies=copies)):
            model(x)
        found = [float(ops.stop_gradient(loss)) for loss in model.losses]
        saved = keras.saving.serialize_keras_object(model)
        again = keras.saving.deserialize_keras_object(saved, {"Scaled": Scaled})
        assert again.layers[-1].factor == 3.0
    np.testing.assert_allclose(found, expected, rtol=1e-5)
    for layer in (*penalised_layers(model), *penalised_layers(again)):
        assert type(layer.activity_regularizer) is regularizers.SpikeRate
        assert "get_config" not in vars(layer)


def test_sums_are_left_to_keras():
    model = penalised_model("l1")
    before = [layer.activity_regularizer for layer in model._flatten_layers()]
    with penalised(model):
        assert [layer.activity_regularizer for layer in model._flatten_layers()] == before
