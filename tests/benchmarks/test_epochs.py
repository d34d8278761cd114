"""What is known leaves further epochs; the rest goes on taking turns."""

from __future__ import annotations

import time
from pathlib import Path
from typing import ClassVar

import pytest

from hemogat.benchmarks import epochs
from hemogat.benchmarks.entries import Entry
from hemogat.benchmarks.epochs import SideBySideSettings, measure_epochs
from hemogat.benchmarks.figures import Figure
from hemogat.benchmarks.findings import Findings
from hemogat.benchmarks.rounds import RoundSettings
from hemogat.benchmarks.side_by_side import measure_side_by_side
from hemogat.benchmarks.targets import Case, PeerTarget, ReferenceTarget, Target
from hemogat.benchmarks.worker_protocol import Closed, Opened, Turn
from hemogat.progress import Progress

FUSION, TEXT = Case(component="fusion"), Case(component="text_encoder")
SLOW_AT_FIRST = 2  # epochs


class Link:
    """A worker without a process: its times depend on the target's name and the epoch."""

    opened_of: dict[str, int]
    starting: ClassVar[list[tuple[int, int]]]  # epochs, and how many were starting
    _starting = 0
    start_up_s = 0.1

    def __init__(self, name: str, target: Target, *, threads: int | None, device: str) -> None:
        self.name = name
        components = ("gemm", "copy") if isinstance(target, ReferenceTarget) else _offered(name)
        self.opened = Opened.model_validate({"components": components})
        self._epoch = self.opened_of[name] = self.opened_of.get(name, 0) + 1
        Link._starting += 1
        time.sleep(0.01)
        self.starting.append((self._epoch, Link._starting))
        Link._starting -= 1
        self._ran: set[str] = set()

    def run(self, case: Case, *, untimed: int, timed: int) -> Turn:
        self._ran.add(case.component)
        unsteady = self.name.startswith("unsteady") and case == FUSION
        ms = 40.0 if unsteady and self._epoch <= SLOW_AT_FIRST else 20.0
        return Turn(times_ms=(ms,) * timed, energy_j=None)

    def close(self) -> Closed:
        return Closed(peak_memory_mib=100.0 * len(self._ran), torch_loaded=False)

    def stop(self) -> None:
        """Nothing runs."""


def _offered(name: str) -> tuple[str, ...]:
    return ("fusion", "text_encoder") if name.endswith("both") else ("fusion",)


@pytest.fixture
def opened_of(monkeypatch: pytest.MonkeyPatch) -> dict[str, int]:
    monkeypatch.setattr(epochs, "WorkerLink", Link)
    monkeypatch.setattr("hemogat.benchmarks.rounds._PAUSE_S", 0)
    found: dict[str, int] = {}
    monkeypatch.setattr(Link, "opened_of", found, raising=False)
    monkeypatch.setattr(Link, "starting", [], raising=False)
    monkeypatch.setattr(epochs, "usable_cores", lambda: 2)
    return found


def entry(name: str, group: str) -> Entry:
    return Entry(name, PeerTarget(name=name, command=("none",), folder=Path()), group)


def measured(*entries: Entry, limit_s: float = 600) -> Findings:
    rounds = RoundSettings(epochs=3, rounds=6, limit_s=limit_s)
    settings = SideBySideSettings(cases=(FUSION, TEXT), rounds=rounds)
    return measure_side_by_side(entries, settings)


def test_what_is_known_leaves_and_its_partners_stay(opened_of: dict[str, int]) -> None:
    known = [entry("steady both", "known"), entry("steady too", "known")]
    found = measured(*known, entry("unsteady both", ""), entry("beside it", ""))
    ((taken, _),) = found.epochs
    assert taken > 3
    assert opened_of == {
        "steady both": 3, "steady too": 3,
        "unsteady both": taken, "beside it": taken, "reference": taken,
    }  # fmt: skip
    counts = {
        (s.target, s.axes["component"]): len(s.medians_ms)
        for s in found.series
        if s.target != "reference"
    }
    assert counts == {
        ("steady both", "fusion"): 3, ("steady too", "fusion"): 3,
        ("steady both", "text_encoder"): 3, ("unsteady both", "text_encoder"): 3,
        ("unsteady both", "fusion"): taken, ("beside it", "fusion"): taken,
    }  # fmt: skip


def test_ratios_and_memory_are_of_whole_epochs(opened_of: dict[str, int]) -> None:
    found = measured(entry("unsteady both", ""), entry("steady", "known"))

    def one(target: str, metric: str) -> Figure:
        return next(f for f in found.figures if (f.target, f.metric) == (target, metric))

    assert opened_of["unsteady both"] > opened_of["steady"] == 3
    assert one("steady", "relative").value == pytest.approx(1)
    assert one("unsteady both", "relative").value == pytest.approx(1)
    assert one("unsteady both", "peak_memory").value == 200  # one case alone needs less
    assert one("machine", "copy_rate").low is not None


def test_start_up_is_timed_alone_and_later_processes_start_together(
    opened_of: dict[str, int],
) -> None:
    rounds = RoundSettings(epochs=5, rounds=10)
    settings = SideBySideSettings(cases=(FUSION,), rounds=rounds)
    entries = [entry(name, "") for name in ("one", "two", "three")]
    found = measure_epochs(entries, settings, Findings(), Progress())
    assert [len(measured.start_up_s) for measured in found] == [3, 3, 3, 3]
    assert opened_of["one"] == 5
    most = {epoch: max(n for e, n in Link.starting if e == epoch) for epoch in range(1, 6)}
    assert most == {1: 1, 2: 1, 3: 1, 4: 2, 5: 2}


def test_the_limit_ends_it_before_all_is_known(opened_of: dict[str, int]) -> None:
    found = measured(entry("unsteady both", ""), limit_s=0)
    assert found.epochs == [(3, 2)]
    (needed,) = (note for note in found.notes if "with a limit of" in note)
    assert needed.startswith("at this noise all medians would be within ±5 % after about")
