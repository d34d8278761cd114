from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from hemogat.benchmarks.figures import Figure
from hemogat.benchmarks.noise import RunWatch
from hemogat.benchmarks.report import BenchReport
from hemogat.cli.main import app


def write(path: Path, audio_ms: float, fusion_ms: float, cpu: str | None = None) -> str:
    facts = RunWatch().facts()
    if cpu is not None:
        facts["environment"] = facts["environment"].model_copy(update={"cpu": cpu})
    report = BenchReport(
        **facts,
        kind="latency",
        title="Latency of demo",
        settings={"rounds": 3},
        figures=(
            Figure(
                target="onnx", metric="p50", unit="ms", value=audio_ms,
                low=audio_ms - 1, high=audio_ms + 1, axes={"component": "audio_encoder"},
            ),
            Figure(
                target="onnx", metric="p50", unit="ms", value=fusion_ms,
                low=fusion_ms - 1, high=fusion_ms + 1, axes={"component": "fusion"},
            ),
            Figure(target="onnx", metric="start_up", unit="s", value=fusion_ms),
        ),
    )  # fmt: skip
    path.write_text(report.to_json())
    return str(path)


@pytest.fixture
def reports(tmp_path: Path) -> tuple[str, str]:
    return write(tmp_path / "a.json", 50, 10), write(tmp_path / "b.json", 50.5, 12.5)


def compare(*arguments: str) -> tuple[int, str, str]:
    result = CliRunner().invoke(app, ["bench", "compare", *arguments])
    return result.exit_code, result.stdout, result.stderr


def test_it_shows_what_noise_does_not_explain(reports: tuple[str, str]) -> None:
    code, out, _ = compare(*reports)
    assert code == 0
    row, once = (line for line in out.splitlines() if line.startswith("onnx"))
    assert row.split()[-1] == once.split()[-1] == "worse"
    assert "component fusion" in row
    assert "+25.0 %" in row
    assert once.split()[-2] == "none"  # its interval
    assert "3 figures in both: 2 worse; 1 within noise; 1 without intervals" in out
    assert "p50: 1 of 2 agree within their intervals, 1 have them within ±5 % in both runs" in out


def test_all_shows_the_rest_too(reports: tuple[str, str]) -> None:
    _, out, _ = compare(*reports, "--all")
    assert len([line for line in out.splitlines() if line.startswith("onnx")]) == 3


@pytest.mark.parametrize(("tolerated", "code"), [("10%", 1), ("20", 1), ("30%", 0)])
def test_a_regression_beyond_the_tolerated_fails(
    reports: tuple[str, str], tolerated: str, code: int
) -> None:
    found, _, err = compare(*reports, "--fail-on-regression", tolerated)
    assert found == code
    assert ("2 figures got worse by more than" in err) == (code == 1)


def test_what_got_better_does_not_fail(reports: tuple[str, str]) -> None:
    assert compare(*reversed(reports), "--fail-on-regression", "0%")[0] == 0


def test_as_json(reports: tuple[str, str]) -> None:
    code, out, _ = compare(*reports, "--json", "--fail-on-regression", "10%")
    assert code == 1
    verdicts = [change["verdict"] for change in json.loads(out)["changes"]]
    assert verdicts == ["within noise", "worse", "worse"]


def test_another_machine_has_an_exit_code_of_its_own(
    reports: tuple[str, str], tmp_path: Path
) -> None:
    other = write(tmp_path / "c.json", 50, 10, cpu="Other CPU")
    assert compare(reports[0], other)[0] == 0
    code, _, err = compare(reports[0], other, "--fail-on-regression", "10%")
    assert code == 4
    assert "expected reports of one machine, found two" in err
    allowed = ("--fail-on-regression", "10%", "--allow-other-machine")
    assert compare(reports[0], other, *allowed)[0] == 0
    assert compare(other, reports[1], *allowed)[0] == 1


def test_what_cannot_be_compared_is_refused(reports: tuple[str, str], tmp_path: Path) -> None:
    code, _, err = compare(*reports, "--fail-on-regression", "much")
    assert (code, err.count("\n")) == (1, 1)
    assert "expected a percentage" in err
    code, _, err = compare(reports[0], str(tmp_path / "none.json"))
    assert code == 1
    assert "none.json: cannot be read" in err
