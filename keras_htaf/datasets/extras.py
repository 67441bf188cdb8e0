"""Optional packages, imported when they are first needed."""

from __future__ import annotations

import importlib
from types import ModuleType


def require(module: str, purpose: str, extra: str = "data") -> ModuleType:
    """Imports an optional module, or says which extra installs it.

    Args:
        module: Dotted name of the module.
        purpose: What needs it, as the subject of the error's first sentence.
        extra: Which extra of this package installs it.

    Returns:
        The module.

    Raises:
        ImportError: If the module, or something that it imports, is missing.
    """
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise ImportError(
            f"{purpose} needs the module {module!r}, which cannot be imported ({error}). "
            f'Install it with: pip install "keras-htaf[{extra}]"'
        ) from error
