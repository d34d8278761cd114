"""The largest resident set that this process has had."""

from __future__ import annotations

from pathlib import Path


def own_peak_memory_mib() -> float | None:
    """Return the largest resident set that this process has had, MiB; None without /proc."""
    # Not getrusage: its maximum includes that of the process this one was started from.
    try:
        status = Path("/proc/self/status").read_text(encoding="ascii")
    except OSError:
        return None
    line = next(line for line in status.splitlines() if line.startswith("VmHWM:"))
    return int(line.split()[1]) / 1024
