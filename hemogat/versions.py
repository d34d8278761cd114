"""Versions of installed packages, without importing them."""

from __future__ import annotations

import platform
from collections.abc import Iterable
from importlib.metadata import PackageNotFoundError, version


def installed_version(package: str) -> str | None:
    """Return the version of an installed distribution, None when it is not installed."""
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def installed_versions(packages: Iterable[str]) -> dict[str, str]:
    """Return Python's version and those of the ``packages`` that are installed."""
    found = {package: installed_version(package) for package in packages}
    return {"python": platform.python_version()} | {p: v for p, v in found.items() if v}
