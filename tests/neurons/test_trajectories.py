"""The trajectories of other libraries, number by number, by the pure steps."""

import numpy as np
import pytest
from support import tensor, to_numpy

from keras_htaf import neurons
from keras_htaf.layers import IF, LIF, PLIF, CubaLIF
from keras_htaf.ops import heaviside

X = [0.5, 0.8, 0.3, 1.2, 0.0, 0.9]


def run(layer, x):
    """Outputs and states of a loop over a neuron's step, with the constants of its layer."""
    layer.build((1, None, 1))
    constants, state = layer.parameters(), layer.first_state(tensor([[0.0]]))
    outputs, states = [], []
    for value in x:
        y, state = layer.neuron.step(tensor([[value]]), state, constants, layer.spike)
        outputs.append(float(to_numpy(y)[0, 0]))
        states.append([to_numpy(s)[0, 0] for s in state])
    return outputs, np.transpose(states)


def check(layer, spikes, *states, x=X):
    s, found = run(layer, x)
    assert s == spikes
    for values, expected in zip(found, states, strict=True):
        np.testing.assert_allclose(values, expected, atol=2e-6)
    y, *last = type(layer).from_config({**layer.get_config(), "return_state": True})(
        tensor(np.reshape(x, (1, -1, 1)))
    )
    np.testing.assert_array_equal(to_numpy(y)[0, :, 0], s)
    np.testing.assert_allclose([to_numpy(v)[0, 0] for v in last], found[:, -1], atol=2e-6)


@pytest.mark.parametrize(
    ("options", "potential", "spikes"),
    [
        ({}, [0.5, 1.25, 0.425, 1.5825, 0.42425, 1.281825], [0, 1, 0, 1, 0, 1]),
        (
            {"reset_next_step": False},
            [0.5, 0.25, 0.525, 0.6725, 0.60525, 0.444725],
            [0, 1, 0, 1, 0, 1],
        ),
        ({"reset": "zero"}, [0.5, 1.25, 0.3, 1.47, 0, 0.9], [0, 1, 0, 1, 0, 0]),
        ({"reset": "none"}, [0.5, 1.25, 1.425, 2.4825, 2.23425, 2.910825], [0, 1, 1, 1, 1, 1]),
    ],
)
def test_snntorch_leaky(options, potential, spikes):
    check(LIF.like("snntorch", decay=0.9, **options), spikes, potential)


def test_snntorch_synaptic():
    layer = CubaLIF.like("snntorch", synaptic_decay=0.8, decay=0.9)
    current = [0.5, 1.2, 1.26, 2.208, 1.7664, 2.31312]
    potential = [0.5, 1.65, 1.745, 2.7785, 3.26705, 4.253465]
    check(layer, [0, 1, 1, 1, 1, 1], current, potential)


@pytest.mark.parametrize(
    ("layer", "potential", "spikes"),
    [
        (
            LIF.like("spikingjelly", scale_input=False),
            [0.5, 0, 0.3, 0, 0, 0.9],
            [0, 1, 0, 1, 0, 0],
        ),
        (
            LIF.like("spikingjelly", scale_input=False, reset="subtract"),
            [0.5, 0.05, 0.325, 0.3625, 0.18125, 0.990625],
            [0, 1, 0, 1, 0, 0],
        ),
        (
            LIF.like("spikingjelly", scale_input=False, reset="value", reset_value=-0.2),
            [0.3, 0.85, 0.625, -0.2, -0.2, 0.7],
            [0, 0, 0, 1, 0, 0],
        ),
        (
            IF.like("spikingjelly", reset="subtract"),
            [0.5, 0.3, 0.6, 0.8, 0.8, 0.7],
            [0, 1, 0, 1, 0, 1],
        ),
        (
            PLIF.like("spikingjelly", scale_input=False),
            [0.5, 0, 0.3, 0, 0, 0.9],
            [0, 1, 0, 1, 0, 0],
        ),
    ],
    ids=["hard", "soft", "value", "if", "plif"],
)
def test_spikingjelly(layer, potential, spikes):
    check(layer, spikes, potential)


def test_spikingjelly_decayed_input():
    """It equals an undecayed one of half the size, at tau = 2."""
    potential = [0.5, 0, 0.3, 0, 0, 0.9]
    check(LIF.like("spikingjelly"), [0, 1, 0, 1, 0, 0], potential, x=[2 * x for x in X])


def test_plif_weight():
    """1 / tau = sigmoid(w) there, decay = 1 - 1 / tau = sigmoid(-w) here."""
    layer = PLIF(tau=3.0)
    layer.build((None, None, 2))
    np.testing.assert_allclose(float(layer.decay_logit), np.log(3.0 - 1.0), rtol=1e-6)
    np.testing.assert_allclose(float(layer.parameters()["decay"]), 1 - 1 / 3, rtol=1e-6)


def test_norse():
    potential = [0.1, 0.27, 0.487, 0.7335, 0.99631, 0, 0.395142, 0.771742, 0]
    current = np.cumsum(0.8 ** np.arange(9))
    spikes = [0, 0, 0, 0, 0, 1, 0, 0, 1]
    check(CubaLIF.like("norse"), spikes, current, potential, x=[1.0] * 9)
    # LIFBox, without a current: 2 (1 - 0.9^t) passes 1 at t = 7.
    potential = [*(2 * (1 - 0.9 ** np.arange(1, 7))), 0, 0.2]
    check(LIF.like("norse"), [0, 0, 0, 0, 0, 0, 1, 0], potential, x=[2.0] * 8)


def test_spyx():
    """The potentials of snnTorch's reset by subtraction, the spikes one step later."""
    late, (potential,) = run(LIF.like("snntorch", decay=0.9), X)
    check(LIF.like("spyx", decay=0.9), [0.0, *late[:-1]], potential)


def test_ties():
    for fires, spikes in ((False, [0, 0]), (True, [1, 0])):
        layer = IF(fires_at_threshold=fires)
        assert run(layer, [1.0, -0.5])[0] == spikes


def test_alif():
    """The threshold is 1 + a; a' = a / 2 + s / 2."""
    constants = {"decay": 0.5, "threshold": 1.0, "adaptation": 1.0, "adaptation_decay": 0.5}
    state, rows = (tensor(0.0), tensor(0.0)), []
    for x in (1.2, 1.2, 1.3, 2.0):
        s, state = neurons.ALIF().step(tensor(x), state, constants, heaviside)
        rows.append([float(value) for value in (s, *state)])
    expected = [[1, 0.2, 0.5], [0, 1.3, 0.25], [1, 0.7, 0.625], [1, 0.725, 0.8125]]
    np.testing.assert_allclose(rows, expected, atol=1e-6)


def test_smooth_spikes_drive_the_reset():
    layer = LIF(decay=0.5, forward="smooth", surrogate="sigmoid")
    s, (u,) = run(layer, [1.0, 1.0])
    first = 1 / (1 + np.exp(-0.0))
    second = 0.5 * (1.0 - first) + 1.0
    s2 = 1 / (1 + np.exp(-4 * (second - 1)))
    np.testing.assert_allclose(s, [first, s2], atol=1e-6)
    np.testing.assert_allclose(u, [1 - first, second - s2], atol=1e-6)


def test_options():
    with pytest.raises(ValueError, match="Received reset='soft'"):
        neurons.LIF(reset="soft")
    with pytest.raises(ValueError, match=r"reset_value=-1\.0 with reset='zero'"):
        neurons.LIF(reset="zero", reset_value=-1.0)
    with pytest.raises(ValueError, match=r"rest=nan\. Expected a finite"):
        neurons.ALIF(rest=float("nan"))
    with pytest.raises(ValueError, match="Expected one of them"):
        neurons.CubaLIF(reset_next_step=True, fires_before_update=True)
