"""The process that runs one target: ``python -m hemogat.benchmarks.worker``.

Requests come in on standard input, answers go out on what was standard output when it started;
what libraries print goes to standard error.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable
from typing import TextIO

from hemogat.benchmarks.energy import EnergyMeter
from hemogat.benchmarks.peak_memory import own_peak_memory_mib
from hemogat.benchmarks.runners import Runner, open_runner
from hemogat.benchmarks.targets import Case, Target
from hemogat.benchmarks.worker_protocol import REQUEST, Close, Closed, Failed, Open, Run, Turn
from hemogat.config import Settings
from hemogat.errors import HemogatError

OpenTarget = Callable[[Target, int | None, str], Runner]  # target, threads, device


def answer_requests(open_target: OpenTarget = open_runner) -> None:
    """Answer requests until told to close, or until the other side is gone."""
    answers = _take_standard_output()
    session: _Session | None = None
    for line in sys.stdin:
        request = REQUEST.validate_json(line)
        answer: Settings
        try:
            if isinstance(request, Open):
                session = _Session(open_target(request.target, request.threads, request.device))
                answer = session.runner.opened
            elif isinstance(request, Close):
                answer = Closed(
                    peak_memory_mib=own_peak_memory_mib(), torch_loaded="torch" in sys.modules
                )
            else:
                assert session is not None, "run before open"
                answer = session.run(request)
        except HemogatError as error:
            answer = Failed(kind=type(error).__name__, message=str(error))
        print(answer.model_dump_json(), file=answers, flush=True)
        if isinstance(request, Close):
            return


class _Session:
    def __init__(self, runner: Runner) -> None:
        self.runner = runner
        self._calls: dict[Case, Callable[[], object]] = {}
        self._meter = EnergyMeter()

    def run(self, request: Run) -> Turn:
        key = request.case
        if key not in self._calls:
            self._calls[key] = self.runner.prepare(key)
        call = self._calls[key]
        for _ in range(request.untimed):
            call()
        self._meter.since_last_j()
        times_ms, cpu_before_s = [], time.process_time()
        for _ in range(request.timed):
            started_ns = time.perf_counter_ns()
            call()
            times_ms.append((time.perf_counter_ns() - started_ns) / 1e6)
        cpu_s = time.process_time() - cpu_before_s
        energy_j = self._meter.since_last_j()
        return Turn(times_ms=tuple(times_ms), energy_j=energy_j, cpu_s=cpu_s)


def _take_standard_output() -> TextIO:
    """Return standard output, and lead what others write there to standard error."""
    ours = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    return ours


if __name__ == "__main__":
    answer_requests()
