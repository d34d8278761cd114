from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import pytest


def living(group: int) -> list[int]:
    """Return the living processes of a process group."""
    members = []
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit():
            continue
        try:
            # The name, in parentheses, may hold anything; state, parent and group follow it.
            state, _, pgrp = (entry / "stat").read_text().rpartition(")")[2].split()[:3]
        except OSError:  # gone meanwhile
            continue
        if int(pgrp) == group and state != "Z":
            members.append(int(entry.name))
    return members


@pytest.fixture
def group_members() -> Callable[[int], list[int]]:
    """Return the living processes of a process group."""
    return living


@pytest.fixture
def survivors() -> Callable[[int], list[int]]:
    """Return who is left of a process group after it had time to go."""

    def wait(group: int, timeout_s: float = 10.0) -> list[int]:
        deadline = time.monotonic() + timeout_s
        while (left := living(group)) and time.monotonic() < deadline:
            time.sleep(0.05)
        return left

    return wait
