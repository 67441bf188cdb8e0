"""What `import keras_htaf` adds to `import keras`, and how soon `keras-htaf --help` answers.

    KERAS_BACKEND=jax python tools/bench/start_up.py [--times 9] [--check]

Each start is a process of its own; imports and help take turns, after one of each that is not
counted, so that bytecode and the disk's cache are warm. Printed are medians with the least and the
greatest, in seconds by the clock. `--check` exits with 1 where a median is above its limit.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

ROOT = Path(__file__).parents[2]
IMPORT = """
import json, time
begun = time.perf_counter()
import keras
ready = time.perf_counter()
import keras_htaf
done = time.perf_counter()
print(json.dumps([ready - begun, done - ready]))
"""
LIMITS = {"keras_htaf beyond keras": 0.15, "keras-htaf --help": 1.5}


def process(*arguments: str) -> tuple[str, float]:
    """What Python prints when it runs these, and the seconds of the whole process."""
    path = os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])
    begun = time.perf_counter()
    done = subprocess.run(
        [sys.executable, *arguments],
        env=os.environ | {"PYTHONPATH": path},
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout, time.perf_counter() - begun


def start() -> dict[str, float]:
    """Seconds of one start each."""
    keras, beyond = json.loads(process("-c", IMPORT)[0].splitlines()[-1])
    return {
        "import keras": keras,
        "keras_htaf beyond keras": beyond,
        "keras-htaf --help": process("-m", "keras_htaf_cli", "--help")[1],
        "an empty process": process("-c", "pass")[1],
    }


def main() -> int:
    """Measure and print a table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--times", type=int, default=9, help="processes of each kind")
    parser.add_argument("--check", action="store_true", help="exit with 1 above a limit")
    options = parser.parse_args()
    start()
    starts = [start() for _ in range(options.times)]
    print("| | median, s | least | greatest | limit |\n|---|---|---|---|---|")
    slow = False
    for name in starts[0]:
        times = sorted(s[name] for s in starts)
        median, limit = times[len(times) // 2], LIMITS.get(name)
        slow |= limit is not None and median > limit
        print(f"| {name} | {median:.3f} | {times[0]:.3f} | {times[-1]:.3f} | {limit or ''} |")
    return int(options.check and slow)


if __name__ == "__main__":
    sys.exit(main())
