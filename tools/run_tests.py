"""Run the whole suite once per backend, each in its own process, and sum up.

    python tools/run_tests.py [pytest arguments]

Slow trainings are left out unless `-m slow` is given. Exits with 1 if anything failed.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
import xml.etree.ElementTree as ElementTree
from pathlib import Path

BACKENDS = ("tensorflow", "jax", "torch")


def run(backend: str, arguments: list[str], report: Path) -> tuple[int, dict[str, int]]:
    """Run pytest under a backend; its exit code and how many tests passed, failed, were skipped."""
    environment = {**os.environ, "KERAS_BACKEND": backend, "TF_CPP_MIN_LOG_LEVEL": "3"}
    command = [sys.executable, "-m", "pytest", "-q", f"--junitxml={report}", *arguments]
    code = subprocess.run(command, env=environment, check=False).returncode
    counts = {"passed": 0, "failed": 0, "skipped": 0}
    if report.exists():
        suite = ElementTree.parse(report).getroot().find("testsuite")
        counts["failed"] = int(suite.get("failures")) + int(suite.get("errors"))
        counts["skipped"] = int(suite.get("skipped"))
        counts["passed"] = int(suite.get("tests")) - counts["failed"] - counts["skipped"]
    return code, counts


def main() -> int:
    """Run all backends, print a line for each and the total."""
    arguments = sys.argv[1:] or ["-m", "not slow"]
    total = {"passed": 0, "failed": 0, "skipped": 0}
    lines, worst = [], 0
    for backend in BACKENDS:
        print(f"== {backend}", flush=True)
        begin = time.monotonic()
        with tempfile.TemporaryDirectory() as folder:
            code, counts = run(backend, arguments, Path(folder) / "report.xml")
        if code and not counts["failed"]:
            counts["failed"] = 1  # pytest itself broke, or collected nothing
        worst = max(worst, code)
        for key, value in counts.items():
            total[key] += value
        seconds = time.monotonic() - begin
        lines.append(f"{backend}: {_words(counts)} in {seconds:.0f} s (exit code {code})")
    print("\n".join(["", *lines, f"total: {_words(total)}"]))
    return int(worst != 0)


def _words(counts: dict[str, int]) -> str:
    return ", ".join(f"{value} {key}" for key, value in counts.items())


if __name__ == "__main__":
    sys.exit(main())
