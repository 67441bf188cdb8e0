"""Export formats, by the backend that trained and the kind of model: what works, and by how much.

    python tools/bench/export_matrix.py

Each row is a process of its own: Keras on one backend trains a small model on the digits, and
exports it in all formats, each of which is run in its runtime and compared with the model on 100
test images (a stream: on random inputs and states). SavedModels and ONNX files are then run once
more by a process in which neither keras nor keras_htaf can be imported, and their decisions
compared with what the trained model predicts. Rows that are finished are kept in --log, so an
interrupted run goes on where it stopped. The page is docs/results/export.md.
"""

from __future__ import annotations

import argparse
import datetime
import importlib.metadata
import json
import os
import platform
import subprocess
import sys
import tempfile
from pathlib import Path

import result_file

BACKENDS = ("tensorflow", "jax", "torch")
MODELS = {
    "icbm": "ICBM, 16 bits",
    "heaviside": "deep Heaviside, 4 convolutional layers",
    "binary": "binary VGG, 3 layers",
    "spiking": "spiking MLP, T = 8",
    "streaming": "the same as a stream, 2 steps a call",
}
FORMATS = ("tf_saved_model", "onnx", "openvino", "litert", "torch", "packed")
PACKAGES = ("keras", "tensorflow", "jax", "torch", "tf2onnx", "onnxscript", "onnxruntime")
PACKAGES += ("openvino", "ai-edge-litert", "numba")
PAGE = Path(__file__).parents[2] / "docs" / "results" / "export.md"
APART = ("tf_saved_model", "onnx")


def trained(kind: str):
    """The model after two epochs on the digits, and 100 test images."""
    import keras

    from keras_htaf import datasets, models

    keras.utils.set_random_seed(0)
    data = datasets.load("digits")
    shape, classes = data.image_shape, data.num_classes
    spiking = {"num_steps": 8, "width": 64}
    build = {
        "icbm": lambda: models.icbm(num_concepts=16, num_classes=classes, input_shape=shape),
        "heaviside": lambda: models.deep_heaviside_network(
            shape, classes, kind="convolutional", depth=4, width=8, stages=2
        ),
        "binary": lambda: models.binary_vgg(shape, classes, filters=(16, 32)),
        "spiking": lambda: models.spiking_mlp(shape, classes, **spiking),
        "streaming": lambda: models.spiking_mlp(shape, classes, **spiking),
    }
    model = build[kind]()
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(keras.optimizers.Adam(3e-3), loss, metrics=["accuracy"])
    model.fit(data.train.batches(64, shuffle=True, seed=0), epochs=2, verbose=0)
    x, y = (array[:100] for array in data.test.arrays())
    return model, x, y


def row(kind: str) -> dict:
    """By the format, "works", the largest difference and the samples at an edge; or the reason."""
    import numpy as np

    from keras_htaf import harden
    from keras_htaf.export import FORMATS as KINDS
    from keras_htaf.export import export
    from keras_htaf.hardening import step_layers
    from keras_htaf.models import streaming

    model, x, y = trained(kind)
    exact = harden(model) if step_layers(model) else model
    logits = exact.predict(x, verbose=0)
    model = streaming(model, 2) if kind == "streaming" else model
    samples = None if kind == "streaming" else x
    cells, alone = {}, {}
    with tempfile.TemporaryDirectory() as folder:
        for format in FORMATS:
            path = Path(folder) / f"{format}{KINDS[format].suffix}"
            try:
                result = export(model, path, format, samples=samples)
                cells[format] = {"largest": result.largest, "at_rounding": result.at_rounding}
                if format in APART and kind != "streaming":
                    name = model.inputs[0].name
                    alone[format] = _alone(format, path, {name: x}, logits)
            except (ValueError, RuntimeError, ImportError) as error:
                cells[format] = {"reason": str(error)}
            print(format, cells[format], flush=True)
    accuracy = float(np.mean(logits.argmax(1) == y))
    return {"cells": cells, "alone": alone, "accuracy": accuracy}


def _alone(format: str, path: Path, batch: dict, logits) -> dict:
    """Decisions of an artifact in a process that cannot import keras or keras_htaf."""
    import numpy as np

    from keras_htaf.export import runtimes

    given, made = path.with_suffix(".in.npz"), path.with_suffix(".out.npz")
    runtimes.write_arrays(given, [batch], [])
    script = [sys.executable, "-P", runtimes.__file__, format, path, given, made]
    subprocess.run(list(map(str, script)), check=True, capture_output=True, timeout=300)
    found = runtimes.read_arrays(made)[0][0]["logits"]
    same = int(np.sum(found.argmax(1) == logits.argmax(1)))
    return {"same": same, "of": len(logits), "largest": float(np.abs(found - logits).max())}


def run(log: Path) -> dict[str, dict]:
    """All rows; those that the log does not have, each by a process."""
    log.parent.mkdir(parents=True, exist_ok=True)
    done = {found["key"]: found for found in result_file.read(log)}
    for backend in BACKENDS:
        for kind in MODELS:
            key = f"{backend} {kind}"
            if key not in done:
                environment = {**os.environ, "KERAS_BACKEND": backend, "TF_CPP_MIN_LOG_LEVEL": "3"}
                command = [sys.executable, __file__, "--row", kind]
                ended = subprocess.run(command, env=environment, capture_output=True, text=True)
                if ended.returncode:
                    raise RuntimeError(f"{key}:\n{ended.stderr[-3000:]}")
                done[key] = {"key": key, **json.loads(ended.stdout.splitlines()[-1])}
                result_file.append(log, done[key])
            print(
                key, {f: c.get("largest", "-") for f, c in done[key]["cells"].items()}, flush=True
            )
    return done


def page(done: dict[str, dict]) -> str:
    """The results as Markdown."""
    versions = ", ".join(f"{name} {importlib.metadata.version(name)}" for name in PACKAGES)
    reasons: dict[str, int] = {}
    parts = [
        "---\nhide: [toc]\n---",
        "# Export: what works, from where",
        "    python tools/bench/export_matrix.py",
        f"{versions}; {platform.machine()} without a GPU; {datetime.date.today()}. "
        "Each model was trained for two epochs on the digits by the backend of its row, then "
        "exported with exact steps in each format; where that backend cannot write the format, "
        "another one did (see [the guide](../export.md)). A "
        "number means: it works, for batches of 96, 3 and 1, all bits and decisions are the "
        "model's, and that is the largest difference of any output (logits, probabilities, bits, "
        "states) on 100 test images (streams: batches of 12, 3 and 1 of random inputs and states). "
        '"n at an edge": so many samples were left out, in which a step received a number '
        "within rounding of its threshold and gave the other bit. A number in brackets is a "
        "reason below.",
        _numbers(_matrix(done, reasons)),
        *(f"[{number}] {reason}" for reason, number in reasons.items()),
        "## Where Keras is not",
        "The same SavedModels and ONNX files in a process in which neither `keras` nor "
        "`keras_htaf` can be imported: how many of 100 decisions are those that the trained model, "
        "with exact steps, predicts in Keras on the backend that trained it; the largest "
        "difference of a logit; and the accuracy on these 100 images (two epochs only).",
        _numbers(_apart(done)),
    ]
    return "\n\n".join(parts) + "\n"


def _numbers(table: str) -> str:
    """A table whose cells the site does not break."""
    return f'<div class="numbers" markdown>\n\n{table}\n\n</div>'


def _matrix(done, reasons) -> str:
    lines = [f"| model | trained on | {' | '.join(FORMATS)} |", "| --- " * (len(FORMATS) + 2) + "|"]
    for kind, title in MODELS.items():
        for backend in BACKENDS:
            cells = done[f"{backend} {kind}"]["cells"]
            texts = [_cell(cells[format], reasons) for format in FORMATS]
            lines.append(f"| {title} | {backend} | {' | '.join(texts)} |")
    return "\n".join(lines)


def _cell(cell: dict, reasons: dict[str, int]) -> str:
    if "reason" in cell:
        number = reasons.setdefault(_told(cell["reason"]), len(reasons) + 1)
        return f"no [{number}]"
    left = f", {cell['at_rounding']} at an edge" if cell["at_rounding"] else ""
    return f"{cell['largest']:.0e}{left}"


def _told(reason: str) -> str:
    """A reason in one line."""
    lines = [line.strip() for line in reason.splitlines() if line.strip()]
    return "; ".join(lines[:1] + lines[-1:] if len(lines) > 8 else lines).replace(":;", ":")[:600]


def _apart(done) -> str:
    lines = ["| model | trained on | accuracy | SavedModel | ONNX |", "| --- " * 5 + "|"]
    for kind, title in MODELS.items():
        for backend in BACKENDS:
            found = done[f"{backend} {kind}"]
            if alone := found["alone"]:
                texts = [
                    f"{alone[f]['same']} of {alone[f]['of']}, {alone[f]['largest']:.0e}"
                    for f in APART
                ]
                lines.append(
                    f"| {title} | {backend} | {found['accuracy']:.0%} | {' | '.join(texts)} |"
                )
    return "\n".join(lines)


def main() -> None:
    """Run what is missing, and write the page."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--log", type=Path, default=Path("runs/export_matrix.jsonl"))
    parser.add_argument("--page", type=Path, default=PAGE)
    parser.add_argument("--row", choices=list(MODELS), help="one row, in this process, as JSON")
    options = parser.parse_args()
    if options.row:
        print(json.dumps(row(options.row)))
        return
    options.page.write_text(page(run(options.log)), encoding="utf-8")


if __name__ == "__main__":
    main()
