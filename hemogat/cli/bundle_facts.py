"""What a bundle holds, in words and sizes."""

from __future__ import annotations

from collections.abc import Iterator
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


def index_lines(bundle: Bundle) -> Iterator[str]:
    """Say of each modality how the stored index is searched, and what is found."""
    index = bundle.manifest.bank.ivf
    if index is None:
        yield "not stored, built at every load that searches by it"
        return
    for modality, facts in index.facts().items():
        yield f"{modality}: {facts.in_words()}"
