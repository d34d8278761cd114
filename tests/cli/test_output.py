from __future__ import annotations

import sys

import pytest

from hemogat.cli.output import percent, print_facts, print_table, size


@pytest.mark.parametrize(
    ("count_bytes", "expected"),
    [
        (0, "0 B"),
        (1023, "1023 B"),
        (1024, "1.0 KiB"),
        (5 * 2**20 + 2**19, "5.5 MiB"),
        (3 * 2**40, "3072.0 GiB"),
    ],
)
def test_size(count_bytes: int, expected: str) -> None:
    assert size(count_bytes) == expected


def test_percent() -> None:
    assert percent(5 / 6) == "83.3"


def test_facts_line_up(capsys: pytest.CaptureFixture[str]) -> None:
    print_facts({"a": "one\ntwo", "longer": ""})
    lines = capsys.readouterr().out.splitlines()
    assert [line.rstrip() for line in lines] == ["a       one", "        two", "longer"]


def test_a_table_prints_what_it_is_given(capsys: pytest.CaptureFixture[str]) -> None:
    print_table(("name",), ("n",), [("[red]x[/red] :smile:", "1"), ("y", "23")])
    heading, rule, *rows = (line.rstrip() for line in capsys.readouterr().out.splitlines())
    assert heading.split() == ["name", "n"]
    assert set(rule) == {"─"}
    assert rows == ["[red]x[/red] :smile:    1", "y                      23"]


def test_in_a_pipe_no_cell_wraps_or_is_cut_off(capsys: pytest.CaptureFixture[str]) -> None:
    print_table(("path", "name"), ("ms",) * 20, [("/very/long" * 50, "b", *["12345.67"] * 20)])
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 3
    assert lines[2].split() == ["/very/long" * 50, "b", *["12345.67"] * 20]


def test_on_a_terminal_cells_are_cut_off(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    monkeypatch.setenv("COLUMNS", "60")
    print_table(("path",), (), [("/very/long" * 50,)])
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 3
    assert len(lines[2]) <= 60
    assert lines[2].endswith("…")
