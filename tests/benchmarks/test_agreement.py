from __future__ import annotations

import json
from pathlib import Path

import pytest
import repeatability

from hemogat.benchmarks.agreement import agreement
from hemogat.benchmarks.environment import describe_environment
from hemogat.benchmarks.figures import Figure
from hemogat.benchmarks.report import BenchReport
from hemogat.benchmarks.report_comparison import compare


def report(*figures: Figure) -> BenchReport:
    return BenchReport(
        kind="gnn",
        title="Layers",
        created_utc="2026-11-01T12:00:00+00:00",
        environment=describe_environment(),
        load_average_before=(0.1, 0.2, 0.3),
        load_average_after=(0.1, 0.2, 0.3),
        other_cpu_share=0.0,
        settings={},
        figures=figures,
    )


def timed(target: str, value: float, width: float = 0.3, metric: str = "p50") -> Figure:
    return Figure(
        target=target, metric=metric, unit="ms" if metric == "p50" else "ratio",
        value=value, low=value - width, high=value + width,
    )  # fmt: skip


FIRST = report(
    *(timed("a", 10.0), timed("b", 10.0), timed("c", 10.0, width=1.0)),
    timed("a", 2.0, 0.05, metric="speed_up"),
    Figure(target="once", metric="p50", unit="ms", value=1.0),
)
SECOND = report(
    *(timed("a", 10.4), timed("b", 12.0), timed("c", 10.9, width=1.0)),
    timed("a", 2.02, 0.05, metric="speed_up"),
    Figure(target="once", metric="p50", unit="ms", value=9.0),
)


def test_figures_with_intervals_in_both_runs_are_counted() -> None:
    found = agreement(compare(FIRST, SECOND).changes, "p50")
    assert found is not None
    assert (found.figures, found.agree, found.narrow, found.close) == (3, 2, 2, 1)
    assert found.apart == ("b p50: +20.0 %",)
    assert found.median_difference_percent == pytest.approx(9)
    assert found.largest_difference_percent == pytest.approx(20)
    assert agreement(compare(FIRST, SECOND).changes, "throughput") is None


def test_two_folders_of_suites(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name, content in (("first", FIRST), ("second", SECOND)):
        place = tmp_path / name / "suite" / "step"
        place.mkdir(parents=True)
        (place / "gnn.json").write_text(content.to_json())
        (place / "step.json").write_text("{}")
    out = tmp_path / "found.json"
    repeatability.main([str(tmp_path / "first"), str(tmp_path / "second"), "--out", str(out)])
    found = json.loads(out.read_text())
    assert [each["report"] for each in found["reports"]] == ["suite/step"]
    times, ratios = found["overall"]
    assert (times["metric"], times["agree"], times["figures"]) == ("p50", 2, 3)
    assert (ratios["metric"], ratios["agree"], ratios["figures"]) == ("speed_up", 1, 1)
    (suite, every) = found["suites"]
    assert (suite["suite"], every["suite"]) == ("suite", "all")
    assert suite["medians"] == [{"with_interval": 3, "narrow": 2}] * 2
    told = capsys.readouterr().out
    assert "suite:\n  p50: 2 of 3 agree within their intervals" in told
    assert "p50 intervals within ±5 %: first run 2 of 3 (67 %), second 2 of 3 (67 %)" in told
    repeatability.main([str(tmp_path / "first"), str(tmp_path / "second"), "--json"])
    assert json.loads(capsys.readouterr().out) == found
    with pytest.raises(SystemExit) as ended:
        repeatability.main([str(tmp_path / "first"), str(tmp_path / "none")])
    assert ended.value.code == 1
    told = capsys.readouterr().err
    assert told.startswith("error: ")
    assert "expected reports at the same places, found none" in told
