"""What a server tells of itself: queue and compute times by model; and the memory it takes."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from types import ModuleType
from typing import Any

from hemogat.config import Settings
from hemogat.optional import require
from hemogat.serving.client import ModelStatistics
from hemogat.serving.processes import children_of

_SAMPLE_S = 0.25


class ModelLoad(Settings):
    """What one model did during a run, as the server counted it; times are means per request.

    ``batch_rows``: rows (windows, texts, utterances) that one execution worked on.
    """

    requests: int
    queue_ms: float
    compute_ms: float
    batch_rows: float


class MemoryUse(Settings):
    """Resident memory of the server and all its processes before, during and after a run.

    Pages that they share count once for each. ``course_mib``: while the load was on, at its start,
    after each quarter and at its end.
    """

    before_mib: float
    peak_mib: float
    after_mib: float
    course_mib: tuple[float, ...] = ()


def counted_between(
    before: Mapping[str, ModelStatistics], after: Mapping[str, ModelStatistics]
) -> dict[str, ModelLoad]:
    """Return what each model did between two readings; models that did nothing are left out."""
    return {
        name: ModelLoad(
            requests=requests,
            queue_ms=(end.queue_ms - before[name].queue_ms) / requests,
            compute_ms=(end.compute_ms - before[name].compute_ms) / requests,
            batch_rows=(end.rows - before[name].rows)
            / max(1, end.executions - before[name].executions),
        )
        for name, end in after.items()
        if name in before and (requests := end.requests - before[name].requests) > 0
    }


class ServerMemory:
    """Reads the resident memory of a server's processes; ``pid`` is that of the first."""

    def __init__(self, pid: int) -> None:
        self._processes: list[Any] = [_psutil().Process(pid), *children_of(pid)]
        self._watched_mib: list[float] = []

    def read_mib(self) -> float:
        """Return what it is now."""
        total_mib: float = sum(p.memory_info().rss for p in self._processes) / 2**20
        return total_mib

    def used(self, before_mib: float) -> MemoryUse:
        """Return what the last watched block took, given what there was before."""
        after_mib, watched = self.read_mib(), self._watched_mib
        places = [round(quarter * (len(watched) - 1) / 4) for quarter in range(5)]
        return MemoryUse(
            before_mib=before_mib,
            peak_mib=max(before_mib, after_mib, *watched),
            after_mib=after_mib,
            course_mib=tuple(watched[place] for place in places),
        )

    @contextmanager
    def watched(self) -> Iterator[None]:
        """Follow it while a block of a coroutine runs, for :meth:`used`."""
        self._watched_mib = [self.read_mib()]
        task = asyncio.get_running_loop().create_task(self._watch())
        try:
            yield
        finally:
            task.cancel()

    async def _watch(self) -> None:
        while True:
            await asyncio.sleep(_SAMPLE_S)
            self._watched_mib.append(self.read_mib())


def _psutil() -> ModuleType:
    return require("psutil", extra="serve")
