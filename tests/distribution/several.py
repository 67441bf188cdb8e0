"""All that is measured on several devices, in one process, or two on torch.

python several.py FOLDER
"""

from __future__ import annotations

import sys
from pathlib import Path

import keras
import pytest
import seam
import steps
import variants

from keras_htaf import distribution

COUNT = 4 if keras.config.backend() == "jax" else 2


def everything(folder):
    folder = Path(folder)
    steps.train("data", COUNT, folder / "data.json")
    if keras.config.backend() == "jax":
        steps.train("model", COUNT, folder / "model.json")
    variants.differences(folder / "variants.json")
    seam.resumed(folder, COUNT)
    seam.refused(folder, COUNT)
    if keras.config.backend() == "torch":
        import ranks

        ranks.refusals()
        across = distribution.data_parallel()
        if not across.chief:
            raise SystemExit(3)
        across.barrier()  # the other never gets there


if __name__ == "__main__":
    if keras.config.backend() == "torch":
        with pytest.raises(RuntimeError, match=r"Process . of 2 ended with exit code"):
            distribution.launch(everything, sys.argv[1], processes=2)
        (Path(sys.argv[1]) / "refused").touch()
    else:
        everything(sys.argv[1])
