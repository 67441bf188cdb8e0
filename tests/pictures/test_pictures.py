"""Pictures: what they contain, that they can be saved, and what they refuse."""

import sys

import keras
import numpy as np
import pytest
from support import tensor

from keras_htaf import layers, pictures

pytest.importorskip("matplotlib")


def saved(figure, tmp_path):
    path = tmp_path / "picture.png"
    figure.savefig(path)
    assert path.stat().st_size > 3000
    return figure


def test_raster_has_a_mark_for_each_spike(tmp_path, rng):
    spikes = rng.random((20, 3, 4)) < 0.2
    figure = saved(pictures.raster(tensor(spikes), dt_ms=2.0), tmp_path)
    marks, below = figure.axes
    (drawn,) = marks.collections
    step, neuron = np.nonzero(spikes.reshape(20, 12))
    np.testing.assert_allclose(np.asarray(drawn.get_offsets()), np.stack([2.0 * step, neuron], 1))
    (stairs,) = below.patches
    np.testing.assert_allclose(stairs.get_data().values, 100 * spikes.mean(axis=(1, 2)))
    assert (below.get_xlabel(), marks.get_ylabel()) == ("time (ms)", "neuron")
    assert figure.get_suptitle() == f"{spikes.sum()} spikes of 12 neurons"


@pytest.mark.parametrize(("steps", "neurons"), [(30, 1000), (2000, 200)])
def test_no_spike_is_lost_among_many(steps, neurons, tmp_path):
    spikes = np.zeros((steps, neurons))
    spikes[steps // 2, [0, neurons // 2, neurons - 1]] = 1
    figure = saved(pictures.raster({"hidden": spikes, "out": spikes[:, :5]}), tmp_path)
    picture = figure.axes[0].images[0]
    cells, (left, right, bottom, top) = picture.get_array(), picture.get_extent()
    columns = 3 if steps == 30 else 1  # of a step, with room beside them
    assert np.sum(cells) == 3 * columns
    row, column = np.nonzero(cells)
    at = top + (row + 0.5) * (bottom - top) / cells.shape[0]
    when = left + (column + 0.5) * (right - left) / cells.shape[1]
    expected = np.repeat([0, neurons // 2, neurons - 1], columns)
    assert np.all(np.abs(at - expected) <= 1 + neurons // 200)
    assert np.all(np.abs(when - steps // 2) <= 1 + steps // 500)
    assert figure.axes[0].get_ylabel() == "hidden\nneuron"


def test_membrane_draws_curves_thresholds_and_spikes(tmp_path, rng):
    v = rng.normal(size=(15, 10))
    figure = saved(
        pictures.membrane(v, v > 0.5, threshold=0.5, neurons=[9, 2], unit="mV"), tmp_path
    )
    assert len(figure.axes) == 2
    for axes, neuron in zip(figure.axes, (9, 2), strict=True):
        curve, limit = axes.lines
        np.testing.assert_allclose(curve.get_ydata(), v[:, neuron])
        assert set(limit.get_ydata()) == {0.5}
        (marks,) = axes.collections
        assert [s[0][0] for s in marks.get_segments()] == np.flatnonzero(
            v[:, neuron] > 0.5
        ).tolist()
    assert figure.get_supylabel() == "membrane potential (mV)"
    assert len(pictures.membrane(v).axes) == 8


@pytest.mark.parametrize("late", [False, True])
def test_trace_is_the_trajectory(late):
    x = np.array([0.5, 0.8, 0.3, 1.2, 0.0, 0.9])[None, :, None]
    v, s = pictures.trace(layers.LIF(0.9, reset_next_step=late), tensor(x))
    expected = [0.5, 1.25, 0.425, 1.5825, 0.42425, 1.281825]
    if not late:
        expected = [0.5, 1.25, 0.525, 1.6725, 0.60525, 1.444725]
    np.testing.assert_allclose(v[0, :, 0], expected, rtol=1e-6)
    np.testing.assert_array_equal(s[0, :, 0], [0, 1, 0, 1, 0, 1])
    v, s = pictures.trace(layers.LI(0.5), np.ones((1, 3, 2)))
    np.testing.assert_allclose(v[0, :, 1], [1, 1.5, 1.75])
    assert s is None
    with pytest.raises(ValueError, match="Received Dense"):
        pictures.trace(keras.layers.Dense(2), x)


def test_rates_over_epochs(tmp_path):
    logs = {"loss": [2, 1], "spike_rate": [0.3, 0.2]}
    logs |= {f"spike_rate/layer{i}": [0.1 * i, 0.2] for i in range(9)}
    figure = saved(pictures.spike_rates(logs, target=(0.1, 0.2)), tmp_path)
    (axes,) = figure.axes
    assert len(axes.lines) == 9
    np.testing.assert_allclose(axes.lines[3].get_ydata(), [0.3, 0.2])
    looks = {(line.get_color(), line.get_linestyle()) for line in axes.lines}
    assert len(looks) == 9
    assert axes.get_ylabel() == "spikes per neuron and step"


@pytest.mark.parametrize(
    ("draw", "message"),
    [
        (lambda: pictures.raster(np.zeros(5)), r"shape \(5,\)"),
        (lambda: pictures.raster(np.zeros((0, 5))), "not empty"),
        (lambda: pictures.raster({}), "at least one layer"),
        (lambda: pictures.raster({"a": np.zeros((3, 2)), "b": np.zeros((4, 2))}), "'b': 4"),
        (lambda: pictures.raster(np.zeros((3, 2)), dt_ms=0), "dt_ms=0"),
        (lambda: pictures.membrane(np.full((3, 2), np.nan)), "NaN"),
        (lambda: pictures.membrane(np.zeros((3, 2)), np.zeros((3, 3))), "same shape"),
        (lambda: pictures.membrane(np.zeros((3, 2)), neurons=[2]), "from 0 to 1"),
        (lambda: pictures.membrane(np.zeros((3, 2)), threshold=[1, 2, 3]), "each of the 2"),
        (lambda: pictures.spike_rates({"loss": [1]}), "SpikeRates"),
        (lambda: pictures.spike_rates([1]), "list"),
        (lambda: pictures.spike_rates({"spike_rate/a": [1]}, target=(2, 1)), "target"),
    ],
)
def test_bad_input(draw, message):
    with pytest.raises(ValueError, match=message):
        draw()


def test_without_matplotlib(monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    with pytest.raises(ImportError, match=r"keras-htaf\[cli\]"):
        pictures.raster(np.ones((3, 2)))


@pytest.fixture
def rng():
    return np.random.default_rng(5)
