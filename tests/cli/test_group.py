from __future__ import annotations

import errno

import pytest
import typer
from typer.testing import CliRunner

from hemogat.cli.group import CommandGroup
from hemogat.errors import IncompleteError, InputError

RAISED = {
    "refused": (InputError("clip.wav: is empty"), 1, "error: clip.wav: is empty\n"),
    "incomplete": (IncompleteError("no engine"), 3, "error: no engine\n"),
    "interrupted": (KeyboardInterrupt(), 130, "interrupted\n"),
    "full": (OSError(errno.ENOSPC, "No space left", "a.csv"), 1, "error: a.csv: No space left\n"),
    "unnamed": (OSError("libfoo.so: cannot be opened"), 1, "error: libfoo.so: cannot be opened\n"),
}


@pytest.fixture(scope="module")
def app() -> typer.Typer:
    app = typer.Typer(cls=CommandGroup)

    def add(name: str, error: BaseException) -> None:
        @app.command(name)
        def fail() -> None:
            raise error

    for name, (error, _, _) in RAISED.items():
        add(name, error)
    add("bug", RuntimeError("a fault of ours"))
    return app


@pytest.mark.parametrize("name", RAISED)
def test_what_a_user_can_cause_is_one_line(app: typer.Typer, name: str) -> None:
    _, code, line = RAISED[name]
    result = CliRunner().invoke(app, [name])
    assert result.exit_code == code
    assert result.stderr == line
    assert result.stdout == ""


def test_every_problem_is_listed(app: typer.Typer) -> None:
    problems = [f"row {number}: no label" for number in range(60)]

    @app.command("many")
    def fail() -> None:
        raise InputError("m.csv: 60 problems", problems)

    lines = CliRunner().invoke(app, ["many"]).stderr.splitlines()
    assert lines == [*(f"  {problem}" for problem in problems), "error: m.csv: 60 problems"]


def test_a_bug_keeps_its_traceback(app: typer.Typer) -> None:
    result = CliRunner().invoke(app, ["bug"])
    assert isinstance(result.exception, RuntimeError)
