"""What a bundle holds, in words and sizes."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from hemogat.cli.output import remark
from hemogat.errors import BundleError

if TYPE_CHECKING:
    from pathlib import Path

    from hemogat.runtime.bundle import Bundle, BundleManifest


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


def manifest_at(folder: Path) -> BundleManifest | None:
    """Return what a bundle says of itself; None where there is none that can be read."""
    from hemogat.runtime.bundle import Bundle

    try:
        return Bundle.open(folder, verify=False).manifest
    except BundleError:
        return None


def remark_lost_index(before: BundleManifest | None, after: BundleManifest | None) -> None:
    """Say where a bundle has no stored index any more; one of another run has none to keep."""
    if before is None or after is None or before.bank.ivf is None or after.bank.ivf is not None:
        return
    if after.provenance.run_sha256 not in (before.provenance.run_sha256, None):  # None: it changed
        return
    remark(
        "the stored index holds the old bank and was left out, as faiss is not installed; "
        "make it anew with: hemogat bank index"
    )
