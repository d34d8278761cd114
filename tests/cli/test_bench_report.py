from __future__ import annotations

from pathlib import Path

import pytest
from typer.testing import CliRunner

from hemogat.benchmarks import report_page
from hemogat.benchmarks.figures import Figure
from hemogat.benchmarks.noise import RunWatch
from hemogat.benchmarks.report import BenchReport
from hemogat.cli.bench_report import remark_written
from hemogat.cli.main import app
from hemogat.errors import IncompleteError


@pytest.fixture
def report() -> BenchReport:
    figure = Figure(target="onnx", metric="start_up", unit="s", value=1.5)
    return BenchReport(
        **RunWatch().facts(),
        kind="latency",
        title="Latency of demo",
        settings={},
        figures=(figure,),
    )


@pytest.fixture
def results(report: BenchReport, tmp_path: Path) -> list[str]:
    paths = [tmp_path / "a.json", tmp_path / "b.json"]
    for path in paths:
        path.write_text(report.to_json())
    return [str(path) for path in paths]


def test_a_page_of_several_reports(results: list[str], tmp_path: Path) -> None:
    page = tmp_path / "page.html"
    arguments = ["bench", "report", *results, "--out", str(page), "--title", "Both"]
    result = CliRunner().invoke(app, arguments)
    assert result.exit_code == 0, result.output
    for number in (1, 2):  # nothing else tells them apart
        assert f"Latency of demo ({number} of 2)</h2>" in page.read_text()
    assert "<h1>Both</h1>" in page.read_text()


def test_a_page_never_replaces_a_result(results: list[str]) -> None:
    before = Path(results[0]).read_text()
    result = CliRunner().invoke(app, ["bench", "report", results[1], "--out", results[0]])
    assert result.exit_code == 1
    assert "expected a file name that ends in .html" in result.stderr
    assert Path(results[0]).read_text() == before


def test_a_report_gets_a_page_beside_it(
    report: BenchReport, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    remark_written(report, tmp_path / "a.json")
    assert "Latency of demo" in (tmp_path / "a.html").read_text()
    assert f"page: {tmp_path / 'a.html'}" in capsys.readouterr().err


def test_without_what_draws_the_report_is_kept_and_the_extra_named(
    report: BenchReport,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def missing(module: str, extra: str) -> None:
        raise IncompleteError(f"{module} cannot be imported; install hemogat[{extra}]")

    monkeypatch.setattr(report_page, "require", missing)
    remark_written(report, tmp_path / "a.json")
    assert "no page: matplotlib cannot be imported; install hemogat[train]" in (
        capsys.readouterr().err
    )
    assert not (tmp_path / "a.html").exists()
