"""Independent work in processes of its own, as much at once as there are cores.

For what holds Python's lock: tracing a model, quantising it.
"""

from __future__ import annotations

import multiprocessing
import signal
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from typing import Any, NamedTuple, TypeVar

from hemogat.errors import HemogatError
from hemogat.machine import usable_cores
from hemogat.progress import Stage

_ResultT = TypeVar("_ResultT")


class Task(NamedTuple):
    """A call of what a fresh process can import; ``note`` stands beside the bar when it is done."""

    note: str
    function: Callable[..., Any]
    arguments: tuple[Any, ...]


def run_in_processes(tasks: Sequence[Task], bar: Stage) -> list[Any]:
    """Run all tasks, the first ones first; return what they return, in their order.

    Raises:
        HemogatError: a task raised it, or its process died.
    """
    context = multiprocessing.get_context("spawn")  # torch's threads do not survive a fork
    at_once = min(usable_cores(), len(tasks))
    with ProcessPoolExecutor(at_once, context, initializer=_leave_interrupts) as pool:
        futures = {pool.submit(task.function, *task.arguments): task for task in tasks}
        try:
            for future in as_completed(futures):
                future.result()
                bar.advance(note=futures[future].note)
        except BrokenProcessPool as error:
            raise HemogatError(
                "a process that built what is to be measured died; is there memory enough?"
            ) from error
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            for process in multiprocessing.active_children():
                process.terminate()
            raise
        return [future.result() for future in futures]


def _leave_interrupts() -> None:
    """Let the process that started this one answer Ctrl-C."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
