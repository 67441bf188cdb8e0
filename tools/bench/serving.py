"""Load on `keras-htaf serve` beside plain calls of the same artifacts.

    python tools/bench/serving.py --out docs/results/serving.md
    python tools/bench/serving.py --seconds 60 --lines "v2 64x16" --only "ICBM, ONNX"

The first takes some ten minutes; `--seconds` and `--lines` make it longer or shorter. The status is
1 if any answer was not 200 or any socket failed.

An ICBM for images of 8 x 8 pixels and a binary network of the same size are exported; how fast they
are does not depend on their weights, which are random. For each artifact a server of its own is
loaded over the loopback with wrk, at full speed for `--seconds`, and the runtime alone is called in
a loop. Each wants one core of its own at least; tell how many there are beside the numbers.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import re
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from datetime import date
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import numpy as np

ROOT = Path(__file__).parents[2]
SHAPE = (8, 8, 1)
LUA = """
local file = io.open("{body}", "rb")
wrk.method, wrk.body = "POST", file:read("*a")
file:close()
{headers}
"""
CALLS = """
import json, sys, time
import numpy as np
from keras_htaf.serving import Artifact
from keras_htaf.serving.runners import load
runner = load(Artifact.at(sys.argv[1]), 1)
names, rows = runner.signatures["serving_default"], int(sys.argv[2])
feeds = {s.name: np.random.default_rng(0).random(s.example(rows).shape, "float32")
         for s in runner.inputs}
times, end = [], time.perf_counter() + float(sys.argv[3])
while (begin := time.perf_counter()) < end:
    runner.run(feeds, names)
    times.append(time.perf_counter() - begin)
print(json.dumps(times))
"""


def export_models(folder: Path) -> dict[str, Path]:
    """The artifacts by the names of their rows."""
    import keras

    import keras_htaf

    keras.utils.set_random_seed(0)
    icbm = keras_htaf.models.icbm(num_concepts=64, num_classes=10, input_shape=SHAPE)
    binary = keras_htaf.models.binary_mlp((64,), 10, width=256, depth=3)
    paths = {}
    for name, model, format, suffix in (
        ("ICBM, SavedModel", icbm, "tf_saved_model", ""),
        ("ICBM, ONNX", icbm, "onnx", ".onnx"),
        ("binary network, packed", binary, "packed", ".khtaf"),
        ("binary network, SavedModel", binary, "tf_saved_model", ""),
    ):
        paths[name] = folder / f"model{len(paths)}{suffix}"
        keras_htaf.export.export(model, paths[name], format)
    return paths


class Served:
    """A server for one artifact."""

    def __init__(self, path: Path, *options: str):
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        self.url, self.name = f"http://127.0.0.1:{port}", path.stem
        command = [sys.executable, "-m", "keras_htaf_cli", "serve", str(path)]
        command += ["--port", str(port), *options]
        self.process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
        while True:
            try:
                with urllib.request.urlopen(f"{self.url}/v2/models/{self.name}") as answer:
                    self.input = json.load(answer)["inputs"][0]
                return
            except OSError:
                if self.process.poll() is not None:
                    raise RuntimeError("The server ended.") from None
                time.sleep(0.2)

    def memory(self) -> float:
        """Resident MiB."""
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        return int(re.search(r"VmRSS:\s+(\d+)", status)[1]) / 1024

    def files(self) -> int:
        """Open files."""
        return len(os.listdir(f"/proc/{self.process.pid}/fd"))

    def __enter__(self) -> Served:
        return self

    def __exit__(self, *_) -> None:
        self.process.send_signal(signal.SIGTERM)
        if status := self.process.wait(60):
            sys.exit(f"The server ended with {status}.")

    def request(self, protocol: str, rows: int) -> tuple[str, bytes, dict[str, str]]:
        """Address, body and headers."""
        shape = [rows, *self.input["shape"][1:]]
        x = np.random.default_rng(0).random(shape, "float32")
        if protocol == "v1 JSON":
            body = json.dumps({"instances": np.round(x.astype(float), 4).tolist()}).encode()
            address = f"{self.url}/v1/models/{self.name}:predict"
            return address, body, {"Content-Type": "application/json"}
        tensor = {"name": self.input["name"], "shape": shape, "datatype": "FP32"}
        tensor["parameters"] = {"binary_data_size": x.nbytes}
        asked = {"inputs": [tensor], "parameters": {"binary_data_output": True}}
        text = json.dumps(asked).encode()
        headers = {"Inference-Header-Content-Length": str(len(text))}
        return f"{self.url}/v2/models/{self.name}/infer", text + x.tobytes(), headers


def load(served: Served, protocol: str, rows: int, connections: int, seconds: float) -> dict:
    """What wrk says of full speed; errors are answers other than 200 and those of sockets."""
    address, body, headers = served.request(protocol, rows)
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "body").write_bytes(body)
        lines = "\n".join(f'wrk.headers["{k}"] = "{v}"' for k, v in headers.items())
        script = Path(folder) / "post.lua"
        script.write_text(LUA.format(body=Path(folder) / "body", headers=lines))
        command = ["wrk", "-t1", f"-c{connections}", "--latency", "--timeout", "30s", "-s"]
        run = [*command, str(script), address]
        subprocess.run([*run, "-d1s"], check=True, capture_output=True)
        before, files = served.memory(), served.files()
        done = subprocess.run(
            [*run, f"-d{seconds:g}s"], check=True, capture_output=True, text=True
        ).stdout
    time.sleep(0.5)  # connections are closed
    errors = re.search(r"Non-2xx or 3xx responses: (\d+)", done)
    sockets = re.search(
        r"Socket errors: connect (\d+), read (\d+), write (\d+), timeout (\d+)", done
    )
    return {
        "requests": int(re.search(r"(\d+) requests in", done)[1]),
        "rate": float(re.search(r"Requests/sec:\s+([\d.]+)", done)[1]),
        "p50": milliseconds(re.search(r"\s50%\s+(\S+)", done)[1]),
        "p99": milliseconds(re.search(r"\s99%\s+(\S+)", done)[1]),
        "errors": int(errors[1]) if errors else 0,
        "sockets": sum(map(int, sockets.groups())) if sockets else 0,
        "memory": (before, served.memory()),
        "files": (files, served.files()),
    }


def milliseconds(text: str) -> float:
    """Of a time as wrk prints it."""
    number, unit = re.fullmatch(r"([\d.]+)(us|ms|s)", text).groups()
    return float(number) * {"us": 1e-3, "ms": 1.0, "s": 1e3}[unit]


def calls(path: Path, rows: int, seconds: float) -> dict:
    """The runtime alone, in a loop, in a process of its own."""
    done = subprocess.run(
        [sys.executable, "-c", CALLS, str(path), str(rows), str(seconds)],
        check=True,
        capture_output=True,
        text=True,
    )
    times = np.array(json.loads(done.stdout.splitlines()[-1]))
    p50, p99 = 1e3 * np.percentile(times, (50, 99))
    return {"rate": len(times) / times.sum(), "p50": p50, "p99": p99}


PLAN = {
    "v1 1x1": ("v1 JSON", 1, 1, ()),
    "v1 1x16": ("v1 JSON", 1, 16, ()),
    "v1 1x16 apart": ("v1 JSON", 1, 16, ("--no-batching",)),
    "v2 1x16": ("v2 binary", 1, 16, ()),
    "v2 64x16": ("v2 binary", 64, 16, ()),
}
"""Protocol, rows of a request, connections, further options of the server."""
PLAIN = "plain"
DEFAULT = (PLAIN, "v1 1x16", "v2 1x16", "v2 64x16")
ALONE = 5.0
"""Seconds of plain calls, at most."""


def main() -> None:
    """Run all, and write the page."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=float, default=40.0, help="Of each line.")
    parser.add_argument("--out", type=Path, default=None)
    parser.add_argument(
        "--lines",
        nargs="+",
        choices=(PLAIN, *PLAN),
        default=DEFAULT,
        metavar="LINE",
        help=f"Some of: {', '.join((PLAIN, *PLAN))}.",
    )
    parser.add_argument("--only", default="", help="Artifacts whose row begins so.")
    options = parser.parse_args()
    if shutil.which("wrk") is None:
        sys.exit("wrk is missing: apt-get install wrk")
    plan = [PLAN[each] for each in PLAN if each in options.lines]
    lines, wrong = [], 0
    with tempfile.TemporaryDirectory() as folder:
        for name, path in export_models(Path(folder)).items():
            if not name.startswith(options.only):
                continue
            for rows in (1, 64) if PLAIN in options.lines else ():
                alone = calls(path, rows, min(ALONE, options.seconds))
                lines.append(row(name, "direct calls", rows, "-", alone))
                print(lines[-1], flush=True)
            for more in dict.fromkeys(each[3] for each in plan):
                with Served(path, "--threads", "1", *more) as served:
                    for protocol, rows, connections, wanted in plan:
                        if wanted != more:
                            continue
                        found = load(served, protocol, rows, connections, options.seconds)
                        wrong += found["errors"] + found["sockets"]
                        how = f"{protocol} {' '.join(more)}".strip()
                        lines.append(row(name, how, rows, connections, found))
                        print(lines[-1], flush=True)
    if options.out is not None:
        options.out.write_text(page(lines, options.seconds), encoding="utf-8")
    if wrong:
        sys.exit(f"{wrong} requests failed.")


def row(name, how, rows, connections, found) -> str:
    """A line of the table."""
    cells = [name, how, rows, connections, f"{found['rate']:,.0f}", f"{found['rate'] * rows:,.0f}"]
    cells += [f"{found['p50']:.2f}", f"{found['p99']:.2f}"]
    if "errors" in found:
        (before, after), (first, last) = found["memory"], found["files"]
        cells += [f"{found['errors']} + {found['sockets']} of {found['requests']:,}"]
        cells += [f"{before:.0f} → {after:.0f}", f"{first} → {last}"]
    else:
        cells += ["", "", ""]
    return f"| {' | '.join(map(str, cells))} |"


def page(lines: list[str], seconds: float) -> str:
    """The table with what it is of."""
    from importlib.metadata import version

    head = ["artifact", "way", "rows", "connections", "requests/s", "rows/s", "p50 ms", "p99 ms"]
    head += ["errors", "memory MiB", "open files"]
    return f"""---
hide: [toc]
---

# The server under load

Written by `python tools/bench/serving.py {shlex.join(sys.argv[1:])}`
on a machine ({platform.machine()}) with {os.cpu_count()} cores, Python
{platform.python_version()}, kserve {version("kserve")}, uvicorn {version("uvicorn")};
{date.today()}: one
server process with one thread for the model, loaded by one thread of wrk over the loopback for
{seconds:g} seconds at full speed, beside the same runtime called in a loop without a server
(direct calls).

Errors are answers other than 200, and errors of sockets (connect, read, write, timeout). Memory and
open files are those of the server at the beginning, after a second of load, and at the end.

<div class="numbers" markdown>

| {" | ".join(head)} |
|{"---|" * len(head)}
{chr(10).join(lines)}

</div>
"""


if __name__ == "__main__":
    main()
