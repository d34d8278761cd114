from __future__ import annotations

import math
import os

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


def test_results_come_in_the_order_of_tasks_from_other_processes() -> None:
    bar = Notes()
    tasks = [Task(f"{n}", math.factorial, (n,)) for n in range(1, 6)]
    *found, process = run_in_processes([*tasks, Task("pid", os.getpid, ())], bar)
    assert found == [1, 2, 6, 24, 120]
    assert process != os.getpid()
    assert sorted(str(note) for note in bar.notes) == ["1", "2", "3", "4", "5", "pid"]


def test_errors_keep_their_kind() -> None:
    with pytest.raises(InputError, match="nowhere"):
        run_in_processes([Task("a", parse_target, ("nowhere",))], Stage(None, None))


def test_a_process_that_dies_is_told_of() -> None:
    with pytest.raises(HemogatError, match="died; is there memory"):
        run_in_processes([Task("a", os._exit, (9,))], Stage(None, None))
