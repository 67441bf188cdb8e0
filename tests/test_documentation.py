"""What README and docstrings show must run."""

from __future__ import annotations

import doctest
import importlib
import os
import pkgutil
import re
import runpy
import sys
from pathlib import Path

import keras
import numpy as np
import pytest

import keras_htaf

ROOT = Path(__file__).parents[1]
MODULES = [
    module.name
    for module in pkgutil.walk_packages(keras_htaf.__path__, "keras_htaf.")
    if not module.name.startswith(("keras_htaf.backend", "keras_htaf.cli"))
]


def test_readme_examples(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    blocks = re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)
    keras.utils.set_random_seed(0)
    scope = {}
    for block in blocks:
        exec(block, scope)
    assert set(np.unique(scope["bits"])) == {0.0, 1.0}
    x_test, y_test = scope["x_test"].reshape(-1, 64), scope["y_test"]
    assert scope["signs"]["layer1/kernel"].shape == (64 * 128 // 8,)
    assert scope["error"] < 0.15
    assert Path("diagnosis.png").stat().st_size > 10_000
    _, accuracy = keras_htaf.harden(scope["model"]).evaluate(x_test, y_test, verbose=0)
    assert accuracy > 0.93


def _run(page: str) -> dict:
    """What the code blocks of a page define, one after the other."""
    text, scope = (ROOT / page).read_text(encoding="utf-8"), {}
    for block in re.findall(r"```python\n(.*?)```", text, re.DOTALL):
        exec(block, scope)
    return scope


def test_larq_page(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    scope = _run("docs/larq.md")
    assert keras_htaf.summary(scope["model"]).weights == {1: 93088, 32: 468}
    convolutions = [layer for layer in scope["blocks"].layers if hasattr(layer, "pad_value")]
    assert [layer.pad_value for layer in convolutions] == [1, 1]
    for kernel in keras_htaf.optimizers.binary_kernels(scope["bop_model"]):
        assert set(np.unique(keras.ops.convert_to_numpy(kernel.variable))) == {-1, 1}
    np.testing.assert_array_equal(2 * scope["bits"].astype("int8") - 1, scope["signs"])
    for name in re.findall(
        r"`((?:layers|quantizers|optimizers|callbacks|models|ops|constraints|export|"
        r"initializers|surrogates|packed)\.\w+)",
        "\n".join(_columns(ROOT / "docs/larq.md", 2)),
    ):
        room, thing = name.split(".")
        assert hasattr(getattr(keras_htaf, room), thing), name


LARQ = """
QuantDense QuantConv1D QuantConv2D QuantConv3D QuantDepthwiseConv2D QuantSeparableConv1D
QuantSeparableConv2D QuantConv2DTranspose QuantConv3DTranspose QuantLocallyConnected1D
QuantLocallyConnected2D ApproxSign DoReFa DoReFaQuantizer MagnitudeAwareSign NoOp NoOpQuantizer
Quantizer SteHeaviside SteSign SteTern SwishSign get get_kernel_quantizer serialize deserialize
"ste_sign" "approx_sign" "swish_sign" "ste_heaviside" "magnitude_aware_sign" "ste_tern"
"dorefa_quantizer" optimizers.Bop optimizers.CaseOptimizer callbacks.HyperparameterScheduler
constraints.WeightClip "weight_clip" metrics.FlipRatio context.metrics_scope context.quantized_scope
context.get_training_metrics context.should_quantize activations.hard_tanh activations.leaky_tanh
math.sign math.heaviside models.summary utils.memory_as_readable_str
utils.register_keras_custom_object utils.register_alias utils.set_precision
"""
"""The public names of Larq 0.13.3."""


def test_larq_page_has_every_name():
    text = "\n".join(_columns(ROOT / "docs/larq.md", 1))
    missing = [name for name in LARQ.split() if not re.search(rf"`{name}(?![\w.])", text)]
    assert not missing


def test_names_of_larq_that_are_names_here():
    text = "\n".join(_columns(ROOT / "docs/larq.md", 2))
    for name in re.findall(r'`"(\w+)"`', text):
        assert name == "hard_tanh" or keras_htaf.quantizers.get(name) is not None


def test_interpret_page(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    scope = _run("docs/interpret.md")
    assert scope["analysis"].codes.accuracy() > 0.8
    assert (tmp_path / "report.html").stat().st_size > 50_000
    assert (tmp_path / "tables/bits.csv").exists()


def test_spiking_page(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    scope = _run("docs/spiking.md")
    x, y = scope["x"], scope["y"]
    for name, least in (("model", 0.9), ("relu", 0.85), ("spiking", 0.8)):
        decided = scope[name].predict(x, verbose=0).argmax(-1)
        assert np.mean(decided == y) > least, name
    counts = keras.ops.convert_to_numpy(scope["counts"])
    np.testing.assert_array_equal(counts, scope["model"].predict(x[:5], verbose=0))
    joined = np.concatenate(scope["outputs"], axis=1)
    np.testing.assert_allclose(joined, scope["whole"], atol=1e-5)
    for picture in ("raster", "membrane", "rates"):
        assert (tmp_path / f"{picture}.png").stat().st_size > 5_000


def test_large_data_page(tmp_path, monkeypatch):
    pytest.importorskip("grain")
    monkeypatch.chdir(tmp_path)
    scope = _run("docs/large_data.md")
    assert scope["stream"].epoch == 5
    assert scope["images"].shape == (8, 24, 24, 3)
    _, accuracy = scope["model"].evaluate(*scope["data"].test.arrays(), verbose=0)
    assert accuracy > 0.8


def _columns(page: Path, column: int) -> list[str]:
    rows = [line for line in page.read_text(encoding="utf-8").splitlines() if line.startswith("|")]
    return [row.split("|")[column] for row in rows]


QUICK = {
    "deep_heaviside.py": ["--depth", "4", "--width", "64", "--epochs", "10"],
    "binary_images.py": ["--epochs", "10", "--log", os.devnull],
    "function_with_jumps.py": ["--samples", "2000", "--epochs", "10"],
}
"""Arguments with which an example takes seconds; the others have none."""

JUMPS = ROOT / "examples" / "function_with_jumps.py"
ON_RAY = ROOT / "examples" / "concepts_on_ray.py"  # run in tests/jobs


@pytest.mark.parametrize(
    "file", sorted({*ROOT.glob("examples/*.py")} - {JUMPS, ON_RAY}), ids=lambda f: f.name
)
def test_example(file, capsys, monkeypatch):
    monkeypatch.setattr(sys, "argv", [str(file), *QUICK.get(file.name, [])])
    runpy.run_path(str(file))
    accuracy = re.search(r"exact steps on the test part: ([\d.]+)%", capsys.readouterr().out)
    assert float(accuracy[1]) > 93


def test_example_of_a_regression(tmp_path, capsys, monkeypatch):
    figure = tmp_path / "jumps.png"
    monkeypatch.setattr(sys, "argv", [str(JUMPS), *QUICK[JUMPS.name], "--figure", str(figure)])
    runpy.run_path(str(JUMPS))
    table = capsys.readouterr().out
    percent_of_y = {
        name: float(re.search(rf"{name} .*? \+- .*? ([\d.]+) \+-", table)[1])
        for name in ("exact steps", "ReLU", "boosted trees")
    }
    assert max(percent_of_y.values()) < 60, table
    assert figure.stat().st_size > 10_000


@pytest.mark.parametrize("name", MODULES)
def test_docstring_examples(name, tmp_path):
    module = importlib.import_module(name)
    names = {"keras": keras, "np": np, "keras_htaf": keras_htaf, "tmp": tmp_path}
    result = doctest.testmod(
        module, extraglobs=names, optionflags=doctest.NORMALIZE_WHITESPACE | doctest.ELLIPSIS
    )
    assert result.failed == 0


@pytest.mark.parametrize(
    "page", ["README.md", "CONTRIBUTING.md", *ROOT.glob("docs/**/*.md")], ids=str
)
def test_links_lead_somewhere(page):
    page = ROOT / page
    for target in re.findall(r"\]\((?!https?:)([^)#]+)", page.read_text(encoding="utf-8")):
        assert (page.parent / target).exists(), target
