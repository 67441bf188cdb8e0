"""The package that holds NIR's definition."""

from __future__ import annotations

import importlib
from types import ModuleType


def require_nir(purpose: str) -> ModuleType:
    """Imports nir, or says which extra installs it."""
    try:
        return importlib.import_module("nir")
    except ImportError as error:
        raise ImportError(
            f"{purpose} needs the package nir, which cannot be imported ({error}). Install it "
            'with: pip install "keras-htaf[nir]"'
        ) from error
