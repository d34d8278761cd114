from __future__ import annotations

from itertools import chain, repeat

from hemogat.benchmarks.rounds import RoundSettings, measure_epoch
from hemogat.benchmarks.targets import Case
from hemogat.benchmarks.worker_protocol import Turn
from hemogat.progress import Stage

SETTINGS = RoundSettings(epochs=2, rounds=7, turn_ms=50, turn_runs=10, warm_up_group=2)


class Scripted:
    """Takes as long as it is told, and writes down its turns."""

    def __init__(self, name: str, log: list[str], times_ms: list[float]) -> None:
        self.name, self.log = name, log
        self.times_ms = chain(times_ms, repeat(times_ms[-1]))

    def run(self, case: Case, *, untimed: int, timed: int) -> Turn:
        self.log.append(f"{self.name} {untimed}+{timed}")
        return Turn(times_ms=tuple(next(self.times_ms) for _ in range(timed)), energy_j=0.5)


def test_warm_up_until_stable_then_turns() -> None:
    log: list[str] = []
    slow_start = Scripted("a", log, [400, 400, 40, 40, 20])
    steady = Scripted("b", log, [1])
    players = [(slow_start, Case()), (steady, Case(component="fusion"))]
    found = measure_epoch(players, SETTINGS, Stage(None, None), [None] * len(players))
    warm_up = ["a 0+2"] * 4 + ["b 0+2"] * 2
    assert log == warm_up + ["a 1+2", "b 1+10"] * 4  # half of 7 rounds, and not fewer
    assert [measured.times_ms.shape for measured in found] == [(4, 2), (4, 10)]
    assert all(measured.stable for measured in found)
    assert [measured.energy_j for measured in found] == [0.25, 0.05]


def test_an_epoch_runs_as_often_in_a_turn_as_those_before() -> None:
    log: list[str] = []
    slower = Scripted("a", log, [40])  # one run fits now, and five did
    (found,) = measure_epoch([(slower, Case())], SETTINGS, Stage(None, None), [5])
    assert found.times_ms.shape == (4, 5)
    assert log[-1] == "a 1+5"


def test_times_that_never_settle_are_told() -> None:
    restless = Scripted("a", [], [2.0**-n for n in range(200)])
    settings = SETTINGS.model_copy(update={"warm_up_limit_s": 1e-9})
    (found,) = measure_epoch([(restless, Case())], settings, Stage(None, None), [None])
    assert not found.stable
