"""The one way to import a package that only some installations have."""

from __future__ import annotations

import importlib
from pathlib import Path
from types import ModuleType

from hemogat.errors import IncompleteError

_ROOT = Path(__file__).parents[1]


def pip_line(extra: str) -> str:
    """Return the pip command that adds ``extra``: to a checkout, or to an installed package."""
    source = str(_ROOT) if (_ROOT / "pyproject.toml").is_file() else "hemogat"
    return f"pip install '{source}[{extra}]'"


def require(module: str, extra: str) -> ModuleType:
    """Import ``module``, or say which extra of hemogat brings it.

    Raises:
        IncompleteError: the module, or something that it imports, is not installed.
    """
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise IncompleteError(
            f"{module} cannot be imported ({error}); install it with: {pip_line(extra)}"
        ) from error
