"""Independent work in processes of its own, as much at once as there are cores.

For what holds Python's lock: tracing a model, quantising it.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import tempfile
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path
from threading import Thread
from typing import Any, NamedTuple

from hemogat.errors import HemogatError
from hemogat.machine import usable_cores
from hemogat.progress import Stage


class Task(NamedTuple):
    """A call of what a fresh process can import; ``note`` stands beside the bar when it is done."""

    note: str
    function: Callable[..., Any]
    arguments: tuple[Any, ...]


def run_in_processes(tasks: Sequence[Task], scratch: Path, bar: Stage) -> list[Any]:
    """Run all tasks, the first ones first; return what they return, in their order.

    ``scratch``: where their temporary files go.

    Raises:
        HemogatError: a task raised it, or its process died.
    """
    context = multiprocessing.get_context("spawn")  # torch's threads do not survive a fork
    at_once, others = min(usable_cores(), len(tasks)), multiprocessing.active_children()
    with ProcessPoolExecutor(at_once, context, _set_up, (scratch,)) as pool:
        try:
            futures = {pool.submit(task.function, *task.arguments): task for task in tasks}
            for future in as_completed(futures):
                future.result()
                bar.advance(note=futures[future].note)
        except BrokenProcessPool as error:
            raise HemogatError(
                "a process that built what is to be measured died, or its error could not be "
                "passed on; is there memory enough?"
            ) from error
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            _terminate([p for p in multiprocessing.active_children() if p not in others])
            raise
        return [future.result() for future in futures]


def _terminate(processes: Sequence[Any]) -> None:
    for process in processes:
        process.terminate()
    for process in processes:  # whoever removes the scratch folder must find nobody writing
        process.join()


def _set_up(scratch: Path) -> None:
    """Set up a process that ends with the one that started it, which also answers Ctrl-C."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    tempfile.tempdir = str(scratch)
    Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    assert parent is not None
    parent.join()
    os._exit(1)
