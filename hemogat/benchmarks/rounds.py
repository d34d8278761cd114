"""How targets are measured side by side: a warm-up until stable, then rounds A B A B.

Each round gives every target one turn, so that whatever drifts (clock rate, temperature, other
work) hits all alike, and ratios can be taken round by round. A turn begins with one run that is
not timed, which brings back what the others' turns took from the caches. Rounds go on until the
medians are known well enough, or their time is up.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Protocol

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from hemogat.benchmarks.bootstrap import percentile_intervals
from hemogat.benchmarks.targets import Case
from hemogat.benchmarks.worker_protocol import Turn
from hemogat.config import PositiveFloat, PositiveInt, Settings
from hemogat.progress import Stage

# A library's threads may spin for a while after a run; they must not take cores from the next turn.
_PAUSE_S = 0.02
HALF_WIDTH = 0.05  # of a median's interval, as a share of the median: what is narrow enough
_ROUNDS_BETWEEN_CHECKS = 10  # intervals take a moment to work out


class RoundSettings(Settings):
    """How often and how long.

    Warm-up: groups of ``warm_up_group`` runs, until the medians of two in a row differ by at most
    ``warm_up_tolerance``, for at most ``warm_up_limit_s``. A turn: as many runs as fit into
    ``turn_ms``, at least one, at most ``turn_runs``. Rounds: at least ``rounds``, then more until
    every target's median has an interval within ±``half_width`` of it, or ``limit_s`` are over.
    """

    rounds: PositiveInt = 30
    half_width: PositiveFloat = HALF_WIDTH
    limit_s: Annotated[float, Field(ge=0)] = 60.0
    turn_ms: PositiveFloat = 50.0
    turn_runs: PositiveInt = 10
    warm_up_group: PositiveInt = 3
    warm_up_tolerance: PositiveFloat = 0.05
    warm_up_limit_s: PositiveFloat = 20.0

    def in_words(self) -> str:
        """Return the method in one line."""
        return (
            f"each target in a fresh process; warm-up until the medians of two groups of "
            f"{self.warm_up_group} runs differ by at most {100 * self.warm_up_tolerance:g} % (at "
            f"most {self.warm_up_limit_s:g} s); then rounds in which the targets take turns of one "
            f"untimed and 1 to {self.turn_runs} timed runs ({self.turn_ms:g} ms): at least "
            f"{self.rounds}, and more until every median's interval is within "
            f"±{100 * self.half_width:g} %, for up to {self.limit_s:g} s of each case"
        )


class TakesTurns(Protocol):
    """What is measured: usually a worker process."""

    def run(self, case: Case, *, untimed: int, timed: int) -> Turn:
        """Run a case ``untimed`` times, then ``timed`` times."""
        ...


@dataclass(frozen=True)
class Measured:
    """One target's times on one case, [rounds, runs of a turn].

    ``stable``: whether the warm-up ended because times had settled. ``energy_j``: of one run, mean;
    None where unreadable.
    """

    times_ms: NDArray[np.float64]
    stable: bool
    energy_j: float | None


def measure_case(
    workers: Sequence[TakesTurns], case: Case, settings: RoundSettings, bar: Stage
) -> list[Measured]:
    """Measure one case on all workers that take turns.

    Raises:
        HemogatError: a worker cannot run the case, or died.
    """
    warm_ups = [_warm_up(worker, case, settings) for worker in workers]
    turns: list[list[Turn]] = [[] for _ in workers]
    started, rounds = time.perf_counter(), 0
    while rounds < settings.rounds or not (
        time.perf_counter() - started > settings.limit_s or _known(turns, settings)
    ):
        for worker, warm_up, taken in zip(workers, warm_ups, turns, strict=True):
            time.sleep(_PAUSE_S)
            taken.append(worker.run(case, untimed=1, timed=warm_up.runs_per_turn))
        rounds += 1
        if rounds <= settings.rounds:
            bar.advance(note=case.component)
    return [
        Measured(_times_ms(taken), warm_up.stable, _energy_j(taken))
        for taken, warm_up in zip(turns, warm_ups, strict=True)
    ]


def _known(turns: Sequence[Sequence[Turn]], settings: RoundSettings) -> bool:
    """Say whether all medians are known well enough; looks only now and then."""
    if (len(turns[0]) - settings.rounds) % _ROUNDS_BETWEEN_CHECKS:
        return False
    return all(
        percentile_intervals(_times_ms(taken), (50,))[50].half_width <= settings.half_width
        for taken in turns
    )


def _times_ms(turns: Sequence[Turn]) -> NDArray[np.float64]:
    """Return times, [rounds, runs of a turn]."""
    return np.array([turn.times_ms for turn in turns])


def _energy_j(turns: Sequence[Turn]) -> float | None:
    """Return the mean over all runs; None where unreadable."""
    used_j = [turn.energy_j for turn in turns if turn.energy_j is not None]
    return sum(used_j) / _times_ms(turns).size if used_j else None


@dataclass(frozen=True)
class _WarmUp:
    stable: bool
    runs_per_turn: int


def _warm_up(worker: TakesTurns, case: Case, settings: RoundSettings) -> _WarmUp:
    started = time.perf_counter()
    last_ms, stable = _group_ms(worker, case, settings), False
    while not stable and time.perf_counter() - started < settings.warm_up_limit_s:
        now_ms = _group_ms(worker, case, settings)
        stable = abs(now_ms - last_ms) <= settings.warm_up_tolerance * last_ms
        last_ms = now_ms
    fitting = int(settings.turn_ms / last_ms)
    return _WarmUp(stable, min(max(fitting, 1), settings.turn_runs))


def _group_ms(worker: TakesTurns, case: Case, settings: RoundSettings) -> float:
    turn = worker.run(case, untimed=0, timed=settings.warm_up_group)
    return float(np.median(turn.times_ms))
