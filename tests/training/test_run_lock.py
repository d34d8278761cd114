from __future__ import annotations

import errno
import fcntl
import subprocess
import sys
from pathlib import Path

import pytest

from hemogat.errors import InputError
from hemogat.training.run_lock import locked

HOLD = """
import sys, time
from pathlib import Path
from hemogat.training.run_lock import locked

with locked(Path(sys.argv[1]), Path("run")):
    print("held", flush=True)
    time.sleep(60)
"""
TAKEN = r"^run: is being trained by another process; .* --out"
RUN = Path("run")


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "partial.json"
    path.write_text("content")
    return path


def take(file: Path) -> None:
    with locked(file, RUN):
        pass


def test_one_holds_it_at_a_time(file: Path) -> None:
    with locked(file, RUN), pytest.raises(InputError, match=TAKEN):
        take(file)
    take(file)
    assert file.read_text() == "content"


def test_a_process_that_is_killed_lets_go(file: Path) -> None:
    command = [sys.executable, "-c", HOLD, str(file)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "held\n"
        with pytest.raises(InputError, match=TAKEN):
            take(file)
        process.kill()
    take(file)


def test_a_file_that_is_renamed_stays_locked(file: Path) -> None:
    with locked(file, RUN):
        moved = file.rename(file.with_name("moved.json"))
        with pytest.raises(InputError, match=TAKEN):
            take(moved)


def test_a_file_that_goes_while_it_is_locked_is_somebody_elses(
    file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def replace(*_: object) -> None:
        file.unlink()
        file.write_text("another")

    monkeypatch.setattr(fcntl, "flock", replace)
    with pytest.raises(InputError, match=TAKEN):
        take(file)
    monkeypatch.setattr(fcntl, "flock", lambda *_: file.unlink())
    for _ in range(2):  # gone behind its opening, and before
        with pytest.raises(InputError, match=TAKEN):
            take(file)


def test_a_file_system_without_locks_keeps_nobody_out(
    file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def flock(*_: object) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(fcntl, "flock", flock)
    with locked(file, RUN):
        take(file)
