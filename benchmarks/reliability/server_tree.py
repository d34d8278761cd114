"""What a server holds: its processes, their memory and their open files."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import psutil


@dataclass(frozen=True)
class Footprint:
    """Of tritonserver and all processes below it."""

    processes: tuple[int, ...]  # ids: another id is another process
    rss_bytes: int  # resident; what processes share counts in each
    open_files: int  # file descriptors

    def growth_to(self, later: Footprint) -> dict[str, float]:
        """Return by how much of itself each figure has grown."""
        return {
            "rss": later.rss_bytes / self.rss_bytes - 1,
            "open_files": later.open_files / self.open_files - 1,
        }

    def to_dict(self) -> dict[str, Any]:
        """Return plain values."""
        return asdict(self)


def footprint(server_pid: int) -> Footprint:
    """Look at the server whose process id is ``server_pid``."""
    server = psutil.Process(server_pid)
    processes = [server, *server.children(recursive=True)]
    return Footprint(
        processes=tuple(sorted(process.pid for process in processes)),
        rss_bytes=sum(process.memory_info().rss for process in processes),
        open_files=sum(process.num_fds() for process in processes),
    )
