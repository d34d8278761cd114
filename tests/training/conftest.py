"""Small parts for training tests."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest

from hemogat.progress import Progress, Stage


class _Notes(Stage):
    def __init__(self, notes: list[str]) -> None:
        super().__init__(None, None)
        self._notes = notes

    def advance(self, steps: int = 1, *, note: str | None = None) -> None:
        self._notes.append(note or "")


class RecordedProgress(Progress):
    """Keeps what each stage said at each step."""

    def __init__(self) -> None:
        super().__init__()
        self.notes: dict[str, list[str]] = {}

    @contextmanager
    def stage(self, title: str, total: int | None = None) -> Iterator[Stage]:
        yield _Notes(self.notes.setdefault(title, []))


@pytest.fixture
def recorded() -> Callable[[], RecordedProgress]:
    """Return what makes a progress that remembers its notes."""
    return RecordedProgress
