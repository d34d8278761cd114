"""Progress of long work: named stages with a bar each on the terminal, and how long each took."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.progress import Progress as RichProgress
    from rich.progress import TaskID

_REDRAW_S = 0.5  # between drawings of an undisturbed stage
_SPEED_OVER_S = 3600.0  # a step of training may take minutes


class Stage:
    """One running stage; silent when it has no bar."""

    def __init__(self, bar: RichProgress | None, task: TaskID | None) -> None:
        self._bar = bar
        self._task = task
        self._drawn_s = 0.0

    def advance(self, steps: int = 1, *, note: str | None = None) -> None:
        """Move the bar by ``steps``, with a note beside it (a loss, a file name)."""
        if self._bar is not None and self._task is not None:
            self._bar.update(self._task, advance=steps)
            if note is not None:
                self._bar.update(self._task, note=note)
            now_s = time.monotonic()
            if not self._bar.live.auto_refresh and now_s - self._drawn_s > _REDRAW_S:
                self._bar.refresh()
                self._drawn_s = now_s

    def reach(self, done: int, total: int) -> None:
        """Move the bar to ``done`` of ``total`` steps."""
        if self._bar is not None and self._task is not None:
            self._bar.update(self._task, completed=done, total=total)


class Progress:
    """Runs stages one after the other; ``durations_s`` has every finished stage's seconds.

    ``visible``: draw bars on standard error, so that standard output stays for results.
    """

    def __init__(self, *, visible: bool = False) -> None:
        self.visible = visible
        self.durations_s: dict[str, float] = {}

    @contextmanager
    def stage(
        self, title: str, total: int | None = None, *, undisturbed: bool = False
    ) -> Iterator[Stage]:
        """Run one stage of ``total`` steps (None: unknown).

        ``undisturbed``: the bar is drawn as the stage advances, and seldom, not by a thread that
        takes the interpreter from what is being timed, a millisecond at a time.
        """
        started = time.perf_counter()
        bar = self._new_bar(auto_refresh=not undisturbed) if self.visible else None
        with bar or nullcontext():
            task = bar.add_task(title, total=total, note="") if bar else None
            yield Stage(bar, task)
            if bar is not None and task is not None:
                done = bar.tasks[0]
                bar.update(task, total=done.total or 1, completed=done.total or 1)
        self.durations_s[title] = self.durations_s.get(title, 0.0) + time.perf_counter() - started

    @staticmethod
    def _new_bar(*, auto_refresh: bool) -> RichProgress:
        from rich.console import Console
        from rich.progress import (
            BarColumn,
            MofNCompleteColumn,
            SpinnerColumn,
            TextColumn,
            TimeElapsedColumn,
            TimeRemainingColumn,
        )
        from rich.progress import Progress as RichProgress
        from rich.table import Column

        return RichProgress(
            SpinnerColumn(finished_text="[green]✓"),
            TextColumn("{task.description:<20}"),
            BarColumn(bar_width=8),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TextColumn("[dim]left"),
            TimeRemainingColumn(compact=True),
            # On a narrow terminal the note is cut off, nothing else.
            TextColumn(
                "[dim]{task.fields[note]}",
                table_column=Column(ratio=1, no_wrap=True, overflow="ellipsis"),
            ),
            console=Console(stderr=True),
            auto_refresh=auto_refresh,
            expand=True,
            speed_estimate_period=_SPEED_OVER_S,
        )
