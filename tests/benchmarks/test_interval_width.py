from __future__ import annotations

import json
from pathlib import Path

import interval_width
import numpy as np
import pytest

from hemogat.benchmarks.environment import describe_environment
from hemogat.benchmarks.report import BenchReport
from hemogat.benchmarks.series import Series
from hemogat.errors import InputError


def report_with(*series: Series) -> BenchReport:
    return BenchReport(
        kind="gnn",
        title="Layers",
        created_utc="2026-11-01T12:00:00+00:00",
        environment=describe_environment(),
        load_average_before=(0.1, 0.2, 0.3),
        load_average_after=(0.1, 0.2, 0.3),
        settings={},
        notes=("warning: the machine itself was not steady", "epochs taken: 8 of 6 rounds"),
        series=series,
    )


def series(target: str, epochs: int, spread: float) -> Series:
    random = np.random.default_rng(0)
    levels = 10 * np.exp(random.normal(0, spread, (epochs, 1)))
    medians_ms = levels * np.exp(random.normal(0, 0.001, (epochs, 6)))
    return Series(
        target=target,
        started_s=tuple(20.0 * n for n in range(epochs)),
        medians_ms=tuple(tuple(each) for each in medians_ms),
    )


def test_intervals_narrow_with_epochs_and_what_is_known_stays(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    found = report_with(
        series("steady", 5, 0.001), series("moving", 30, 0.1), series("reference", 40, 0.5)
    )
    (tmp_path / "report.json").write_text(found.to_json())
    out = tmp_path / "widths.json"
    interval_width.main([str(tmp_path / "report.json"), "--out", str(out)])
    widths = json.loads(out.read_text())
    assert widths["medians"] == 2
    assert widths["notes"] == ["warning: the machine itself was not steady"]
    first, last = widths["after"][0], widths["after"][-1]
    assert (first["epochs"], first["began_s"], first["narrow"]) == (3, 40, 1)
    assert (last["epochs"], last["began_s"], last["narrow"]) == (30, 580, 2)
    assert first["widest"] > 0.1 > 0.05 >= last["widest"]
    printed = capsys.readouterr().out.splitlines()
    assert len(printed) == 1 + len(widths["after"])
    assert "2 of   2" in printed[-1]


def test_a_report_without_epochs_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "report.json"
    path.write_text(report_with(series("a", 2, 0.1)).to_json())
    with pytest.raises(InputError, match="expected the times of 3 epochs or more, found 2"):
        interval_width.interval_widths(path)
    with pytest.raises(SystemExit) as ended:
        interval_width.main([str(path)])
    assert ended.value.code == 1
    assert capsys.readouterr().err.startswith(f"error: {path}: expected the times of 3 epochs")
