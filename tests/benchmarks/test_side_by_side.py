from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest

from hemogat.benchmarks.entries import Entry
from hemogat.benchmarks.epochs import SideBySideSettings
from hemogat.benchmarks.figures import Figure
from hemogat.benchmarks.findings import Findings
from hemogat.benchmarks.rounds import RoundSettings
from hemogat.benchmarks.series import Series
from hemogat.benchmarks.side_by_side import _moved, measure_side_by_side
from hemogat.benchmarks.targets import Case, PeerTarget, ReferenceTarget
from hemogat.benchmarks.worker_link import WorkerLink
from hemogat.errors import ConfigError

QUICK = RoundSettings(epochs=3, rounds=6, limit_s=0, turn_ms=1, warm_up_limit_s=0.01)
FUSION = Case(component="fusion")
# Writes down that it started; its fusion step sleeps as long as its name says.
PEER = """
import os, sys, time
from hemogat.benchmarks.worker import answer_requests
from hemogat.benchmarks.worker_protocol import Opened
from hemogat.errors import IncompleteError


class Sleeper:
    opened = Opened(components=("fusion",), size_mib=1.5)

    def __init__(self, target, threads, device):
        if target.name == "missing":
            raise IncompleteError("has no such models")
        self.seconds = float(target.name) / 1000
        with open(target.folder / "log", "a") as log:
            print(target.name, os.getpid(), file=log)

    def prepare(self, case):
        print("libraries print what they like")
        return lambda: time.sleep(self.seconds)


answer_requests(Sleeper)
"""


def sleeper(folder: Path, name: str, program: str = PEER) -> Entry:
    folder.mkdir(exist_ok=True)
    script = folder / "peer.py"
    script.write_text(program)
    command = (sys.executable, str(script))
    return Entry(name, PeerTarget(name=name, command=command, folder=folder))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("peers")


@pytest.fixture(scope="module")
def found(folder: Path) -> Findings:
    names = ("2", "missing", "8")
    settings = SideBySideSettings(cases=(FUSION,), rounds=QUICK, threads=(1,))
    return measure_side_by_side([sleeper(folder, name) for name in names], settings)


def of(found: Findings, metric: str) -> dict[str, Figure]:
    return {figure.target: figure for figure in found.figures if figure.metric == metric}


def test_each_epoch_has_fresh_processes_in_another_order(found: Findings, folder: Path) -> None:
    starts = [line.split() for line in (folder / "log").read_text().splitlines()]
    assert [name for name, _ in starts] == ["2", "8", "8", "2", "2", "8"]
    assert len({process for _, process in starts}) == 6
    assert found.epochs == [(3, 2)]
    assert "not measured: missing: has no such models" in found.notes


def test_what_is_taken_once_in_an_epoch_has_an_interval_too(found: Findings) -> None:
    for metric in ("start_up", "peak_memory"):
        figures = of(found, metric)
        assert figures.keys() == {"2", "8"}
        assert all(f.low is not None and f.low <= f.value for f in figures.values())
    assert of(found, "size")["2"].low is None


def test_ratios_are_to_the_first_and_to_the_reference(found: Findings) -> None:
    medians = of(found, "p50")
    (speed_up,) = of(found, "speed_up").values()
    assert (speed_up.target, speed_up.axes["over"]) == ("8", "2")
    assert speed_up.value == pytest.approx(medians["2"].value / medians["8"].value, rel=0.3)
    relative = of(found, "relative")
    assert relative.keys() == {"2", "8"}
    assert relative["2"].value < relative["8"].value
    assert all(f.low is not None and f.low <= f.value for f in relative.values())
    assert len({figure.key for figure in found.figures}) == len(found.figures)


def test_the_machines_rates_are_measured_beside_it(found: Findings) -> None:
    rates = {f.metric: f for f in found.figures if f.target == "machine"}
    assert rates.keys() == {"gemm_rate", "copy_rate"}
    for rate in rates.values():
        assert rate.value > 1e8
        assert rate.axes == {"threads": 1}
        assert rate.low is not None


def test_every_rounds_median_is_kept(found: Findings) -> None:
    kept = {(s.target, s.axes["component"]): s for s in found.series}
    parts = [("2", "fusion"), ("8", "fusion"), ("reference", "gemm"), ("reference", "copy")]
    assert sorted(kept) == sorted(parts)
    for series in kept.values():
        assert [len(epoch) for epoch in series.medians_ms] == [2, 2, 2]
        assert sorted(series.started_s) == list(series.started_s)
        assert Series.model_validate_json(series.model_dump_json()) == series
    assert '"' in kept["2", "fusion"].model_dump_json().partition("medians_ms")[2]


def test_a_reference_that_moves_is_told_of() -> None:
    assert _moved([np.full((2, 1), level) for level in (10.0, 12.0, 11.0)]) == pytest.approx(0.2)
    assert not any("reference" in line for line in Findings().told())
    (line,) = Findings(moved=["gemm by 12 %"]).told()
    assert line.startswith("warning: the machine itself was not steady")


def test_further_epochs_follow_while_medians_are_not_known(tmp_path: Path) -> None:
    def epochs(half_width: float, limit_s: float) -> int:
        rounds = QUICK.model_copy(
            update={"epochs": 1, "rounds": 1, "half_width": half_width, "limit_s": limit_s}
        )
        settings = SideBySideSettings(cases=(FUSION,), rounds=rounds, device="cuda")
        return measure_side_by_side([sleeper(tmp_path, "2")], settings).epochs[0][0]

    assert epochs(1e-9, 0) == 1  # no time is left
    assert epochs(1e9, 600) == 6  # the first that has an interval at all


def test_a_case_that_nobody_offers_is_refused(tmp_path: Path) -> None:
    settings = SideBySideSettings(rounds=QUICK, device="cuda")
    with pytest.raises(ConfigError, match="end_to_end: expected a target that offers it"):
        measure_side_by_side([sleeper(tmp_path, "2")], settings)


def test_what_a_target_lacks_by_its_nature_needs_no_note(tmp_path: Path) -> None:
    both = PEER.replace('("fusion",)', '("fusion", "text_encoder")')
    other = sleeper(tmp_path / "both", "3", both)
    settings = SideBySideSettings(
        cases=(FUSION, Case(component="text_encoder")), rounds=QUICK, device="cuda"
    )
    found = measure_side_by_side([sleeper(tmp_path, "2"), other], settings)
    assert not any("does not offer" in note for note in found.notes)
    assert len(found.series) == 3


def test_the_reference_multiplies_in_int8_too_where_that_can_run() -> None:
    link = WorkerLink("x", ReferenceTarget(int8=True), threads=1)
    assert link.opened.components == ("gemm", "copy", "gemm_int8")
    turn = link.run(Case(component="gemm_int8"), untimed=0, timed=1)
    assert turn.times_ms[0] > 0
    link.close()
