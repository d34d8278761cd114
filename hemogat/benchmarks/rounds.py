"""How targets are measured side by side: a warm-up until stable, then rounds A B A B.

Each round gives every target one turn, so that whatever drifts (clock rate, temperature, other
work) hits all alike, and ratios can be taken round by round. A turn begins with one run that is
not timed, which brings back what the others' turns took from the caches.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from hemogat.benchmarks.targets import Case
from hemogat.benchmarks.worker_protocol import Turn
from hemogat.config import PositiveFloat, PositiveInt, Settings
from hemogat.progress import Stage

# A library's threads may spin for a while after a run; they must not take cores from the next turn.
_PAUSE_S = 0.02


class RoundSettings(Settings):
    """How often and how long.

    Warm-up: groups of ``warm_up_group`` runs, until the medians of two in a row differ by at most
    ``warm_up_tolerance``, for at most ``warm_up_limit_s``. A turn: as many runs as fit into
    ``turn_ms``, at least one, at most ``turn_runs``.
    """

    rounds: PositiveInt = 30
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
            f"most {self.warm_up_limit_s:g} s); then {self.rounds} rounds in which the targets "
            f"take turns of one untimed and 1 to {self.turn_runs} timed runs ({self.turn_ms:g} ms)"
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
    times: list[list[tuple[float, ...]]] = [[] for _ in workers]
    energies_j: list[list[float]] = [[] for _ in workers]
    for _ in range(settings.rounds):
        for number, worker in enumerate(workers):
            time.sleep(_PAUSE_S)
            turn = worker.run(case, untimed=1, timed=warm_ups[number].runs_per_turn)
            times[number].append(turn.times_ms)
            if turn.energy_j is not None:
                energies_j[number].append(turn.energy_j)
        bar.advance()
    return [
        Measured(
            np.array(times[number]),
            warm_up.stable,
            sum(energies_j[number]) / (settings.rounds * warm_up.runs_per_turn)
            if energies_j[number]
            else None,
        )
        for number, warm_up in enumerate(warm_ups)
    ]


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
