"""Run the suite under coverage, once per backend, and fail below a share of lines.

    python tools/measure_coverage.py [--backend jax] [--least 90] [pytest arguments]

Counted are the three packages, in the processes that tests start too. Left out are the modules of
the other backends, which cannot run, and Numba's kernels: their lines run as machine code, which no
tracer sees (tests hold them equal to definitions in numpy, which are counted). Exits with 1 if a
test fails or a backend's share is too small.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).parents[1]
BACKENDS = ("tensorflow", "jax", "torch")
SETTINGS = """
[run]
source_pkgs = keras_htaf, keras_htaf_cli, keras_htaf_packed
parallel = true
sigterm = true
patch = subprocess
data_file = {folder}/data
omit =
    {omitted}

[report]
precision = 1
skip_covered = true
exclude_also =
    if TYPE_CHECKING:
    raise NotImplementedError
"""


def settings(folder: Path, backend: str) -> Path:
    """A configuration for one backend, written into a folder."""
    others = [
        f"*/keras_htaf/backend/{room}{name}.py"
        for room in ("", "replicas/")
        for name in BACKENDS
        if name != backend
    ]
    omitted = "\n    ".join([*others, "*/keras_htaf_packed/kernels/*"])
    file = folder / "coveragerc"
    file.write_text(SETTINGS.format(folder=folder, omitted=omitted), encoding="utf-8")
    return file


def measure(backend: str, least: float, arguments: list[str]) -> int:
    """Run pytest under a backend; its exit code, not 0 below `least` percent either."""
    environment = os.environ | {"KERAS_BACKEND": backend, "TF_CPP_MIN_LOG_LEVEL": "3"}
    with tempfile.TemporaryDirectory() as folder:
        config = settings(Path(folder), backend)
        command = [sys.executable, "-m", "pytest", "-q", "--cov", f"--cov-config={config}"]
        command += ["--cov-report=term-missing", f"--cov-fail-under={least}", *arguments]
        return subprocess.run(command, cwd=ROOT, env=environment, check=False).returncode


def main() -> int:
    """Measure all backends, one after the other."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--backend", action="append", choices=BACKENDS, help="default: all")
    parser.add_argument("--least", type=float, default=90.0, help="percent; default 90")
    options, arguments = parser.parse_known_args()
    codes = {}
    for backend in options.backend or BACKENDS:
        print(f"== {backend}", flush=True)
        codes[backend] = measure(backend, options.least, arguments or ["-m", "not slow"])
    print(", ".join(f"{backend}: exit code {code}" for backend, code in codes.items()))
    return int(any(codes.values()))


if __name__ == "__main__":
    sys.exit(main())
