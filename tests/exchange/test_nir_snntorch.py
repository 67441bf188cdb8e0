"""NIR between here and snnTorch: its own importer and exporter, the same spikes both ways.

snnTorch 1.0 with nirtorch 2.6 takes graphs of `Affine`, `Linear`, `Conv2d`, `AvgPool2d`, `Flatten`,
`LIF` and `CubaLIF` with resets to zero and a step of 1e-4 s, and not of recurrent connections (its
exporter gives them). It flattens the batch with the image, so that images come one at a time, and
makes of `IF` a neuron that leaks.
"""

import keras
import numpy as np
import pytest
from keras import layers as kl
from support import to_numpy

from keras_htaf.exchange import from_nir, to_nir
from keras_htaf.layers import LIF, CubaLIF, FoldTime

nir = pytest.importorskip("nir")
pytest.importorskip("nirtorch")
torch = pytest.importorskip("torch")
snn = pytest.importorskip("snntorch")
pytestmark = pytest.mark.filterwarnings("ignore")

ZERO = {"init_hidden": True, "reset_mechanism": "zero", "reset_delay": False}
STEPS = 30


@pytest.fixture
def rng():
    keras.utils.set_random_seed(5)  # of the layers' weights
    return np.random.default_rng(3)


def run(network, x):
    """A network's spikes (batch, time, ...), of inputs that are channels last."""
    from snntorch import utils

    utils.reset(network)
    spikes = []
    with torch.no_grad():
        for t in range(x.shape[1]):
            step = torch.tensor(x[:, t] if x.ndim == 3 else np.moveaxis(x[:, t], -1, 1))
            made = network(step.float())
            spikes.append((made[0] if isinstance(made, tuple) else made).numpy())
    return np.stack(spikes, axis=0 if spikes[0].ndim == 1 else 1)


def scatter(model, rng):
    """Kernels that are the same on each backend."""
    for weight in model.weights:
        if weight.name == "kernel":
            shape = tuple(weight.shape)
            weight.assign(rng.normal(size=shape) / np.sqrt(np.prod(shape[:-1])))


def leaky(size, beta, threshold=1.0, kind=None, **options):
    kind = kind or snn.Leaky
    options = {**ZERO, "threshold": torch.full((size,), threshold), **options}
    return kind(beta=torch.full((size,), beta), **options)


def same(ours, theirs):
    assert 0.02 < ours.mean() < 0.9
    np.testing.assert_array_equal(ours, theirs)


@pytest.mark.parametrize("kind", ["LIF", "per neuron", "scaled", "CubaLIF"])
def test_ours_runs_in_snntorch(kind, rng, tmp_path):
    from snntorch.import_nir import import_from_nir

    hidden = {
        "LIF": LIF(decay=0.9, reset="zero"),
        "per neuron": LIF(reset="zero", per_neuron=True),
        "scaled": LIF(reset="zero", scale_input=True, threshold=0.2),
        "CubaLIF": CubaLIF(0.6, 0.8, reset="zero"),
    }[kind]
    last = type(hidden)(decay=0.7, reset="zero", threshold=0.2)
    model = keras.Sequential(
        [keras.Input((None, 5)), kl.Dense(8), hidden, kl.Dense(3, use_bias=False), last]
    )
    if hidden.per_neuron:
        hidden.decay.assign(rng.uniform(0.5, 0.95, 8))
    x = (3 * rng.normal(size=(4, STEPS, 5))).astype("float32")
    scatter(model, rng)
    to_nir(model, tmp_path / "ours.nir")
    network = import_from_nir(nir.read(tmp_path / "ours.nir"))
    same(to_numpy(model(x)), run(network, x))


def test_our_images_run_in_snntorch(rng, tmp_path):
    from snntorch.import_nir import import_from_nir

    layers = [
        FoldTime(kl.Conv2D(3, 3, padding="same", bias_initializer="uniform")),
        LIF(decay=0.8, reset="zero"),
        FoldTime(kl.AveragePooling2D(2)),
        FoldTime(kl.Conv2D(4, 3, strides=2)),
        FoldTime(kl.BatchNormalization(beta_initializer=keras.initializers.Constant(0.2))),
        LIF(decay=0.9, reset="zero"),
        FoldTime(kl.Flatten()),
        kl.Dense(6),
        LIF(decay=0.9, reset="zero", threshold=0.3),
    ]
    model = keras.Sequential([keras.Input((None, 9, 10, 2)), *layers])
    x = (3 * rng.normal(size=(1, STEPS, 9, 10, 2))).astype("float32")
    scatter(model, rng)
    to_nir(model, tmp_path / "ours.nir")
    network = import_from_nir(nir.read(tmp_path / "ours.nir"))
    same(to_numpy(model(x))[0], run(network, x))


@pytest.mark.parametrize("kind", ["Leaky", "Synaptic", "RLeaky", "RSynaptic", "subtract"])
def test_theirs_runs_here(kind, rng, tmp_path):
    from snntorch.export_nir import export_to_nir

    torch.manual_seed(2)
    options = {}
    neurons = {
        "Leaky": lambda: leaky(8, 0.9),
        "Synaptic": lambda: leaky(8, 0.9, kind=snn.Synaptic, alpha=torch.full((8,), 0.7)),
        "RLeaky": lambda: leaky(8, 0.8, kind=snn.RLeaky, linear_features=8),
        "RSynaptic": lambda: leaky(
            8,
            0.8,
            kind=snn.RSynaptic,
            linear_features=8,
            alpha=torch.full((8,), 0.6),
            reset_delay=True,
        ),
        "subtract": lambda: leaky(8, 0.9, reset_mechanism="subtract", reset_delay=True),
    }
    if kind in ("subtract", "RSynaptic"):  # what its files do not say
        options = {"reset": {"RSynaptic": "zero"}.get(kind, kind), "reset_next_step": True}
    network = torch.nn.Sequential(torch.nn.Linear(5, 8), neurons[kind]())
    graph = export_to_nir(network, torch.zeros(1, 5), ignore_dims=[0])
    nir.write(tmp_path / "theirs.nir", graph)
    x = (3 * rng.normal(size=(4, STEPS, 5))).astype("float32")
    model = from_nir(tmp_path / "theirs.nir", **options)
    same(to_numpy(model(x)), run(network, x))


def test_their_images_run_here(rng):
    from snntorch.export_nir import export_to_nir

    torch.manual_seed(4)
    shape = torch.ones(3, 6, 8)
    network = torch.nn.Sequential(
        torch.nn.Conv2d(2, 3, 3, padding=1),
        snn.Leaky(beta=0.8 * shape, threshold=shape, **ZERO),
        torch.nn.AvgPool2d(2),
        torch.nn.Flatten(),
        torch.nn.Linear(36, 4),
        leaky(4, 0.9, threshold=0.25),
    )
    graph = export_to_nir(network, torch.zeros(1, 2, 6, 8), ignore_dims=[0])
    x = (3 * rng.normal(size=(2, STEPS, 6, 8, 2))).astype("float32")
    same(to_numpy(from_nir(graph)(x)), run(network, x))
