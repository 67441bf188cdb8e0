"""SplitOptimizer: two optimizers that know nothing of each other."""

import keras
import numpy as np
import pytest
from binary_case import X, Y, fit, make_model
from support import tensor, to_numpy

import keras_htaf
from keras_htaf.layers import BinaryDense, BinaryRNNCell, BinarySeparableConv2D
from keras_htaf.optimizers import Bop, SplitOptimizer, binary_kernels
from keras_htaf.quantizers import Sign
from keras_htaf.surrogates import ApproxSign

SGD, Adam = keras.optimizers.SGD, keras.optimizers.Adam


def values(variables):
    return [to_numpy(variable) for variable in variables]


def assert_equal(ones, others, **tolerance):
    for one, other in zip(values(ones), values(others), strict=True):
        np.testing.assert_allclose(one, other, **tolerance)


def decay(rate):
    return keras.optimizers.schedules.ExponentialDecay(rate, 2, 0.5)


def test_kernels_are_found():
    nested = keras.Sequential([keras.Input((3,)), BinaryDense(2, kernel_quantizer="sign")])
    cell = BinaryRNNCell(3, recurrent_quantizer="ste_sign", recurrent_constraint="max_norm")
    frozen = BinaryDense(3, kernel_quantizer="sign", trainable=False)
    ternary = BinaryDense(3, kernel_quantizer="ternary", kernel_constraint="max_norm")
    layers = [frozen, ternary, BinaryDense(3), keras.layers.Reshape((3, 1))]
    layers += [keras.layers.RNN(cell), nested]
    kernels = binary_kernels(keras.Sequential([keras.Input((4,)), *layers]))
    assert [kernel.label for kernel in kernels] == [
        f"{cell.name}/recurrent_kernel",
        nested.layers[0].name,
    ]
    assert kernels[0].variable is cell.recurrent_kernel
    both = BinarySeparableConv2D(2, 1, depthwise_quantizer="sign", pointwise_quantizer="sign")
    assert len(binary_kernels(keras.Sequential([keras.Input((4, 4, 1)), both]))) == 2


@pytest.mark.parametrize("frozen", ["binary", "rest"])
def test_each_part_moves_its_own(frozen):
    model = make_model()
    before = values(model.trainable_variables)
    parts = {"binary": SGD(0.5), "rest": SGD(0.5), frozen: SGD(0.0)}
    fit(model, SplitOptimizer(model, **parts))
    moved = {
        variable.path
        for variable, old in zip(model.trainable_variables, before, strict=True)
        if np.any(to_numpy(variable) != old)
    }
    kernel = model.get_layer("binary").kernel.path
    others = {variable.path for variable in model.trainable_variables} - {kernel}
    assert moved == ({kernel} if frozen == "rest" else others)


def test_same_numbers_as_the_optimizers_alone():
    model = make_model()
    variables = model.trainable_variables
    is_kernel = [variable is model.get_layer("binary").kernel for variable in variables]

    def optimizers():
        return Bop(1e-3, decay(0.1)), Adam(decay(0.05), global_clipnorm=0.1)

    split, alone = SplitOptimizer(model, *optimizers()), optimizers()
    copies = [
        keras.Variable(to_numpy(variable), dtype="float32", constraint=variable.constraint)
        for variable in variables
    ]
    random = np.random.default_rng(0)
    for _ in range(4):
        grads = [tensor(random.normal(size=variable.shape)) for variable in variables]
        split.apply(grads, variables)
        for part, wanted in zip(alone, (True, False), strict=True):
            chosen = [i for i, binary in enumerate(is_kernel) if binary == wanted]
            part.apply([grads[i] for i in chosen], [copies[i] for i in chosen])
        assert_equal(variables, copies, rtol=0, atol=0)
    assert int(split.iterations) == 4


def test_two_of_one_kind_are_one():
    """In fit, with schedules; the clipping of latent weights is part of it."""
    one, two = make_model(), make_model()
    fit(one, Adam(decay(0.3)), epochs=3)
    fit(two, SplitOptimizer(two, Adam(decay(0.3)), Adam(decay(0.3))), epochs=3)
    assert_equal(one.weights, two.weights, atol=1e-6)
    kernel = to_numpy(two.get_layer("binary").kernel)
    assert np.abs(kernel).max() == 1.0  # at the constraint's bound
    assert np.any(np.abs(kernel) < 1)


def test_bop_and_adam_lower_the_loss():
    model = make_model()
    loss = fit(model, SplitOptimizer(model, Bop(1e-3, 0.1), Adam(0.02)), epochs=12)["loss"]
    assert loss[-1] < 0.8 * loss[0]
    assert np.unique(to_numpy(model.get_layer("binary").kernel)).tolist() == [-1, 1]


@pytest.fixture(params=["float32", "mixed_float16"])
def policy(request):
    """With float16, Keras wraps the optimizer in one that scales the loss."""
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy(request.param)
    yield request.param
    keras.config.set_dtype_policy(before)


@pytest.mark.usefixtures("policy")
def test_saved_mid_training_is_uninterrupted(tmp_path):
    model = make_model()
    fit(model, SplitOptimizer(model, Bop(1e-4, decay(0.1)), Adam(decay(0.02))))
    model.save(tmp_path / "m.keras")
    loaded = keras_htaf.load_model(tmp_path / "m.keras")
    assert_equal(model.optimizer.variables, loaded.optimizer.variables, rtol=0)
    for each in (model, loaded):
        fit(each, epochs=4, initial_epoch=2)
    assert_equal(model.weights, loaded.weights, rtol=1e-6)
    assert_equal(model.optimizer.variables, loaded.optimizer.variables, rtol=1e-6)


def test_state_of_another_kind(tmp_path):
    """Saved wrapped, loaded unwrapped: the model is there, its optimizer starts anew."""
    keras.config.set_dtype_policy("mixed_float16")
    try:
        model = make_model()
        fit(model, SplitOptimizer(model, Bop(), "adam"))
    finally:
        keras.config.set_dtype_policy("float32")
    model.save(tmp_path / "m.keras")
    with pytest.warns(UserWarning, match="'split' starts anew"):
        loaded = keras_htaf.load_model(tmp_path / "m.keras")
    assert_equal(model.weights, loaded.weights, rtol=0)


def test_learning_rate_and_averages_of_the_rest():
    model = make_model()
    rest = SGD(0.1, use_ema=True, ema_momentum=0.5)
    halve = keras.callbacks.LearningRateScheduler(lambda epoch, rate: rate / 2)
    fit(model, SplitOptimizer(model, Bop(), rest), callbacks=[halve])
    assert float(rest.learning_rate) == pytest.approx(0.025)
    assert float(model.optimizer.learning_rate) == pytest.approx(0.025)
    others = [v for v in model.trainable_variables if v is not model.get_layer("binary").kernel]
    assert_equal(others, rest._model_variables_moving_average)


def test_config_keeps_the_parts():
    model = make_model()
    split = SplitOptimizer(model, Bop(0.5, 0.25), "adam", name="both")
    again = SplitOptimizer.from_config(split.get_config())
    assert again.get_config() == split.get_config()
    assert again.binary.threshold == 0.5


def test_bad_arguments():
    model = make_model()
    with pytest.raises(ValueError, match="no trainable binary kernel"):
        SplitOptimizer(make_model(quantizer=None), "sgd", "sgd")
    for wrong in (None, Bop(), model.trainable_variables[:1]):
        with pytest.raises(ValueError, match="Expected the built model that will be trained"):
            SplitOptimizer(wrong, "sgd", "sgd")
    with pytest.raises(ValueError, match="not built"):
        SplitOptimizer(keras.Sequential([BinaryDense(2, kernel_quantizer="sign")]), "sgd", "sgd")
    adam = Adam()
    with pytest.raises(ValueError, match="one Adam object"):
        SplitOptimizer(model, adam, adam)
    with pytest.raises(ValueError, match="rest=SGD, which scales the loss"):
        SplitOptimizer(model, adam, SGD(loss_scale_factor=2.0))
    adam.build(model.trainable_variables)
    with pytest.raises(ValueError, match="binary=Adam, which has trained"):
        SplitOptimizer(model, adam, "sgd")
    for quantizer, slope in (("approx_sign", "0"), ("swish_sign", "-0.19")):
        with pytest.raises(ValueError, match=f"'binary': .* slope {slope}"):
            SplitOptimizer(make_model(quantizer=quantizer), Bop(), "sgd")
    SplitOptimizer(make_model(quantizer="sign"), Bop(), "sgd")


def test_other_variables():
    model = make_model()
    split = SplitOptimizer(model, "sgd", "sgd")
    model.layers[1].trainable = False
    with pytest.raises(ValueError, match="received 7 trainable variables"):
        fit(model, split)
    with pytest.raises(ValueError, match="received 9 trainable variables"):
        fit(make_model(), split)


def test_other_shapes_after_loading():
    """The variables of a loaded model are new, so their shapes guard the positions."""
    model = make_model()
    config = SplitOptimizer(model, "sgd", "sgd").get_config()
    SplitOptimizer.from_config(config).build(model.trainable_variables)
    _, *others = model.trainable_variables
    with pytest.raises(ValueError, match="not those of the model"):
        SplitOptimizer.from_config(config).build([*others, others[0]])
    del config["shapes"]  # of an older file
    SplitOptimizer.from_config(config).build(model.trainable_variables)


@pytest.mark.parametrize("per_channel", [False, True])
def test_the_slope_is_that_of_the_weight(per_channel):
    """Not of the surrogate as it was made: a loaded sharpness, or an annealed one, counts."""
    model = make_model(quantizer=Sign(ApproxSign(0.5), per_channel=per_channel))
    SplitOptimizer(model, Bop(), "sgd")
    sharpness = model.get_layer("binary").kernel_quantizer.sharpness
    sharpness.assign(np.where(np.arange(5) == 3, 2.0, 0.5) if per_channel else 2.0)
    with pytest.raises(ValueError, match=r"'binary': .* slope 0"):
        SplitOptimizer(model, Bop(), "sgd")


def test_bop_on_a_latent_kernel():
    model = make_model(initializer="glorot_uniform")
    model.compile(SplitOptimizer(model, Bop(), "adam"), "mse")
    with pytest.raises(ValueError, match=r"Bop received \['binary/kernel'\].*RandomSign"):
        model.fit(X, np.eye(2)[Y], verbose=0)
