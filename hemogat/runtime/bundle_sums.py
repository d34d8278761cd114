"""The hashes of a folder's files: whole, as they were written, and nothing beside them.

Of a bundle, and of the model repository that is generated from one.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Mapping
from pathlib import Path, PurePosixPath
from typing import Annotated

from pydantic import AfterValidator

from hemogat.errors import BundleError

SUMS_FILE = "SHA256SUMS"
_HASHED_AT_ONCE_BYTES = 2**20
# Not splitlines(), which takes six other characters for ends of lines.
_LINE = re.compile(r"([0-9a-f]{64})  ([^\n]+)\n")


def inside(path: str) -> str:
    """Return a path that stays within the folder it is relative to.

    Raises:
        ValueError: it does not, or could not be said on one line.
    """
    parts = PurePosixPath(path)
    unsafe = parts.is_absolute() or ".." in parts.parts or "\\" in path or not parts.parts
    if unsafe or not path.isprintable():
        raise ValueError(f"must be a relative path inside its folder, found {path!r}")
    return path


InnerPath = Annotated[str, AfterValidator(inside)]


def sha256_of(path: Path) -> str:
    """Return the hexadecimal SHA-256 of a file."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(_HASHED_AT_ONCE_BYTES):
            digest.update(block)
    return digest.hexdigest()


def write_sums(folder: Path) -> None:
    """Write ``SHA256SUMS`` over every file below ``folder``."""
    sums = {name: sha256_of(folder / name) for name in _files(folder)}
    (folder / SUMS_FILE).write_bytes(_serialised(sums))


def _serialised(sums: Mapping[str, str]) -> bytes:
    return "".join(f"{sums[name]}  {name}\n" for name in sorted(sums)).encode()


def _files(folder: Path) -> list[str]:
    """Return every file below ``folder`` but its list of hashes, by the path inside."""
    names = (p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file())
    return sorted(name for name in names if name != SUMS_FILE)


def verify_files(
    folder: Path, referenced: Iterable[str] = (), *, again: str = "export the bundle again"
) -> None:
    """Hash every file of a folder.

    Args:
        folder: what :func:`write_sums` was called with, here or elsewhere.
        referenced: what must be listed whether it is there or not.
        again: how to make the folder anew; errors advise it.

    Raises:
        BundleError: a file is missing, altered, not listed, or lies outside of the folder.
    """
    sums = _read_sums(folder / SUMS_FILE, again)
    # First: an altered file may name others, and is what to tell of.
    for name, expected in sums.items():
        path = folder / name
        if not path.is_file():
            raise BundleError(f"{path}: is missing, but in {SUMS_FILE}; copy it or {again}")
        if not path.resolve().is_relative_to(folder.resolve()):
            raise BundleError(
                f"{path}: leads out of its folder; put the file itself there, or {again}"
            )
        if sha256_of(path) != expected:
            raise BundleError(
                f"{path}: is altered (its SHA-256 is not the one in {SUMS_FILE}); "
                f"copy it or {again}"
            )
    # What is there counts too: a graph's external data is named in the graph alone.
    unlisted = sorted({*referenced, *_files(folder)} - sums.keys())
    if unlisted:
        name = unlisted[0] if unlisted[0].isprintable() else repr(unlisted[0])
        raise BundleError(f"{folder}: {name} is not in {SUMS_FILE}; remove it or {again}")


def _read_sums(path: Path, again: str) -> dict[str, str]:
    try:
        content = path.read_bytes()
        sums = {inside(name): digest for digest, name in _LINE.findall(content.decode())}
    except OSError as error:
        raise BundleError(f"{path}: is missing; copy it or {again}") from error
    except ValueError as error:
        raise BundleError(f"{path}: is not a list of hashes ({error})") from error
    if not sums or _serialised(sums) != content:  # one list, one way to write it
        raise BundleError(
            f"{path}: is not a list of hashes (expected lines of 64 hexadecimal digits, two spaces "
            f"and a name, sorted by name, each name once); copy it or {again}"
        )
    return sums
