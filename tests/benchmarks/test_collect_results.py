from __future__ import annotations

import shutil
from pathlib import Path

import collect_results
import pytest
import yaml
from collect_results import collect, named_in_vain, outdated, take

from hemogat.benchmarks.file_names import report_path
from hemogat.benchmarks.report import read_report
from hemogat.benchmarks.suites import STEP_FILE, Step, StepRecord
from hemogat.errors import InputError


def test_committed_results_are_what_their_suites_measure() -> None:
    assert outdated(collect_results.RESULTS, collect_results.SUITES) == []


def test_committed_reports_have_markdown_beside_them() -> None:
    reports = [
        path
        for path in collect_results.RESULTS.glob("*.json")
        if '"schema_version": 2' in path.read_text()[:60]
    ]
    assert len(reports) > 5
    bare = [path.name for path in reports if not path.with_suffix(".md").is_file()]
    assert [name for name in bare if not name.startswith("killed-server-")] == []


def measured(folder: Path, suite: str, report: str, **settings: int) -> None:
    """Leave what a suite's step leaves."""
    place = folder / suite / "iemocap"
    place.mkdir(parents=True, exist_ok=True)
    step = Step(name="iemocap", command="gnn", settings=settings)
    record = StepRecord(step=step, report=report, took_s=1.0)
    (place / STEP_FILE).write_text(record.model_dump_json())
    for name in (report, report.replace(".json", ".md")):
        (place / name).write_text(name)


def suite(folder: Path, name: str, **settings: int) -> None:
    step = {"name": "iemocap", "command": "gnn", "settings": settings}
    (folder / f"{name}.yaml").write_text(
        yaml.safe_dump({"name": name, "title": name, "steps": [step]})
    )


def test_a_later_run_of_a_step_replaces_its_files(tmp_path: Path) -> None:
    run, results = tmp_path / "run", tmp_path / "results"
    results.mkdir()
    measured(run, "table", "gnn-551.json", nodes=551)
    measured(run, "other", "gnn-7.json", nodes=7)
    collect(run, results)
    assert {path.name for path in results.iterdir()} == {
        *("gnn-551.json", "gnn-551.md", "gnn-7.json", "gnn-7.md", "suites.json"),
    }
    again = tmp_path / "again"
    measured(again, "table", "gnn-2610.json", nodes=2610)
    collect(again, results)
    assert {path.stem for path in results.glob("*.md")} == {"gnn-2610", "gnn-7"}


def test_pages_that_name_a_replaced_result_are_told(tmp_path: Path) -> None:
    (tmp_path / "there.json").touch()
    page = tmp_path / "page.md"
    page.write_text("[a](benchmarks/results/there.json)\n`results/gone-2c.md`, results/no/file\n")
    assert named_in_vain(tmp_path, [page]) == ["page.md, line 2: gone-2c.md is no longer there"]


def test_pages_name_results_that_are_there() -> None:
    assert named_in_vain(collect_results.RESULTS, collect_results.PAGES) == []


def test_a_report_of_no_suite_replaces_that_of_another_machine(tmp_path: Path) -> None:
    (committed,) = collect_results.RESULTS.glob("peers-base-*.json")
    report, results = read_report(committed), tmp_path / "results"
    results.mkdir()
    shutil.copy(committed, results)
    cores = report.environment.model_copy(update={"cores": 7})
    taken = report_path(tmp_path, cores, "peers", "base")
    taken.write_text(report.model_copy(update={"environment": cores}).to_json())
    assert take(taken, results) == [results / committed.name]
    assert [path.name for path in results.iterdir()] == [taken.name]


def test_results_of_other_settings_than_the_suites_are_noticed(tmp_path: Path) -> None:
    run, results, suites = tmp_path / "run", tmp_path / "results", tmp_path / "suites"
    results.mkdir()
    suites.mkdir()
    measured(run, "table", "gnn-551.json", nodes=551)
    collect(run, results)
    suite(suites, "table", nodes=551)
    assert outdated(results, suites) == []
    suite(suites, "table", nodes=2610)
    assert outdated(results, suites) == ["gnn-551.json: table measures iemocap otherwise by now"]
    suite(suites, "table", nodes=551)
    (results / "gnn-551.json").unlink()
    assert outdated(results, suites) == ["gnn-551.json: missing"]


def test_reports_of_one_name_are_refused(tmp_path: Path) -> None:
    measured(tmp_path, "table", "gnn.json", nodes=551)
    measured(tmp_path, "other", "gnn.json", nodes=7)
    with pytest.raises(InputError, match=r"both made gnn\.json"):
        collect(tmp_path, tmp_path)
    with pytest.raises(InputError, match="expected what suites measured, found none"):
        collect(tmp_path / "none", tmp_path)
