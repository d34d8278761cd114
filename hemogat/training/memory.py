"""How a training process holds its memory."""

from __future__ import annotations

import ctypes
import platform

_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3  # malloc.h: M_TRIM_THRESHOLD, M_MMAP_THRESHOLD
_LARGEST_TENSOR_BYTES = 2**30


def keep_freed_memory() -> None:
    """Have glibc keep the memory of freed tensors for the next ones; elsewhere, do nothing.

    Above 32 MB it would give a tensor's pages back to the system and ask for zeroed ones a moment
    later: about a tenth of a head's training on two cores. The process then stays as large as it
    was at most.
    """
    if platform.libc_ver()[0] == "glibc":
        libc = ctypes.CDLL(None)
        libc.mallopt(_MMAP_THRESHOLD, _LARGEST_TENSOR_BYTES)
        libc.mallopt(_TRIM_THRESHOLD, 2**31 - 1)
