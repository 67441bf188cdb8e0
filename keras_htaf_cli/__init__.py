"""The `keras-htaf` command: its words, options and defaults.

app.py        the commands
settings.py   what determines a training
serving.py    how models are served

A package of its own, since importing any part of `keras_htaf` imports Keras and its backend, which
takes seconds: help and mistyped options answer at once. The work is done in `keras_htaf.cli`, which
a command imports when it runs.
"""

from __future__ import annotations

import logging
import sys


def main() -> None:
    """Run the command line; expected errors become one line and exit code 2."""
    try:
        from keras_htaf_cli.app import app
    except ModuleNotFoundError as error:
        if error.name not in ("typer", "rich"):
            raise
        sys.exit('The command needs its extra packages: pip install "keras-htaf[cli]"')
    # TensorFlow warns of retracing where models are evaluated one after the other, as they must be.
    logging.getLogger("tensorflow").setLevel(logging.ERROR)
    app()
