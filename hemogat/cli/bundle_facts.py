"""Sizes of what a bundle holds."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

    from hemogat.runtime.bundle import Bundle


def folder_bytes(folder: Path) -> int:
    """Return the size of all files below ``folder``."""
    return sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())


def model_bytes(bundle: Bundle, path: str) -> int:
    """Return the size of the model at ``path``, with the data files that lie beside it."""
    return folder_bytes((bundle.path / path).parent)
