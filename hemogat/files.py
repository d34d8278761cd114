"""Writing files so that a crash leaves the old state or the new one, never half of it."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from hemogat.errors import InputError


def write_atomic(path: Path, content: str | bytes) -> None:
    """Write a file through a temporary sibling and a rename."""
    path.parent.mkdir(parents=True, exist_ok=True)
    data = content.encode("utf-8") if isinstance(content, str) else content
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.chmod(temporary, 0o644)  # mkstemp's 0600 would keep a server's user out
        os.replace(temporary, path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise


@contextmanager
def folder_written_whole(path: Path, *, replace_if_has: str | None = None) -> Iterator[Path]:
    """Give a temporary sibling to fill; on success it becomes ``path``, on failure it goes.

    An existing ``path`` is replaced only if it holds the file ``replace_if_has``, the sign that
    it is what this program wrote there before.

    Raises:
        InputError: ``path`` exists and is something else, or cannot be replaced.
    """
    check_replaceable(path, replace_if_has=replace_if_has)
    path = path.absolute()
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = Path(tempfile.mkdtemp(dir=path.parent, prefix=f".{path.name}."))
    try:
        yield temporary
        _make_readable(temporary)
        _swap_in(temporary, path)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def check_replaceable(path: Path, *, replace_if_has: str | None = None) -> None:
    """Refuse a place where a folder may not be written, as :func:`folder_written_whole` does.

    Raises:
        InputError: ``path`` exists and is something else, or cannot be replaced.
    """
    path = path.absolute()
    if path.is_mount() or Path.cwd().is_relative_to(path):
        raise InputError(
            f"{path}: is a mount point or holds the current folder, so it cannot be replaced; "
            f"name a folder of its own"
        )
    if path.exists() and not (
        path.is_dir() and (not any(path.iterdir()) or _holds(path, replace_if_has))
    ):
        raise InputError(f"{path}: exists already and would be overwritten; name another place")


def move_into_place(filled: Path, path: Path, *, replace_if_has: str | None = None) -> None:
    """Rename the folder ``filled`` to its sibling ``path``, which is replaced if it may be.

    Raises:
        InputError: ``path`` exists and is something else, or cannot be replaced.
    """
    check_replaceable(path, replace_if_has=replace_if_has)
    _make_readable(filled)
    _swap_in(filled, path.absolute())


def copy_file(source: Path, target: Path) -> None:
    """Copy a file into a folder that may not be there yet.

    No hard link: ONNX's libraries refuse data files that have one, because it may be an attack.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(source, target)


def _make_readable(folder: Path) -> None:
    """Let other users read, such as a server's: mkdtemp and safetensors keep them out."""
    for path in (folder, *folder.rglob("*")):
        if not path.is_symlink():
            path.chmod(0o755 if path.is_dir() else 0o644)


def _holds(path: Path, name: str | None) -> bool:
    return name is not None and (path / name).exists()


def _swap_in(temporary: Path, path: Path) -> None:
    if not path.exists():
        os.rename(temporary, path)
        return
    old = Path(tempfile.mkdtemp(dir=path.parent, prefix=f".{path.name}.old."))
    try:
        os.rename(path, old / path.name)
    except OSError:
        old.rmdir()
        raise
    try:
        os.rename(temporary, path)
    except OSError:
        os.rename(old / path.name, path)
        old.rmdir()
        raise
    shutil.rmtree(old, ignore_errors=True)
