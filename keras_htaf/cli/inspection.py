"""The `inspect` command: bits of each layer."""

from __future__ import annotations

from pathlib import Path


def inspect_file(file: Path) -> str:
    """What `keras_htaf.summary` says of a saved model, and what it comes to when it is packed.

    Args:
        file: A `.keras` file, or a packed `.khtaf` file.
    """
    from keras_htaf import packed

    if file.suffix == ".khtaf":
        return str(packed.load(file).summary())
    from keras_htaf import harden, load_model, summary
    from keras_htaf.hardening import has_steps

    model = load_model(file)
    try:
        found = str(packed.pack(harden(model) if has_steps(model) else model).summary())
    except (ValueError, ImportError) as error:  # still worth to be seen
        found = f"Not packed: {error}"
    return f"{summary(model)}\n\n{found}"
