"""Check a SavedModel in plain TensorFlow, where neither keras nor keras_htaf can be imported.

    python tools/check_saved_model.py runs/demo/saved_model runs/demo/predictions.npz

The second file holds raw test images and the logits that the exact network gave for them in Keras
(`keras-htaf train` writes it). Exits with 1 unless every prediction is identical.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import numpy as np

_BLOCKED = ("keras", "keras_htaf", "tf_keras")


def main() -> int:
    """Compare, print one line, and say by the exit code whether all is identical."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("saved_model", type=Path)
    parser.add_argument("predictions", type=Path)
    options = parser.parse_args()

    # None in sys.modules makes every import of the name fail.
    sys.modules.update(dict.fromkeys(_BLOCKED))
    import tensorflow as tf

    with np.load(options.predictions) as file:
        raw, logits, labels = file["raw"].astype("float32"), file["logits"], file["labels"]
    model = tf.saved_model.load(str(options.saved_model))
    served = model.serve(raw).numpy()
    one_by_one = np.concatenate([model.serve(raw[i : i + 1]).numpy() for i in range(10)])
    leaked = [name for name in _BLOCKED if sys.modules[name] is not None]

    identical = np.array_equal(served.argmax(-1), logits.argmax(-1))
    print(
        f"{options.saved_model}: {len(raw)} test images in plain TensorFlow {tf.__version__} "
        "without keras: "
        f"{np.sum(served.argmax(-1) == logits.argmax(-1))} of {len(raw)} predictions identical, "
        f"largest difference of a logit {np.abs(served - logits).max():.1e}, "
        f"accuracy {np.mean(served.argmax(-1) == labels):.2%}"
    )
    single = np.array_equal(one_by_one.argmax(-1), logits[: len(one_by_one)].argmax(-1))
    return int(not (identical and single and not leaked))


if __name__ == "__main__":
    sys.exit(main())
