from __future__ import annotations

import time
from pathlib import Path

import pytest

from hemogat.serving.server_log import LogFollower, parse_line


def test_lines_come_as_they_are_written_and_none_is_lost(tmp_path: Path) -> None:
    path = tmp_path / "log"
    path.write_text("from an earlier start\n")
    lines: list[str] = []
    follower = LogFollower(path, lines.append)
    with path.open("a") as log:
        for part in ("one\ntw", "o\n", "three\nunfinished"):
            log.write(part)
            log.flush()
            time.sleep(0.05)
        log.write(", now finished\n")
    follower.stop()
    assert lines == ["one", "two", "three", "unfinished, now finished"]


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        (
            'I1123 10:00:00.123456 77 server.cc:674] "Started"',
            {"level": "info", "source": "server.cc:674", "message": "Started"},
        ),
        (
            "E1123 10:00:00.123456 77 pb_stub.cc:1] failed: a]b",
            {"level": "error", "source": "pb_stub.cc:1", "message": "failed: a]b"},
        ),
        ("+----+", {"level": "info", "source": None, "message": "+----+"}),
        ("  ", None),
    ],
)
def test_lines_are_taken_apart(line: str, expected: dict[str, object] | None) -> None:
    assert parse_line(line) == expected
