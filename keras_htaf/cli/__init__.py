"""The `keras-htaf` command. Beyond keras itself, a command imports what it needs when it runs."""

from __future__ import annotations

import logging
import sys


def main() -> None:
    """Run the command line; expected errors become one line and exit code 2."""
    try:
        from keras_htaf.cli.app import app
    except ModuleNotFoundError as error:
        if error.name not in ("typer", "rich"):
            raise
        sys.exit('The command needs its extra packages: pip install "keras-htaf[cli]"')
    # TensorFlow warns of retracing where models are evaluated one after the other, as they must be.
    logging.getLogger("tensorflow").setLevel(logging.ERROR)
    app()
