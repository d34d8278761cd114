"""What else the machine did during a measurement: figures taken beside other work are about that.

Linux counts the CPU time of all processes in ``/proc/stat``; what this process and its children
used is taken off. Elsewhere only the load average before the run tells.
"""

from __future__ import annotations

import os
import time
from datetime import datetime, timezone
from pathlib import Path
from typing import TypedDict

from hemogat.benchmarks.environment import (
    Environment,
    LoadAverage,
    describe_environment,
    load_average,
)

NOISY_SHARE = 0.05
_PROC_STAT = Path("/proc/stat")
# Fields of the first line of /proc/stat that are idle time, or counted in others (guests).
_IDLE, _IOWAIT, _COUNTED = 3, 4, 8


class RunFacts(TypedDict):
    """The fields of a report that tell when, where and beside what its figures were measured."""

    created_utc: str
    took_s: float
    environment: Environment
    load_average_before: LoadAverage
    load_average_after: LoadAverage
    other_cpu_share: float | None


class RunWatch:
    """Starts with a measurement; :meth:`facts` ends it.

    CPU time of a child counts as this process's once the child has ended and was waited for, so
    ask for the facts after servers and workers have stopped.
    """

    def __init__(self) -> None:
        self._began = time.monotonic()
        self._load_before = load_average()
        self._busy_before_s, self._total_before_s = _machine_cpu_s() or (0.0, 0.0)
        self._own_before_s = _own_cpu_s()

    def facts(self) -> RunFacts:
        """Describe the machine and what happened on it since the start."""
        return RunFacts(
            created_utc=datetime.now(timezone.utc).isoformat(timespec="seconds"),
            took_s=round(time.monotonic() - self._began, 1),
            environment=describe_environment(),
            load_average_before=self._load_before,
            load_average_after=load_average(),
            other_cpu_share=self._other_cpu_share(),
        )

    def _other_cpu_share(self) -> float | None:
        now = _machine_cpu_s()
        if now is None:
            return None
        busy_s, total_s = now[0] - self._busy_before_s, now[1] - self._total_before_s
        if total_s <= 0:  # too short for the counter's ticks
            return None
        others_s = busy_s - (_own_cpu_s() - self._own_before_s)
        return round(min(max(others_s / total_s, 0.0), 1.0), 4)


def is_noisy(other_cpu_share: float | None, load_before: float, cores: int) -> bool:
    """Return whether others used more than NOISY_SHARE of the machine's CPU time.

    Where that is not known: whether the machine had more than a quarter of its cores busy before.
    """
    if other_cpu_share is None:
        return load_before > cores / 4
    return other_cpu_share > NOISY_SHARE


def _own_cpu_s() -> float:
    times = os.times()
    return times.user + times.system + times.children_user + times.children_system


def _machine_cpu_s() -> tuple[float, float] | None:
    """Return busy and total CPU seconds of all cores since boot; None where nothing tells.

    Time that a virtual machine's host took for others (steal) is busy time.
    """
    try:
        first = _PROC_STAT.read_text(encoding="ascii").partition("\n")[0]
    except OSError:
        return None
    ticks = [int(field) for field in first.split()[1 : 1 + _COUNTED]]
    tick_s = 1 / os.sysconf("SC_CLK_TCK")
    total = sum(ticks)
    return (total - ticks[_IDLE] - ticks[_IOWAIT]) * tick_s, total * tick_s
