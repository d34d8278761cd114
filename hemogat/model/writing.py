"""Files that torch, safetensors and transformers write, whose errors are not the system's."""

from __future__ import annotations

import errno
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from safetensors import SafetensorError


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """Turn what the libraries raise on a full or failing disk into an OSError that names the file.

    Raises:
        OSError: ``path`` cannot be written.
    """
    try:
        yield
    except (RuntimeError, SafetensorError) as error:  # torch.save and save_file, respectively
        reason = " ".join(str(error).split())
        raise OSError(errno.EIO, f"cannot be written ({reason:.200})", str(path)) from error
