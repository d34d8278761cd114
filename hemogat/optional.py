"""The one way to import a package that only some installations have."""

from __future__ import annotations

import importlib
import json
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path
from types import ModuleType
from urllib.parse import unquote, urlsplit

from hemogat.errors import IncompleteError

_ROOT = Path(__file__).parents[1]
_PROJECT_FILE = "pyproject.toml"


def pip_line(extra: str | None = None) -> str:
    """Return the pip command that adds ``extra``, or what every installation needs.

    It installs from a checkout, because no package index has hemogat: from this one, from the one
    that this installation came from, or else from any.
    """
    extras = f"[{extra}]" if extra else ""
    checkout = _ROOT if (_ROOT / _PROJECT_FILE).is_file() else _installed_from()
    if checkout is None:
        return f"pip install '.{extras}'  # in a checkout of hemogat"
    return f"pip install '{checkout}{extras}'"


def _installed_from() -> Path | None:
    """Return the checkout that pip noted (direct_url.json), if there is one still."""
    try:
        noted = distribution("hemogat").read_text("direct_url.json")
        url = urlsplit(json.loads(noted or "{}").get("url", ""))
    except (PackageNotFoundError, OSError, ValueError, AttributeError):
        return None  # not installed by pip, or nothing to be relied on
    checkout = Path(unquote(url.path))
    is_there = url.scheme == "file" and (checkout / _PROJECT_FILE).is_file()
    return checkout if is_there else None


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
