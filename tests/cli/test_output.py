from __future__ import annotations

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


def test_no_cell_wraps(capsys: pytest.CaptureFixture[str]) -> None:
    print_table(("path",), (), [("/very/long" * 50,)])
    assert len(capsys.readouterr().out.splitlines()) == 3
