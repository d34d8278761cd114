"""Who makes a run: one process at a time, or the main one of several that go together."""

from __future__ import annotations

import errno
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from hemogat.errors import InputError

if sys.platform != "win32":
    import fcntl

_CANNOT_LOCK = (errno.EBADF, errno.EINVAL, errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP)


@contextmanager
def locked(file: Path, run: Path) -> Iterator[None]:
    """Keep other processes from the run ``run``, which stands where ``file`` does.

    The system lets go of a lock when its process ends, however it ends, so that none is left over.
    A file that is renamed stays locked. Where the system or the file system knows no locks, nobody
    is kept out.

    Raises:
        InputError: another process holds the lock, or has just replaced or removed the file.
    """
    if sys.platform == "win32":
        yield
        return
    try:
        opened = file.open("r+b")  # to be written, as NFS wants it of who locks
    except FileNotFoundError:
        raise taken(run) from None
    with opened:
        if not (_lock(opened) and _is_still(file, opened)):
            raise taken(run)
        yield


def _lock(opened: BinaryIO) -> bool:
    try:
        fcntl.flock(opened, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError as error:
        if error.errno not in _CANNOT_LOCK:
            raise
    return True


def _is_still(file: Path, opened: BinaryIO) -> bool:
    """Say whether ``file`` is what was opened: whoever held the lock may have replaced it."""
    try:
        return os.path.samestat(file.stat(), os.fstat(opened.fileno()))
    except FileNotFoundError:
        return False


def taken(run: Path) -> InputError:
    """Return what is said to who finds another process at work on ``run``."""
    return InputError(
        f"{run}: is being trained by another process; wait until it is done, or name another "
        f"place with --out"
    )
