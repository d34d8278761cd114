"""What takes turns in a measurement, and what has been timed of it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NamedTuple

from hemogat.benchmarks.bootstrap import Epochs
from hemogat.benchmarks.rounds import EpochTimes
from hemogat.benchmarks.targets import Case, ReferenceTarget, Target
from hemogat.benchmarks.worker_protocol import Opened

REFERENCE = "reference"


class Entry(NamedTuple):
    """A target, and what figures call it.

    Ratios are to those of its ``group`` that are a ``base``, or to the first if none is.
    """

    name: str
    target: Target
    group: str = ""
    base: bool = False


@dataclass
class Timed:
    """A target's epochs on one case; ``started_s``: of each, from the measurement's start."""

    epochs: list[EpochTimes] = field(default_factory=list)
    started_s: list[float] = field(default_factory=list)

    @property
    def times_ms(self) -> Epochs:
        """The times, of each epoch [rounds, runs of a turn]."""
        return [epoch.times_ms for epoch in self.epochs]

    @property
    def runs_per_turn(self) -> int | None:
        """How often it ran in each turn so far; None before the first epoch."""
        return self.epochs[0].times_ms.shape[1] if self.epochs else None


@dataclass
class Measured:
    """What was measured of one target at one number of threads.

    ``timed``: by case. ``kernels``: of the reference workload, by the case that it took turns with.
    ``start_up_s``: of the processes that started alone; ``peak_memory_mib``: of those that ran all
    of its cases.
    """

    entry: Entry
    threads: int | None
    opened: Opened
    timed: dict[Case, Timed] = field(default_factory=dict)
    kernels: dict[Case, dict[str, Timed]] = field(default_factory=dict)
    start_up_s: list[float] = field(default_factory=list)
    peak_memory_mib: list[float] = field(default_factory=list)

    @property
    def is_reference(self) -> bool:
        """Whether this is the reference workload."""
        return isinstance(self.entry.target, ReferenceTarget)

    def plays(self, case: Case) -> tuple[Case, ...]:
        """Return what it runs in the rounds of a case."""
        if self.is_reference:
            return tuple(Case(component=kernel) for kernel in self.opened.components)
        return (case,) if case.component in self.opened.components else ()

    def home(self, case: Case, played: Case) -> Timed:
        """Return where times belong of what it ran in the rounds of a case."""
        if self.is_reference:
            return self.kernels.setdefault(case, {}).setdefault(played.component, Timed())
        return self.timed.setdefault(case, Timed())
