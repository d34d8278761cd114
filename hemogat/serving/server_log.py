"""tritonserver's output, followed while it is written."""

from __future__ import annotations

import os
import re
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

_POLL_S = 0.2
_LAST_LINES = 15
# No help to whoever wants to know why the server died: information, tables, stack frames.
_NOISE = re.compile(r"I\d{4} |[+|\s]|At:|$")
_LINE = re.compile(r"([IWEF])\d{4} [\d:.]+ \d+ (?:\"?([\w.]+:\d+)\"?\] )?(.*)")
_LEVELS = {"I": "info", "W": "warning", "E": "error", "F": "fatal"}


class LogFollower:
    """Calls ``on_line`` with every line that is appended to ``path``, until it is stopped."""

    def __init__(self, path: Path, on_line: Callable[[str], None]) -> None:
        self._log = path.open(encoding="utf-8", errors="replace")
        self._log.seek(0, os.SEEK_END)
        self._on_line = on_line
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._follow, name="log", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Hand on what has been written by now, and end."""
        self._stop.set()
        self._thread.join()

    def _follow(self) -> None:
        with self._log as log:
            begun = ""
            while True:
                is_last = self._stop.wait(_POLL_S)
                *lines, begun = (begun + log.read()).split("\n")
                for line in lines:
                    self._on_line(line)
                if is_last:
                    return


def parse_line(line: str) -> dict[str, Any] | None:
    """Return level, source and message of a line; None for those that say nothing."""
    found = _LINE.match(line)
    if not found:
        return {"level": "info", "source": None, "message": line} if line.strip() else None
    level, source, message = found.groups()
    return {"level": _LEVELS[level], "source": source, "message": message.strip('"')}


def last_lines(path: Path, start: int) -> str:
    """Return the last lines that may say what went wrong, of those from byte ``start`` on."""
    log = path.read_bytes()[start:]
    # Triton logs a model's traceback as one long line, in several places.
    lines = (
        line.partition(r"\n")[0]
        for line in log.decode(errors="replace").splitlines()
        if not _NOISE.match(line)
    )
    return "\n".join(list(dict.fromkeys(lines))[-_LAST_LINES:])
