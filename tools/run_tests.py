"""Run the whole suite once per backend, each in its own process, and sum up.

    python tools/run_tests.py [pytest arguments]

As many backends run side by side as there are cores; what pytest says of one is printed when it is
through. Slow trainings are left out unless `-m slow` is given. Exits with 1 if anything failed.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
import xml.etree.ElementTree as ElementTree
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path

BACKENDS = ("jax", "tensorflow", "torch")
"""The one that takes longest first."""

CORES = os.cpu_count() or 1
SIDE_BY_SIDE = min(len(BACKENDS), CORES)


def run(backend: str, arguments: list[str]) -> tuple[int, dict[str, int], float, str]:
    """Run pytest under a backend.

    Returns:
        Its exit code; how many tests passed, failed, were skipped; seconds; what it printed.
    """
    begin = time.monotonic()
    environment = {
        # OpenMP's threads wait for each other in busy loops: with more of them than cores, a
        # second of boosted trees becomes minutes.
        "OMP_NUM_THREADS": str(CORES // SIDE_BY_SIDE),
        **os.environ,
        "KERAS_BACKEND": backend,
        "TF_CPP_MIN_LOG_LEVEL": "3",
    }
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder) / "report.xml"
        command = [sys.executable, "-m", "pytest", "-q", f"--junitxml={report}", *arguments]
        done = subprocess.run(
            command,
            env=environment,
            check=False,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
        )
        counts = _counts(report)
    if done.returncode and not counts["failed"]:
        counts["failed"] = 1  # pytest itself broke, or collected nothing
    return done.returncode, counts, time.monotonic() - begin, done.stdout


def _counts(report: Path) -> dict[str, int]:
    counts = {"passed": 0, "failed": 0, "skipped": 0}
    if report.exists():
        suite = ElementTree.parse(report).getroot().find("testsuite")
        counts["failed"] = int(suite.get("failures")) + int(suite.get("errors"))
        counts["skipped"] = int(suite.get("skipped"))
        counts["passed"] = int(suite.get("tests")) - counts["failed"] - counts["skipped"]
    return counts


def main() -> int:
    """Run all backends, print a line for each and the total."""
    arguments = sys.argv[1:] or ["-m", "not slow"]
    total = {"passed": 0, "failed": 0, "skipped": 0}
    lines, worst = [], 0
    with ThreadPoolExecutor(SIDE_BY_SIDE) as pool:
        runs = {pool.submit(run, backend, arguments): backend for backend in BACKENDS}
        for future in as_completed(runs):
            code, counts, seconds, printed = future.result()
            print(f"== {runs[future]}\n{printed}", flush=True)
            worst = max(worst, code)
            for key, value in counts.items():
                total[key] += value
            lines.append(f"{runs[future]}: {_words(counts)} in {seconds:.0f} s (exit code {code})")
    print("\n".join(["", *lines, f"total: {_words(total)}"]))
    return int(worst != 0)


def _words(counts: dict[str, int]) -> str:
    return ", ".join(f"{value} {key}" for key, value in counts.items())


if __name__ == "__main__":
    sys.exit(main())
