"""A model saved under one backend computes the same under the others: all nine pairs.

Of a binary network each sign and each decision is the same, since its sums are exact. Of a spiking
one each spike is, for these inputs.
"""

import os
import subprocess
import sys
from pathlib import Path

import across_backends
import pytest
from support import BACKEND


@pytest.mark.skipif(BACKEND != "torch", reason="one suite tests all pairs")
@pytest.mark.parametrize("kind", ["", "_binary", "_spiking"])
def test_every_pair(tmp_path, kind):
    for package in ("tensorflow", "jax"):
        pytest.importorskip(package)
    script = Path(across_backends.__file__)
    for phase in (f"save{kind}", f"load{kind}"):  # in each, two other processes beside this one
        started = [
            subprocess.Popen(
                [sys.executable, script, phase, tmp_path],
                env={**os.environ, "KERAS_BACKEND": backend},
                stdout=subprocess.DEVNULL,
                stderr=subprocess.PIPE,
                text=True,
            )
            for backend in ("tensorflow", "jax")
        ]
        getattr(across_backends, phase)(tmp_path)
        for process in started:
            _, errors = process.communicate(timeout=120)
            assert process.returncode == 0, errors[-3000:]
