"""A stream with explicit states, exported, in plain TensorFlow."""

import os
import subprocess
import sys

import keras
import numpy as np
import pytest

from keras_htaf.datasets.preprocessing import Preprocessing
from keras_htaf.export import export
from keras_htaf.models import initial_state, spiking_mlp, streaming

X = (3 * np.random.default_rng(0).normal(size=(3, 4, 6))).astype("float32")
SCRIPT = """
import sys, numpy as np, tensorflow as tf
assert "keras_htaf" not in sys.modules
folder = sys.argv[1]
given = np.load(folder + "/given.npz")
model = tf.saved_model.load(folder + "/stream")
state = [tf.constant(given[f"state{i}"]) for i in range(len(given) - 1)]
outputs = []
for i in (0, 2):
    y, *state = model.serve([tf.constant(given["x"][:, i : i + 2]), *state])
    outputs.append(y.numpy())
np.save(folder + "/made.npy", np.concatenate(outputs, 1))
"""


def test_pieces_are_the_whole(tmp_path):
    pytest.importorskip("tensorflow")
    keras.utils.set_random_seed(0)
    options = {"encoding": None, "readout": "membrane", "return_sequences": True}
    options |= {"neuron": "alif", "width": 8}
    model = spiking_mlp((None, 6), 3, neuron_options={"forward": "smooth"}, **options)
    exact = spiking_mlp((None, 6), 3, **options)
    exact.set_weights(model.get_weights())
    streamed = streaming(model, 2)
    export(streamed, tmp_path / "stream", preprocessing=Preprocessing(2.0, 0.0).layer())
    states = {f"state{i}": s for i, s in enumerate(initial_state(streamed, len(X)))}
    states = {name: keras.ops.convert_to_numpy(state) for name, state in states.items()}
    np.savez(tmp_path / "given.npz", x=X / 2, **states)
    environment = {k: v for k, v in os.environ.items() if k != "KERAS_BACKEND"}
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, tmp_path],
        env=environment,
        capture_output=True,
        text=True,
        timeout=280,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    expected = exact.predict(X, verbose=0)
    assert (expected.std((0, 1)) > 0.1).all()
    np.testing.assert_allclose(np.load(tmp_path / "made.npy"), expected, atol=1e-5)
