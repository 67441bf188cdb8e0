"""Optional packages, missed in words that say what to install."""

from __future__ import annotations

from importlib import import_module

_INSTALLED_AS = {
    "PIL": "pillow",
    "jinja2": "jinja2",
    "matplotlib": "matplotlib",
    "scipy": "scipy",
    "sklearn": "scikit-learn",
}
"""What the packages of the extra "interpret" are installed as, by what they are imported as."""


REPORT = "jinja2 PIL scipy sklearn"
"""What a report may need: of heads and rules it is known too late what they take."""


def needs(packages: str, what: str) -> None:
    """An ImportError that says what to install unless all of these can be imported.

    Args:
        packages: Their names as imported, with spaces between.
        what: The subject of the sentence "... needs ...".
    """
    for name in packages.split():
        try:
            import_module(name)
        except ImportError as error:
            raise ImportError(
                f"{what} needs {_INSTALLED_AS[name]}, which cannot be imported ({error}). "
                'Install it with: pip install "keras-htaf[interpret]"'
            ) from error
