from __future__ import annotations

from itertools import chain, repeat

import numpy as np

from hemogat.benchmarks.bootstrap import percentile_intervals
from hemogat.benchmarks.rounds import RoundSettings, measure_case
from hemogat.benchmarks.targets import Case
from hemogat.benchmarks.worker_protocol import Turn
from hemogat.progress import Stage

SETTINGS = RoundSettings(rounds=4, limit_s=0, turn_ms=50, turn_runs=10, warm_up_group=2)


class Scripted:
    """Takes as long as it is told, and writes down its turns."""

    def __init__(self, name: str, log: list[str], times_ms: list[float]) -> None:
        self.name, self.log = name, log
        self.times_ms = chain(times_ms, repeat(times_ms[-1]))

    def run(self, case: Case, *, untimed: int, timed: int) -> Turn:
        self.log.append(f"{self.name} {untimed}+{timed}")
        return Turn(times_ms=tuple(next(self.times_ms) for _ in range(timed)), energy_j=0.5)


def far_apart(runs: int) -> list[float]:
    """Return times of two kinds, in no order."""
    return [*np.random.default_rng(0).choice([10.0, 30.0], runs)]


def test_warm_up_until_stable_then_turns() -> None:
    log: list[str] = []
    slow_start = Scripted("a", log, [400, 400, 40, 40, 20])
    steady = Scripted("b", log, [1])
    found = measure_case([slow_start, steady], Case(), SETTINGS, Stage(None, None))
    warm_up = ["a 0+2"] * 4 + ["b 0+2"] * 2
    assert log == warm_up + ["a 1+2", "b 1+10"] * 4
    assert [measured.times_ms.shape for measured in found] == [(4, 2), (4, 10)]
    assert all(measured.stable for measured in found)
    assert [measured.energy_j for measured in found] == [0.25, 0.05]


def test_times_that_never_settle_are_told() -> None:
    restless = Scripted("a", [], [2.0**-n for n in range(200)])
    settings = SETTINGS.model_copy(update={"warm_up_limit_s": 1e-9})
    (found,) = measure_case([restless], Case(), settings, Stage(None, None))
    assert not found.stable


def test_rounds_go_on_until_medians_are_known() -> None:
    alike = [20.0] * 40
    unsure = Scripted("a", [], alike[:4] + far_apart(14) + alike)
    settings = SETTINGS.model_copy(update={"limit_s": 100.0, "turn_runs": 1})
    (found,) = measure_case([unsure], Case(), settings, Stage(None, None))
    rounds = len(found.times_ms)
    assert rounds > settings.rounds
    assert (rounds - settings.rounds) % 10 == 0  # it looks only now and then
    assert percentile_intervals(found.times_ms, (50,))[50].half_width <= settings.half_width
    before = found.times_ms[:-10]
    assert percentile_intervals(before, (50,))[50].half_width > settings.half_width


def test_rounds_end_when_their_time_is_up() -> None:
    never_sure = Scripted("a", [], [20.0] * 4 + far_apart(1000))
    settings = SETTINGS.model_copy(update={"limit_s": 0.2, "turn_runs": 1})
    (found,) = measure_case([never_sure], Case(), settings, Stage(None, None))
    assert settings.rounds < len(found.times_ms) < 100
