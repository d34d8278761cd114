from __future__ import annotations

import json
from pathlib import Path

import pytest

from hemogat.benchmarks.environment import Environment
from hemogat.benchmarks.figures import Figure
from hemogat.benchmarks.report import BenchReport, read_report
from hemogat.config import Settings
from hemogat.errors import InputError


class Rounds(Settings):
    rounds: int = 3


class Kind(BenchReport):
    kind: str = "some kind"
    settings: Rounds = Rounds()
    own: int = 7


@pytest.fixture
def report() -> Kind:
    return Kind(
        title="Some figures",
        created_utc="2026-11-01T12:00:00+00:00",
        environment=Environment(
            cpu="Some CPU",
            cores=2,
            cpu_flags=("avx2",),
            memory_gib=7.8,
            os="Linux",
            versions={"python": "3.11.7"},
            git_commit="ab" * 20,
        ),
        load_average_before=(0.1, 0.2, 0.3),
        load_average_after=(1.5, 0.2, 0.3),
        other_cpu_share=0.01,
        notes=("taken in turns",),
        figures=(Figure(target="a", metric="p50", unit="ms", value=2.0, low=1.0, high=3.0),),
    )


def test_a_report_of_any_kind_is_read_back(report: Kind, tmp_path: Path) -> None:
    path = tmp_path / "report.json"
    path.write_text(report.to_json())
    found = read_report(path)
    assert found.kind == "some kind"
    assert found.figures == report.figures
    assert found.settings == {"rounds": 3}
    assert found.conditions() == report.conditions()
    assert Kind.model_validate_json(report.to_json()) == report


def test_what_figures_depend_on_is_told(report: Kind) -> None:
    hardware, software, note, noise = report.conditions()
    assert hardware == "Some CPU, 2 cores (avx2), 7.8 GiB; Linux"
    assert software == "python 3.11.7; commit " + "ab" * 20
    assert note == "taken in turns"
    assert noise == (
        "load average (1 minute) 0.1 before, 1.5 after; "
        "other processes used 1.0 % of the machine's CPU time"
    )


def test_a_busy_machine_is_warned_of(report: Kind) -> None:
    assert not report.noisy
    busy = report.model_copy(update={"other_cpu_share": 0.3})
    assert busy.noisy
    assert busy.conditions()[-1].startswith("WARNING, the machine was busy with other work")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "is not JSON"),
        ("[" * 100_000, "is not JSON"),
        ('{"a":' * 100_000, "is not JSON"),
        ('{"schema_version": ' + "9" * 10_000 + "}", "is not JSON|found version 9"),
        ("[]", "expected a benchmark report of schema version 2, found none"),
        ('{"schema_version": 99}', "found version 99; measure again"),
        ('{"schema_version": 2}', "is no benchmark report: kind: Field required"),
    ],
)
def test_other_files_are_refused(text: str, message: str, tmp_path: Path) -> None:
    path = tmp_path / "report.json"
    path.write_text(text)
    with pytest.raises(InputError, match=message) as caught:
        read_report(path)
    assert str(path) in str(caught.value)


def test_a_missing_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="cannot be read"):
        read_report(tmp_path / "none.json")


def test_the_json_stands_for_itself(report: Kind) -> None:
    raw = json.loads(report.to_json())
    assert raw["schema_version"] == 2
    assert raw["figures"][0]["low"] == 1.0
