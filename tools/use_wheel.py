"""Use an installed keras-htaf where one backend and nothing else is; see check_wheel.py.

Works in the current folder. Prints a line for each thing that was tried.
"""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from pathlib import Path

import keras
import numpy as np

import keras_htaf

BACKEND = keras.config.backend()


def there(*packages: str) -> bool:
    """Whether all of these packages are installed."""
    return all(importlib.util.find_spec(name) for name in packages)


def train() -> tuple[keras.Model, np.ndarray]:
    """A network of exact steps that learns whether more than half of its inputs are positive."""
    keras.utils.set_random_seed(0)
    x = np.random.default_rng(0).normal(size=(512, 9)).astype("float32")
    y = ((x > 0).sum(axis=1) > 4).astype("int32")
    layers = keras_htaf.layers
    model = keras.Sequential(
        [
            keras.Input((9,)),
            keras.layers.Dense(32),
            layers.HTAF(alpha=4.0),
            layers.BinaryDense(16, kernel_quantizer="ste_sign", kernel_constraint="weight_clip"),
            keras.layers.BatchNormalization(),
            layers.Heaviside(),
            keras.layers.Dense(2),
        ]
    )
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(keras.optimizers.Adam(0.01), loss, metrics=["accuracy"])
    model.fit(x, y, epochs=20, batch_size=32, verbose=0)
    accuracy = model.evaluate(x, y, verbose=0)[1]
    assert accuracy > 0.8, accuracy
    print(f"trained: {accuracy:.1%}")
    return model, x


def save_and_load(model: keras.Model, x: np.ndarray) -> keras.Model:
    """The model, read back by both ways to load it, and hardened."""
    model.save("model.keras")
    expected = model.predict(x, verbose=0)
    for load in (keras_htaf.load_model, keras.saving.load_model):
        np.testing.assert_allclose(load("model.keras").predict(x, verbose=0), expected, atol=1e-5)
    hard = keras_htaf.harden(keras_htaf.load_model("model.keras"))
    print(f"saved, loaded, hardened: {keras_htaf.summary(hard).weights} weights by their bits")
    return hard


def needs(packages: tuple[str, ...], extra: str, use) -> None:
    """Call `use`, which must work where its packages are, and else say what to install."""
    name = getattr(use, "__doc__", None) or extra
    if there(*packages):
        use()
        print(f"{name}: works")
        return
    said = "nothing"
    try:
        use()
    except ImportError as error:
        said = str(error)
    assert f'pip install "keras-htaf[{extra}]"' in said, f"{name} without {packages} says {said}"
    print(f"{name}: asks for keras-htaf[{extra}]")


def optional(hard: keras.Model, x: np.ndarray) -> None:
    """What needs more than a backend."""

    def export():
        """a SavedModel"""
        keras_htaf.export.export(hard, "saved_model")
        assert Path("saved_model/saved_model.pb").is_file()

    def pack():
        """packed bits"""
        keras_htaf.packed.pack(hard)

    def digits():
        """the digits"""
        keras_htaf.datasets.load("digits")

    def raster():
        """a raster plot"""
        keras_htaf.pictures.raster(x[:5] > 0)

    def nir():
        """NIR"""
        keras_htaf.exchange.to_nir(keras.Sequential([keras.Input((3, 2)), keras_htaf.layers.LIF()]))

    needs(("tensorflow",), "export", export)
    needs(("numba", "threadpoolctl", "safetensors"), "packed", pack)
    needs(("sklearn",), "data", digits)
    needs(("matplotlib",), "cli", raster)
    needs(("nir",), "nir", nir)


def command() -> None:
    """The command, which is there, but has its own packages."""
    run = [str(Path(sys.executable).with_name("keras-htaf")), "--help"]
    done = subprocess.run(run, capture_output=True, text=True, check=False)
    if there("typer", "rich"):
        assert done.returncode == 0, done.stderr
    else:
        assert done.returncode, done.stdout
        assert 'pip install "keras-htaf[cli]"' in done.stderr, done.stderr
    print(f"keras-htaf --help: exit code {done.returncode}, {done.stderr.strip() or 'prints help'}")


def main() -> None:
    """Try all of it."""
    assert "site-packages" in keras_htaf.__file__, keras_htaf.__file__
    others = [name for name in ("tensorflow", "jax", "torch") if name != BACKEND and there(name)]
    print(f"keras-htaf {keras_htaf.__version__}, Keras {keras.__version__} on {BACKEND}; {others=}")
    model, x = train()
    optional(save_and_load(model, x), x)
    command()


if __name__ == "__main__":
    main()
