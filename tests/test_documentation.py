"""What README, guides and examples show must run."""

from __future__ import annotations

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


def _run(page: str, scope: dict | None = None) -> dict:
    """What the code blocks of a page define, one after the other."""
    text = (ROOT / page).read_text(encoding="utf-8")
    scope = {} if scope is None else scope
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


@pytest.mark.skipif(
    keras.config.backend() != "tensorflow", reason="tests/export has what other backends write"
)
def test_export_page(tmp_path, monkeypatch):
    for package in ("onnxruntime", "tf2onnx"):
        pytest.importorskip(package)
    monkeypatch.chdir(tmp_path)
    scope = _run("docs/export.md")
    assert scope["result"].equal
    names = [row.output for row in scope["result"].rows]
    assert names == ["logits", "probabilities", "concepts"]
    assert set(np.unique(scope["bits"])) == {0.0, 1.0}
    assert scope["scope"]["outputs"]["logits"].shape == (1, 10)
    np.testing.assert_array_equal(np.concatenate(scope["pieces"], axis=1), scope["whole"])


@pytest.mark.skipif(keras.config.backend() != "torch", reason="the same under each backend")
def test_serving_page(tmp_path, monkeypatch, capsys):
    for package in ("kserve", "onnxruntime", "onnxscript"):
        pytest.importorskip(package)
    monkeypatch.chdir(tmp_path)
    scope = {}
    try:
        _run("docs/serving.md", scope)
    finally:
        if "server" in scope:
            scope["server"].kill()
    assert scope["server"].wait() == 0
    assert len(capsys.readouterr().out.splitlines()) >= 5


def test_large_data_page(tmp_path, monkeypatch):
    pytest.importorskip("grain")
    monkeypatch.chdir(tmp_path)
    scope = _run("docs/large_data.md")
    assert scope["stream"].epoch == 5
    assert scope["images"].shape == (8, 24, 24, 3)
    _, accuracy = scope["model"].evaluate(*scope["data"].test.arrays(), verbose=0)
    assert accuracy > 0.8


def test_resuming_page(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    scope = _run("docs/resuming.md")
    assert len(scope["history"].history["sharpness"]) == 4
    assert [file.name for file in Path("runs/digits").iterdir()] == ["checkpoint.npz"]


GUIDES = [
    *("index", "quickstart", "your_model", "deep", "binary", "extending", "keras_spiking"),
    *("maths", "inside"),
]
"""Pages of docs/ whose blocks of code only have to run; the others are looked at more closely."""


@pytest.mark.parametrize("page", GUIDES)
def test_guide(page, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    keras.utils.set_random_seed(0)
    _run(f"docs/{page}.md")


def test_snntorch_page(tmp_path, monkeypatch):
    """The converted network gives the spikes of the original, which the page shows too."""
    monkeypatch.chdir(tmp_path)
    net, x = (_run("docs/snntorch.md")[name] for name in ("net", "x_test"))
    snn, torch = pytest.importorskip("snntorch"), pytest.importorskip("torch")
    page = (ROOT / "docs/snntorch.md").read_text(encoding="utf-8")
    original = re.search(r"```\n(class Net.*?)```", page, re.DOTALL)[1]
    exec(original, scope := {"snn": snn, "torch": torch})
    theirs = scope["Net"]()
    with torch.no_grad():
        for name in ("fc1", "fc2"):
            kernel, bias = net.get_layer(name).get_weights()
            getattr(theirs, name).weight.copy_(torch.tensor(kernel.T))
            getattr(theirs, name).bias.copy_(torch.tensor(bias))
        x = x[:50].reshape(50, 64)
        expected = theirs(torch.tensor(x)).numpy().swapaxes(0, 1)
    found = net.predict(x, verbose=0)
    assert found.shape == expected.shape == (50, 25, 10)
    assert 0.01 < expected.mean() < 0.5
    # A potential within rounding of the threshold may fire a step sooner or later.
    assert np.mean(found != expected) < 0.01


@pytest.mark.parametrize("page", ["snntorch", "keras_spiking"])
def test_names_here(page):
    text = "\n".join(_columns(ROOT / f"docs/{page}.md", 2))
    rooms = "layers|models|surrogates|losses|metrics|callbacks|regularizers|pictures|exchange|ops"
    found = re.findall(rf"`(?:keras_htaf\.)?({rooms})\.(\w+)", text)
    assert len(found) > 8
    for room, thing in found:
        assert hasattr(getattr(keras_htaf, room), thing), f"{room}.{thing}"


def test_names_of_snntorch():
    snn = pytest.importorskip("snntorch")
    text = "\n".join(_columns(ROOT / "docs/snntorch.md", 1))
    for room, name in re.findall(r"`(\w+)\.(\w[\w.]*)", text):
        assert pkgutil.resolve_name(f"snntorch.{room}.{name}") is not None
    for name in re.findall(r"`([A-Z]\w+)", text):
        assert hasattr(snn, name) or name in ("LSO", "SFS"), name


def _columns(page: Path, column: int) -> list[str]:
    rows = [line for line in page.read_text(encoding="utf-8").splitlines() if line.startswith("|")]
    return [row.split("|")[column] for row in rows]


QUICK = {
    "deep_heaviside.py": ["--depth", "4", "--width", "64", "--epochs", "10"],
    "binary_images.py": ["--epochs", "10"],
    "function_with_jumps.py": ["--epochs", "20"],
    "packed_inference.py": ["--width", "128", "--epochs", "12"],
    "report_of_an_icbm.py": ["--epochs", "10"],
    "spiking_conversion.py": ["--steps", "8", "64"],
}
"""Arguments with which an example takes seconds; the others need none."""

ONCE = {
    "export_a_model.py": "tensorflow",
    "packed_inference.py": "torch",
    "report_of_an_icbm.py": "jax",
    "spiking_conversion.py": "torch",
}
"""Examples of what is tested on all backends elsewhere."""

JUMPS = ROOT / "tools" / "bench" / "function_with_jumps.py"
ON_RAY = ROOT / "examples" / "concepts_on_ray.py"  # run in tests/jobs


@pytest.mark.parametrize(
    "file", sorted({*ROOT.glob("examples/*.py")} - {ON_RAY}), ids=lambda f: f.name
)
def test_example(file, tmp_path, capsys, monkeypatch):
    if ONCE.get(file.name, keras.config.backend()) != keras.config.backend():
        pytest.skip(f"runs on {ONCE[file.name]}")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", [str(file), *QUICK.get(file.name, [])])
    runpy.run_path(str(file))
    accuracy = re.search(r"exact steps on the test part: ([\d.]+)%", capsys.readouterr().out)
    assert float(accuracy[1]) > 93


def test_example_of_a_regression(tmp_path, capsys, monkeypatch):
    figure = tmp_path / "jumps.png"
    quick = ["--samples", "2000", "--epochs", "10", "--figure", str(figure)]
    monkeypatch.setattr(sys, "argv", [str(JUMPS), *quick])
    runpy.run_path(str(JUMPS))
    table = capsys.readouterr().out
    percent_of_y = {
        name: float(re.search(rf"{name} .*? \+- .*? ([\d.]+) \+-", table)[1])
        for name in ("exact steps", "ReLU", "boosted trees")
    }
    assert max(percent_of_y.values()) < 60, table
    assert figure.stat().st_size > 10_000


@pytest.mark.parametrize(
    "page", ["README.md", "CONTRIBUTING.md", *ROOT.glob("docs/**/*.md")], ids=str
)
def test_links_lead_somewhere(page):
    page = ROOT / page
    text = re.sub(r"```.*?```", "", page.read_text(encoding="utf-8"), flags=re.DOTALL)
    for target in re.findall(r"\]\((?!https?:)([^)#]+)", text):
        assert (page.parent / target).exists(), target
