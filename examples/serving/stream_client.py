"""A spiking model over the Open Inference Protocol, its state kept by the client.

    python examples/serving/stream_client.py http://127.0.0.1:8080 streaming sequence.npy

The model is one that `keras_htaf.models.streaming` made and `keras_htaf.export.export` wrote. Each
request carries a few steps of the sequence (steps, features) and the states that the answer before
gave; the server keeps nothing, so that any of its processes may answer. Printed is the result so
far after each piece.

States begin with zeros unless the model's card (`--card`, the card.json that the export wrote) says
otherwise in "initial_states": a maximum over time begins with "-inf", for one.

Needs numpy only.
"""

from __future__ import annotations

import argparse
import json
import sys
import urllib.request

import numpy as np

TYPES = {"FP32": "<f4", "FP64": "<f8", "FP16": "<f2", "INT32": "<i4", "INT64": "<i8", "BOOL": "?"}
LENGTH = "Inference-Header-Content-Length"


class Stream:
    """One stream through a model.

    Args:
        url: Of the server.
        model: Its name there.
        streams: How many sequences go through at once.
        first: What states begin with, by name: arrays, numbers or "-inf" and "nan" as cards have
            them; zeros for those that are missing.
    """

    def __init__(self, url: str, model: str, streams: int = 1, first: dict | None = None):
        self.address = f"{url}/v2/models/{model}"
        with urllib.request.urlopen(self.address) as answer:
            about = json.load(answer)
        outputs = {each["name"] for each in about["outputs"]}
        # A state that goes in as NAME comes out as NAME_next.
        self.inputs = [each for each in about["inputs"] if f"{each['name']}_next" not in outputs]
        states = [each for each in about["inputs"] if f"{each['name']}_next" in outputs]
        first = first or {}
        if unknown := set(first) - {each["name"] for each in states}:
            raise ValueError(f"Received first states {sorted(unknown)}, which {model!r} has not.")
        self.states = {}
        for each in states:
            self.states[each["name"]] = state = np.empty(
                [streams, *each["shape"][1:]], TYPES[each["datatype"]]
            )
            state[...] = np.asarray(first.get(each["name"], 0), state.dtype)
        self.types = {each["name"]: each["datatype"] for each in about["inputs"]}

    @property
    def chunk(self) -> int:
        """The number of steps that each request takes."""
        return self.inputs[0]["shape"][1]

    def __call__(self, x: np.ndarray) -> dict[str, np.ndarray]:
        """The outputs for the next piece of the sequences, (streams, chunk, features)."""
        arrays = {self.inputs[0]["name"]: x, **self.states}
        blocks = [
            np.ascontiguousarray(x, TYPES[self.types[name]]).tobytes() for name, x in arrays.items()
        ]
        tensors = [
            {
                "name": name,
                "shape": np.shape(x),
                "datatype": self.types[name],
                "parameters": {"binary_data_size": len(block)},
            }
            for (name, x), block in zip(arrays.items(), blocks, strict=True)
        ]
        text = json.dumps({"inputs": tensors, "parameters": {"binary_data_output": True}}).encode()
        request = urllib.request.Request(
            f"{self.address}/infer", b"".join([text, *blocks]), {LENGTH: str(len(text))}
        )
        with urllib.request.urlopen(request) as answer:
            body, length = answer.read(), int(answer.headers[LENGTH])
        outputs, offset = {}, length
        for each in json.loads(body[:length])["outputs"]:
            size = each["parameters"]["binary_data_size"]
            flat = np.frombuffer(body[offset : offset + size], TYPES[each["datatype"]])
            outputs[each["name"]], offset = flat.reshape(each["shape"]), offset + size
        self.states = {name: outputs.pop(f"{name}_next") for name in self.states}
        return outputs


def main() -> None:
    """Send a sequence in pieces."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("url")
    parser.add_argument("model")
    parser.add_argument("sequence", help="A .npy file, (steps, features).")
    parser.add_argument("--card", help="Card of the model, for what its states begin with.")
    options = parser.parse_args()
    sequence, first = np.load(options.sequence), None
    if options.card is not None:
        with open(options.card, encoding="utf-8") as file:
            first = json.load(file).get("initial_states")
    stream = Stream(options.url, options.model, first=first)
    for begin in range(0, len(sequence) - stream.chunk + 1, stream.chunk):
        outputs = stream(sequence[None, begin : begin + stream.chunk])
        for name, values in outputs.items():
            print(f"after {begin + stream.chunk} steps, {name}: {values[0].tolist()}")
    if left := len(sequence) % stream.chunk:
        sys.exit(
            f"The last {left} of {len(sequence)} steps were not sent: the model takes "
            f"{stream.chunk} at a time."
        )


if __name__ == "__main__":
    main()
