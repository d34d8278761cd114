"""Writing files so that a crash leaves the old state or the new one, never half of it.

What is renamed into place has been forced to the disk before (fsync), and so is the folder that
holds the new name: a rename can reach the disk before the content does, and then a power loss
would leave the new name with nothing in it.
"""

from __future__ import annotations

import ctypes
import errno
import os
import shutil
import stat
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from hemogat.errors import InputError

_AT_FDCWD = -100  # paths are relative to the current folder; both from linux/fcntl.h, linux/fs.h
_RENAME_EXCHANGE = 2


def write_atomic(path: Path, content: str | bytes) -> None:
    """Write a file through a temporary sibling and a rename; behind a link, the file it leads to.

    A device or a pipe, such as /dev/stdout, is written to as it is.

    Raises:
        InputError: ``path`` is something that cannot be written.
    """
    data = content.encode("utf-8") if isinstance(content, str) else content
    if not replaces_a_file(path):
        path.write_bytes(data)
        return
    path = Path(os.path.realpath(path))  # replacing a link would leave the file it leads to
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.chmod(temporary, 0o644)  # mkstemp's 0600 would keep a server's user out
        os.replace(temporary, path)
        sync(path.parent)
    except BaseException as error:
        Path(temporary).unlink(missing_ok=True)
        if isinstance(error, OSError) and error.filename is None:
            error.filename = str(path)  # a full disk does not say which file it had no room for
        raise


def replaces_a_file(path: Path) -> bool:
    """Say whether :func:`write_atomic` makes or replaces a file: not where ``path`` is a device.

    A rename would put a file into a device's place, for all who use it.

    Raises:
        InputError: ``path`` is something that cannot be written.
    """
    try:
        mode = path.stat().st_mode
    except FileNotFoundError:
        return True
    if stat.S_ISREG(mode):
        return True
    if stat.S_ISCHR(mode) or stat.S_ISFIFO(mode):
        return False
    raise InputError(f"{path}: cannot be written, as it is no file; name another place")


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
        _settle(temporary)
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
    _settle(filled)
    _swap_in(filled, path.absolute())
    if filled.exists():
        _discard(filled)  # the old one, under a name that is no hidden one


def remove_folder(path: Path) -> None:
    """Remove a folder under another, hidden name, so that no crash leaves a part of it."""
    hidden = Path(tempfile.mkdtemp(dir=path.parent, prefix=f".{path.name}.old."))
    os.rename(path, hidden / path.name)
    sync(path.parent)
    shutil.rmtree(hidden)


def replace_synced(temporary: Path, path: Path) -> None:
    """Rename a file that some library wrote to ``path``, its content on the disk first."""
    sync(temporary)
    os.replace(temporary, path)
    sync(path.parent)


def sync(path: Path) -> None:
    """Wait until the content of a file, or the names in a folder, are on the disk."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    except OSError as error:
        if error.errno != errno.EINVAL:  # some network file systems know no such thing
            raise
    finally:
        os.close(handle)


def copy_file(source: Path, target: Path) -> None:
    """Copy a file into a folder that may not be there yet.

    No hard link: ONNX's libraries refuse data files that have one, because it may be an attack.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(source, target)


def _settle(folder: Path) -> None:
    """Force all of a folder to the disk, and let other users read it, such as a server's.

    mkdtemp and safetensors keep them out.
    """
    for path in (*folder.rglob("*"), folder):
        if not path.is_symlink():
            path.chmod(0o755 if path.is_dir() else 0o644)
            sync(path)


def _holds(path: Path, name: str | None) -> bool:
    return name is not None and (path / name).exists()


def _swap_in(temporary: Path, path: Path) -> None:
    if not path.exists():
        os.rename(temporary, path)
    elif not _exchange(temporary, path):  # else ``temporary`` is the old one now
        _swap_in_two_steps(temporary, path)
    sync(path.parent)


def _discard(folder: Path) -> None:
    """Remove a folder as :func:`remove_folder`; what cannot be removed may stay."""
    try:
        remove_folder(folder)
    except OSError:
        shutil.rmtree(folder, ignore_errors=True)


def _exchange(one: Path, other: Path) -> bool:
    """Let two folders swap names in one step; False where the system cannot."""
    try:
        renameat2 = ctypes.CDLL(None, use_errno=True).renameat2  # glibc 2.28
    except AttributeError:
        return False
    names = (os.fsencode(one), os.fsencode(other))
    if renameat2(_AT_FDCWD, names[0], _AT_FDCWD, names[1], _RENAME_EXCHANGE) == 0:
        return True
    number = ctypes.get_errno()
    if number in (errno.EINVAL, errno.ENOSYS):  # this file system cannot
        return False
    raise OSError(number, os.strerror(number), str(other))


def _swap_in_two_steps(temporary: Path, path: Path) -> None:
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
