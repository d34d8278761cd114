from __future__ import annotations

import math
import multiprocessing
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import psutil
import pytest

from hemogat.benchmarks.in_processes import Task, run_in_processes
from hemogat.benchmarks.targets import parse_target
from hemogat.errors import HemogatError, InputError
from hemogat.progress import Stage


class Notes(Stage):
    """A stage that keeps its notes."""

    def __init__(self) -> None:
        super().__init__(None, None)
        self.notes: list[str | None] = []

    def advance(self, steps: int = 1, *, note: str | None = None) -> None:
        self.notes.append(note)


def test_results_come_in_the_order_of_tasks_from_other_processes(tmp_path: Path) -> None:
    bar = Notes()
    tasks = [Task(f"{n}", math.factorial, (n,)) for n in range(1, 6)]
    tasks += [Task("pid", os.getpid, ()), Task("scratch", tempfile.gettempdir, ())]
    *found, process, scratch = run_in_processes(tasks, tmp_path, bar)
    assert found == [1, 2, 6, 24, 120]
    assert process != os.getpid()
    assert scratch == str(tmp_path)
    assert sorted(str(note) for note in bar.notes) == ["1", "2", "3", "4", "5", "pid", "scratch"]


def test_errors_keep_their_kind_and_end_what_still_runs(tmp_path: Path) -> None:
    others = multiprocessing.active_children()
    tasks = [Task("a", parse_target, ("nowhere",)), Task("b", time.sleep, (600,))]
    with pytest.raises(InputError, match="nowhere"):
        run_in_processes(tasks, tmp_path, Stage(None, None))
    assert multiprocessing.active_children() == others


def test_a_process_that_dies_is_told_of(tmp_path: Path) -> None:
    with pytest.raises(HemogatError, match="is there memory enough"):
        run_in_processes([Task("a", os._exit, (9,))], tmp_path, Stage(None, None))


def test_processes_end_with_the_one_that_started_them(tmp_path: Path) -> None:
    script = f"""
import os, time
from pathlib import Path
from hemogat.benchmarks.in_processes import Task, run_in_processes
from hemogat.progress import Stage
if __name__ == "__main__":
    class Killed(Stage):
        def advance(self, steps=1, *, note=None):
            os.kill(os.getpid(), 9)
    tasks = [Task("pid", os.getpid, ()), Task("sleep", time.sleep, (600,))]
    run_in_processes(tasks, Path({str(tmp_path)!r}), Killed(None, None))
"""
    (tmp_path / "killed.py").write_text(script)
    before = set(psutil.pids())
    subprocess.run([sys.executable, tmp_path / "killed.py"], check=False, timeout=60)
    for _ in range(100):
        left = [p for p in set(psutil.pids()) - before if _is_spawned(p)]
        if not left:
            return
        time.sleep(0.1)
    raise AssertionError(f"still there: {left}")


def _is_spawned(pid: int) -> bool:
    try:
        return "spawn_main" in " ".join(psutil.Process(pid).cmdline())
    except psutil.Error:
        return False
