"""How an artifact is loaded, in five lines of its runtime, and its card as a page."""

from __future__ import annotations

_LOAD = {
    "tf_saved_model": """import numpy as np, tensorflow as tf
model = tf.saved_model.load({path!r})
inputs = {inputs}
outputs = model.signatures["serving_default"](**{{k: tf.constant(x) for k, x in inputs.items()}})
outputs = {{name: y.numpy() for name, y in outputs.items()}}""",
    "onnx": """import numpy as np, onnxruntime
session = onnxruntime.InferenceSession({path!r}, providers=["CPUExecutionProvider"])
inputs = {inputs}
names = {outputs}
outputs = dict(zip(names, session.run(names, inputs)))""",
    "openvino": """import numpy as np, openvino
model = openvino.Core().compile_model({path!r}, "CPU", {{"INFERENCE_PRECISION_HINT": "f32"}})
inputs = {inputs}
made = model(inputs)
outputs = {{name: made[name] for name in {outputs}}}""",
    "litert": """import numpy as np
from ai_edge_litert.interpreter import Interpreter
run = Interpreter({path!r}).get_signature_runner("serving_default")
inputs = {inputs}
outputs = run(**inputs)""",
    "torch": """import numpy as np, torch
module = torch.export.load({path!r}).module()
inputs = {inputs}
outputs = module(*(torch.from_numpy(x) for x in inputs.values()))
outputs = {{name: y.detach().numpy() for name, y in outputs.items()}}""",
    "packed": """import numpy as np, keras_htaf_packed
model = keras_htaf_packed.load({path!r})
inputs = {inputs}
output = model.predict(*inputs.values())
outputs = {{{output!r}: output}}""",
}


def load(card: dict, name: str) -> str:
    """Five lines of Python that load the artifact `name`, beside them, and run it on zeros."""
    inputs = ", ".join(
        f"{x['name']!r}: np.zeros({tuple(size or 1 for size in x['shape'])}, {x['dtype']!r})"
        for x in card["inputs"]
    )
    outputs = [y["name"] for y in card["outputs"]]
    text = _LOAD[card["format"]]
    return text.format(path=name, inputs=f"{{{inputs}}}", outputs=outputs, output=outputs[0])


def page(card: dict) -> str:
    """A card as Markdown."""
    parts = [f"# {card['name']}", _facts(card), "## Inputs and outputs", _ends(card)]
    if card["metrics"]:
        parts += ["## How well it does", _table(("", "value"), sorted(card["metrics"].items()))]
    parts += ["## Checked against the model", _checked(card)]
    parts += ["## Load", f"```python\n{card['load']}\n```"]
    if card["bits"]:
        parts += ["## Bits and memory of each layer", _costs(card["bits"])]
    if card["concepts"]:
        parts += ["## Bits", ", ".join(card["concepts"])]
    return "\n\n".join(parts) + "\n"


def _facts(card: dict) -> str:
    rows = [(key, card[key]) for key in ("format", "kind", "steps", "data", "created", "backend")]
    rows += [("classes", ", ".join(card["classes"]) if card["classes"] else None)]
    rows += [("preprocessing", card["preprocessing"]), ("parameters", card["parameters"])]
    rows += [("size", f"{card['size_bytes']:,} bytes"), ("SHA-256", card["checksum"]["sha256"])]
    rows += [("made with", ", ".join(f"{k} {v}" for k, v in card["versions"].items()))]
    return _table(("", ""), [(key, value) for key, value in rows if value is not None])


def _ends(card: dict) -> str:
    rows = [
        (way, x["name"], tuple(x["shape"]), x["dtype"])
        for way, ends in (("in", card["inputs"]), ("out", card["outputs"]))
        for x in ends
    ]
    table = _table(("", "name", "shape", "dtype"), rows)
    if card["signatures"]:
        names = (f"`{name}`: {', '.join(ends)}" for name, ends in card["signatures"].items())
        table += "\n\nSignatures: " + "; ".join(names) + "."
    if card["states"]:
        pairs = (f"`{after}` becomes `{before}`" for before, after in card["states"].items())
        table += "\n\nIn the next call " + ", ".join(pairs) + "."
    return table


def _checked(card: dict) -> str:
    result = card["verification"]
    if result is None:
        return "Not checked."
    rows = [
        (row["output"], f"{row['max_abs_difference']:.1e}", row["decisions_equal"])
        for row in result["rows"]
    ]
    table = _table(("output", "largest difference", "decisions equal"), rows)
    left = f", {result['at_rounding']} left out at the edge of a step"
    return f"{table}\n\n{result['samples']} samples{left if result['at_rounding'] else ''}."


def _costs(bits: dict) -> str:
    widths = list(bits["weights"])
    head = ("layer", "bits in", "bits out", *(f"{width}-bit weights" for width in widths), "KiB")
    total = {**bits, "name": "total", "input_bits": "", "output_bits": ""}
    rows = [
        (
            *(row[key] for key in ("name", "input_bits", "output_bits")),
            *(f"{row['weights'][width]:,}" if width in row["weights"] else "" for width in widths),
            f"{row['memory']['packed'] / 1024:,.2f}" if row["weights"] else "",
        )
        for row in (*bits["layers"], total)
    ]
    return _table(head, rows)


def _table(head: tuple, rows) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(str(x) for x in line) + " |" for line in lines)
