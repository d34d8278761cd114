"""Targets side by side: workers opened, cases measured in turns, figures with intervals."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from typing import NamedTuple

from hemogat.benchmarks.bootstrap import Interval, paired_ratio, percentile_intervals
from hemogat.benchmarks.figures import Better, Figure, Unit
from hemogat.benchmarks.findings import Findings
from hemogat.benchmarks.rounds import Measured, RoundSettings, measure_case
from hemogat.benchmarks.statistics import PERCENTILES
from hemogat.benchmarks.targets import Case, GraphsTarget, Target
from hemogat.benchmarks.worker_link import WorkerLink
from hemogat.config import PositiveInt, Settings
from hemogat.errors import ConfigError, IncompleteError
from hemogat.progress import Progress

SPEED_UP = "speed_up"  # over the first target of the group, pair by pair
_Axes = dict[str, str | int]


class Entry(NamedTuple):
    """A target, and what figures call it; ratios are to the first entry of its ``group``."""

    name: str
    target: Target
    group: str = ""


class SideBySideSettings(Settings):
    """What to measure. ``threads``: for one graph; None: as many as there are cores."""

    cases: tuple[Case, ...] = (Case(),)
    threads: tuple[PositiveInt | None, ...] = (None,)
    device: str = "cpu"
    rounds: RoundSettings = RoundSettings()


def measure_side_by_side(
    entries: Sequence[Entry], settings: SideBySideSettings, progress: Progress | None = None
) -> Findings:
    """Measure every case on every target that can run it, all targets taking turns.

    A target that needs what is not installed, or a precision that the processor lacks, is left out
    with a note; so is a case that a target does not have.

    Args:
        entries: the targets; no two may give figures of the same key.
        settings: cases, threads, how often.
        progress: shows the stages.

    Raises:
        HemogatError: a target cannot be loaded or fails, or none is left.
    """
    progress, found = progress or Progress(), Findings()
    with ExitStack() as stack:
        workers = _open(entries, settings, stack, found, progress)
        rounds = len(settings.cases) * settings.rounds.rounds
        with progress.stage("Measure", rounds, undisturbed=True) as bar:
            for case in settings.cases:
                able = _able(workers, case, found)
                measured = measure_case([w.link for w in able], case, settings.rounds, bar)
                found.rounds.append(len(measured[0].times_ms))
                _add_times(found, able, case, measured)
        for worker in workers:
            found.figures += _of_process(worker)
    return found


@dataclass(frozen=True)
class _Worker:
    """``group``: whose first worker ratios are to."""

    link: WorkerLink
    group: tuple[str, int | None]
    threads: int | None

    def axes(self, case: Case | None = None) -> _Axes:
        """Return what the target's figures depend on: all, or those of a case."""
        opened = self.link.opened
        known: dict[str, str | int | None] = {"threads": self.threads}
        if case is None or case.component in ("fusion", "end_to_end"):
            known |= {"gnn": opened.gnn, "bank_rows": opened.bank_rows}
        found = {name: value for name, value in known.items() if value is not None}
        return found if case is None else found | case.axes


def _open(
    entries: Sequence[Entry],
    settings: SideBySideSettings,
    stack: ExitStack,
    found: Findings,
    progress: Progress,
) -> list[_Worker]:
    workers = []
    with progress.stage("Load", len(entries) * len(settings.threads)) as bar:
        for name, target, group in entries:
            for threads in settings.threads:
                try:
                    link = WorkerLink(name, target, threads=threads, device=settings.device)
                except IncompleteError as error:
                    found.leave_out(name, _without_path(error, target))
                    continue
                stack.callback(link.stop)
                workers.append(_Worker(link, (group, threads), threads))
                bar.advance(note=name)
    if not workers:
        raise IncompleteError("; ".join(found.notes))
    return workers


def _without_path(error: IncompleteError, target: Target) -> str:
    """Return the message without the place on this machine's disk: reports get published."""
    paths = target.paths.values() if isinstance(target, GraphsTarget) else ()
    message = str(error)
    for path in paths:
        message = message.replace(f"{path}: ", "")
    return message


def _able(workers: Sequence[_Worker], case: Case, found: Findings) -> list[_Worker]:
    able = [w for w in workers if case.component in w.link.opened.components]
    if not able:
        raise ConfigError(
            f"{case.component}: expected a target that offers it, found only servers, which are "
            f"asked end_to_end, and runs without encoders, which have fusion"
        )
    for worker in workers:
        if worker not in able:
            found.leave_out(worker.link.name, f"it does not offer {case.component} alone")
    return able


def _add_times(
    found: Findings, workers: Sequence[_Worker], case: Case, measured: Sequence[Measured]
) -> None:
    first: dict[object, Measured] = {}
    for worker, times in zip(workers, measured, strict=True):
        name, axes = worker.link.name, worker.axes(case)
        for q, interval in percentile_intervals(times.times_ms, PERCENTILES).items():
            found.figures.append(_figure(name, f"p{q}", "ms", interval, axes))
        if times.energy_j is not None:
            found.figures.append(_exact(name, "energy", "J", times.energy_j, axes))
        base = first.setdefault(worker.group, times)
        if base is not times:
            ratio = paired_ratio(base.times_ms, times.times_ms)
            found.figures.append(_figure(name, SPEED_UP, "ratio", ratio, axes, better="higher"))
        if not times.stable:
            found.unsettled.append(f"{name}, {case.component}")


def _of_process(worker: _Worker) -> list[Figure]:
    """Close a worker; return what its process took."""
    link, axes = worker.link, worker.axes()
    figures = [_exact(link.name, "start_up", "s", link.start_up_s, axes)]
    closed = link.close()
    if closed.peak_memory_mib is not None and link.opened.components != ("end_to_end",):
        figures.append(_exact(link.name, "peak_memory", "MiB", closed.peak_memory_mib, axes))
    if link.opened.size_mib is not None:
        figures.append(_exact(link.name, "size", "MiB", link.opened.size_mib, axes))
    return figures


def _figure(
    target: str, metric: str, unit: Unit, interval: Interval, axes: _Axes, better: Better = "lower"
) -> Figure:
    return Figure(
        target=target,
        metric=metric,
        unit=unit,
        value=interval.value,
        low=interval.low,
        high=interval.high,
        better=better,
        axes=axes,
    )


def _exact(target: str, metric: str, unit: Unit, value: float, axes: _Axes) -> Figure:
    return Figure(target=target, metric=metric, unit=unit, value=value, axes=axes)
