from __future__ import annotations

import json
from pathlib import Path

import pytest
import steady_work

from hemogat.benchmarks.bootstrap import Interval
from hemogat.benchmarks.rounds import RoundSettings


def test_its_work_takes_what_its_name_says() -> None:
    rounds = RoundSettings(epochs=3, rounds=6, limit_s=0, warm_up_limit_s=0.2)
    report = steady_work.measure(rounds, (2.0, 6.0))
    medians = {f.target: f for f in report.figures if f.metric == "p50"}
    assert medians.keys() == {"2.00", "6.00"}
    for name, median in medians.items():
        assert median.value >= float(name)  # a core that is taken away makes it longer
        assert median.low is not None
    (told,) = (note for note in report.notes if note.startswith("intervals: half of the medians"))
    widths = [Interval(m.value, m.low, m.high).half_width for m in medians.values()]
    assert told.endswith(f"all within ±{100 * max(widths):.2f} %")


def test_the_report_is_written(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(steady_work, "TIMES_MS", (1.0,))
    few = ["--epochs", "1", "--rounds", "2", "--limit-s", "0"]
    steady_work.main(["--out", str(tmp_path), *few])
    (path,) = tmp_path.glob("steady-work-*.json")
    assert json.loads(path.read_text())["kind"] == "steady-work"
    assert str(path) in capsys.readouterr().out


def test_it_is_as_many_targets_as_table_5_has() -> None:
    assert len({f"{ms:.2f}" for ms in steady_work.TIMES_MS}) == len(steady_work.TIMES_MS) == 15
