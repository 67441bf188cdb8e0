"""The neurons of snnTorch itself: the same spikes, states and gradients."""

import numpy as np
import pytest
from support import gradient, tensor, to_numpy

from keras_htaf.layers import LIF, CubaLIF
from keras_htaf.surrogates import FastSigmoid

snntorch = pytest.importorskip("snntorch")
torch = pytest.importorskip("torch")

RANDOM = np.random.default_rng(7)
# Within (-1, 1), a reset in the same step leaves less than the threshold: snnTorch takes what
# exceeds it for a spike of the step before, and does not reset again.
X = RANDOM.uniform(-0.7, 1.0, (3, 12, 4)).astype("float32")
UPSTREAM = RANDOM.normal(size=X.shape).astype("float32")

resets = pytest.mark.parametrize("reset", ["subtract", "zero", "none"])
delays = pytest.mark.parametrize("delay", [True, False], ids=["next step", "same step"])


def theirs(neuron, x):
    """Spikes, states after the last step, and gradients: for the inputs, for the parameters."""
    x = torch.tensor(x, requires_grad=True)
    states = 2 if isinstance(neuron, snntorch.Synaptic) else 1
    state, spikes = [torch.zeros(x.shape[0], x.shape[2])] * states, []
    for now in x.unbind(1):
        s, *state = neuron(now, *state)
        spikes.append(s)
    spikes = torch.stack(spikes, 1)
    (spikes * torch.tensor(UPSTREAM)).sum().backward()
    gradients = {name: p.grad.numpy() for name, p in neuron.named_parameters()}
    state = [s.detach().numpy() for s in state]
    return spikes.detach().numpy(), state, x.grad.numpy(), gradients


def ours(layer, x):
    """Likewise."""
    layer.build(x.shape)
    weights = [tensor(to_numpy(w)) for w in layer.trainable_variables]
    others = [tensor(to_numpy(w)) for w in layer.non_trainable_variables]

    def call(x, *weights):
        return layer.stateless_call(list(weights), others, x, training=True)[0]

    gx, *gradients = gradient(call, tensor(x), *weights, upstream=UPSTREAM)
    names = [w.name for w in layer.trainable_variables]
    spikes, *states = type(layer).from_config({**layer.get_config(), "return_state": True})(x)
    states = [to_numpy(s) for s in states]
    return to_numpy(spikes), states, gx, dict(zip(names, gradients, strict=True))


def compare(neuron, layer, x, names):
    spikes, states, gx, gradients = theirs(neuron, x)
    found, found_states, found_gx, found_gradients = ours(layer, x)
    assert 0 < spikes.mean() < 1
    np.testing.assert_array_equal(found, spikes)
    np.testing.assert_allclose(found_states, states, atol=1e-5)
    np.testing.assert_allclose(found_gx, gx, rtol=1e-4, atol=1e-5)
    for ours_, theirs_ in names.items():
        np.testing.assert_allclose(
            found_gradients[ours_], gradients[theirs_], rtol=1e-3, atol=1e-4, err_msg=ours_
        )


@delays
@resets
def test_leaky(reset, delay):
    neuron = snntorch.Leaky(
        beta=0.8,
        threshold=0.9,
        reset_mechanism=reset,
        reset_delay=delay,
        learn_beta=True,
        learn_threshold=True,
        spike_grad=snntorch.surrogate.fast_sigmoid(slope=5),
    )
    layer = LIF.like(
        "snntorch",
        decay=0.8,
        threshold=0.9,
        reset=reset,
        reset_next_step=delay,
        surrogate=FastSigmoid(5.0),
        trainable_decay=True,
        trainable_threshold=True,
    )
    compare(neuron, layer, X, {"decay": "beta", "threshold": "threshold"})


@delays
@resets
def test_synaptic(reset, delay):
    neuron = snntorch.Synaptic(
        alpha=0.6,
        beta=0.7,
        reset_mechanism=reset,
        reset_delay=delay,
        learn_alpha=True,
        learn_beta=True,
        learn_threshold=True,
    )  # with their default surrogate, ATan
    layer = CubaLIF.like(
        "snntorch",
        synaptic_decay=0.6,
        decay=0.7,
        reset=reset,
        reset_next_step=delay,
        trainable_decay=True,
        trainable_threshold=True,
    )
    names = {"synaptic_decay": "alpha", "decay": "beta", "threshold": "threshold"}
    compare(neuron, layer, np.float32(0.5) * X, names)
