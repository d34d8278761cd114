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

    Pages that they share count once for each.
    """

    before_mib: float
    peak_mib: float
    after_mib: float


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
        self.peak_mib = 0.0

    def read_mib(self) -> float:
        """Return what it is now."""
        total_mib: float = sum(p.memory_info().rss for p in self._processes) / 2**20
        self.peak_mib = max(self.peak_mib, total_mib)
        return total_mib

    @contextmanager
    def watched(self) -> Iterator[None]:
        """Keep ``peak_mib`` up to date while a block of a coroutine runs."""
        self.peak_mib = 0.0
        task = asyncio.get_running_loop().create_task(self._watch())
        try:
            yield
        finally:
            task.cancel()

    async def _watch(self) -> None:
        while True:
            self.read_mib()
            await asyncio.sleep(_SAMPLE_S)


def _psutil() -> ModuleType:
    return require("psutil", extra="serve")
