"""The workspace: where commands put what they make, and look for the latest of it."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Literal

from hemogat.errors import BundleError

Marker = Literal["run.json", "bundle.json"]

_DEPTH = 3  # build/<name>/run/run.json
_MADE_BY: dict[Marker, tuple[str, str]] = {
    "run.json": ("run directory", "hemogat train RECIPE --manifest MANIFEST"),
    "bundle.json": ("bundle", "hemogat export"),
}


def workspace() -> Path:
    """Return the workspace: ``$HEMOGAT_WORKSPACE``, else ``build`` in the current folder."""
    return Path(os.environ.get("HEMOGAT_WORKSPACE") or "build")


def default_run(name: str) -> Path:
    """Return where the run of the recipe called ``name`` goes."""
    return workspace() / name / "run"


def default_bundle(name: str) -> Path:
    """Return where the bundle of the recipe called ``name`` goes."""
    return workspace() / name / "bundle"


def find_latest(marker: Marker) -> Path:
    """Return the folder in the workspace whose ``marker`` file was written last.

    Hidden folders are left out: they are still being written.

    Raises:
        BundleError: there is none; says how to make one.
    """
    root = workspace()
    newest = max(
        (
            (file.stat().st_mtime_ns, file.parent)
            for depth in range(_DEPTH + 1)
            for file in root.glob("*/" * depth + marker)
            if not any(part.startswith(".") for part in file.relative_to(root).parts)
        ),
        default=None,
    )
    if newest is None:
        kind, command = _MADE_BY[marker]
        raise BundleError(
            f"{root}: holds no {kind} (no {marker} in it); name one, or make one with: {command}"
        )
    return newest[1]
