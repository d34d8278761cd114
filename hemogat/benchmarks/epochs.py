"""A measurement in epochs: fresh processes, every case in turns, until times are known.

What takes turns stays together: the targets of a group, whose times ratios are made of, leave a
case when the medians of all of them are known; a target that has left all is no longer started.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager

from hemogat.benchmarks.bootstrap import FEWEST_EPOCHS, epochs_needed, median_interval
from hemogat.benchmarks.entries import REFERENCE, Entry, Measured, Timed
from hemogat.benchmarks.findings import Findings
from hemogat.benchmarks.rounds import RoundSettings, measure_epoch
from hemogat.benchmarks.targets import Case, GraphsTarget, ReferenceTarget, Target, is_named
from hemogat.benchmarks.worker_link import WorkerLink
from hemogat.config import PositiveInt, Settings
from hemogat.contract import INT8_PRECISIONS
from hemogat.errors import ConfigError, IncompleteError
from hemogat.machine import usable_cores
from hemogat.progress import Progress, Stage

_STARTED_ALONE = FEWEST_EPOCHS  # epochs; in later ones as many processes start at once as cores


class SideBySideSettings(Settings):
    """What to measure.

    ``threads``: for one graph; None: as many as there are cores. ``int8``: measure the machine's
    rate in int8, too; that is done anyway where a target has that precision.
    """

    cases: tuple[Case, ...] = (Case(),)
    threads: tuple[PositiveInt | None, ...] = (None,)
    device: str = "cpu"
    int8: bool = False
    rounds: RoundSettings = RoundSettings()


def measure_epochs(
    entries: Sequence[Entry], settings: SideBySideSettings, found: Findings, progress: Progress
) -> list[Measured]:
    """Measure every case on every target that can run it, epoch by epoch.

    Where targets run on the CPU, the reference workload takes turns with them, once for each
    number of threads; it comes last in what is returned.

    Args:
        entries: the targets, none to measure the reference alone; those that cannot run here are
            left out with a note.
        settings: cases, threads, how often.
        found: takes the notes.
        progress: shows the stage.

    Raises:
        HemogatError: a target cannot be loaded or fails, or none is left.
    """
    run, rounds = _Run(entries, settings, found), settings.rounds
    with progress.stage("Measure", rounds.epochs * run.steps, undisturbed=True) as bar:
        longest_s, left, taken = 0.0, 0, 0
        while taken < rounds.epochs or not (
            run.known() or run.elapsed_s() + longest_s > rounds.limit_s
        ):
            if run.left > left or taken == _STARTED_ALONE:  # from here on epochs are shorter
                longest_s, left = 0.0, run.left
            began_s = run.elapsed_s()
            run.epoch(taken, bar)
            longest_s = max(longest_s, run.elapsed_s() - began_s)
            taken += 1
    found.epochs.append((taken, rounds.rounds_per_epoch))
    if (needed := run.epochs_needed()) > taken:
        limit_s = (needed - 1) * run.elapsed_s() / taken + longest_s
        found.notes.append(
            f"at this noise all medians would be within ±{100 * rounds.half_width:g} % after "
            f"about {needed} epochs, with a limit of {60 * math.ceil(limit_s / 60)} s"
        )
    if left:
        found.notes.append(
            f"cases known to ±{100 * rounds.half_width:g} % took part in fewer epochs"
        )
    return run.measured


class _Run:
    """What has been measured so far."""

    def __init__(
        self, entries: Sequence[Entry], settings: SideBySideSettings, found: Findings
    ) -> None:
        self._settings, self._found, self._alone = settings, found, not entries
        self._slots = [(entry, threads) for entry in entries for threads in settings.threads]
        if settings.device == "cpu":
            precisions = [getattr(entry.target, "precision", "") for entry in entries]
            int8 = settings.int8 or any(p in precisions for p in INT8_PRECISIONS)
            target = ReferenceTarget(int8=int8)
            reference = Entry(REFERENCE, target)
            self._slots += [(reference, threads) for threads in settings.threads]
        self._measured: dict[int, Measured] = {}
        self._left: set[tuple[Case, str]] = set()
        self._began = time.perf_counter()

    @property
    def steps(self) -> int:
        """How often an epoch advances the bar."""
        return len(self._slots) + len(self._settings.cases) * self._settings.rounds.rounds_per_epoch

    @property
    def measured(self) -> list[Measured]:
        """What was measured, in the order of entries and threads."""
        return [self._measured[number] for number in sorted(self._measured)]

    def elapsed_s(self) -> float:
        """Return how long this has run."""
        return time.perf_counter() - self._began

    @property
    def left(self) -> int:
        """How many cases of a group take part in no further epochs."""
        return len(self._left)

    def known(self) -> bool:
        """Say whether all medians are known well enough; what is known leaves further epochs."""
        wanted = self._settings.rounds.half_width
        groups: dict[tuple[Case, str], list[Timed]] = {}
        for measured in self._measured.values():
            for case, timed in measured.timed.items():
                groups.setdefault((case, measured.entry.group), []).append(timed)
        self._left |= {
            place
            for place, every in groups.items()
            if place not in self._left
            and all(median_interval(timed.times_ms).half_width <= wanted for timed in every)
        }
        return len(self._left) == len(groups)

    def epochs_needed(self) -> int:
        """Return how many epochs all medians need that have an interval; 0 where none has."""
        wanted = self._settings.rounds.half_width
        timed = [timed for measured in self._measured.values() for timed in measured.timed.values()]
        found = [(median_interval(each.times_ms).half_width, len(each.epochs)) for each in timed]
        known = (epochs_needed(width, n, wanted) for width, n in found if width < math.inf)
        return max(known, default=0)

    def _plays(self, measured: Measured, case: Case) -> tuple[Case, ...]:
        """Return what a target still runs in the rounds of a case."""
        left = not measured.is_reference and (case, measured.entry.group) in self._left
        return () if left else measured.plays(case)

    def _is_over(self, measured: Measured) -> bool:
        """Say whether a target has left all its cases."""
        return bool(self._left) and not any(
            self._plays(measured, case) for case in self._settings.cases
        )

    def epoch(self, number: int, bar: Stage) -> None:
        """Measure everything once more, in fresh processes; each epoch begins with another one."""
        with ExitStack() as stack:
            links = self._open(number, stack, bar)
            for case in self._settings.cases:
                self._measure(case, links, bar)
            for measured, link in links:
                closed = link.close()
                whole = all(self._plays(measured, case) for case in measured.timed)
                if closed.peak_memory_mib is not None and whole:
                    measured.peak_memory_mib.append(closed.peak_memory_mib)

    def _open(self, number: int, stack: ExitStack, bar: Stage) -> list[tuple[Measured, WorkerLink]]:
        """Start what is still measured; each of the first epochs' processes alone, to time that."""
        links = []
        places = [
            place
            for place, measured in sorted(self._measured.items())
            if not self._is_over(measured)
        ] or list(range(len(self._slots)))
        first, alone = number % len(places), number < _STARTED_ALONE
        order = (*places[first:], *places[:first])
        with _starters(1 if alone else usable_cores()) as pool:
            opening = [pool.submit(self._start, place, number, stack) for place in order]
            for place, future in zip(order, opening, strict=True):
                if (link := future.result()) is None:
                    continue
                entry, threads = self._slots[place]
                measured = self._measured.setdefault(place, Measured(entry, threads, link.opened))
                if alone:
                    measured.start_up_s.append(link.start_up_s)
                links.append((measured, link))
                bar.advance(note=entry.name)
        if not self._alone and all(measured.is_reference for measured, _ in links):
            raise IncompleteError("; ".join(self._found.notes))
        return links

    def _start(self, place: int, number: int, stack: ExitStack) -> WorkerLink | None:
        """Start one target's process; None where it cannot run here, as the first epoch tells."""
        entry, threads = self._slots[place]
        device = self._settings.device
        try:
            link = WorkerLink(entry.name, entry.target, threads=threads, device=device)
        except IncompleteError as error:
            if number:  # it ran in earlier epochs
                raise
            self._found.leave_out(entry.name, _without_path(error, entry.target))
            return None
        stack.callback(link.stop)
        return link

    def _measure(
        self, case: Case, links: Sequence[tuple[Measured, WorkerLink]], bar: Stage
    ) -> None:
        players: list[tuple[WorkerLink, Case]] = []
        homes: list[Timed] = []
        for measured, link in links:
            for played in self._plays(measured, case):
                players.append((link, played))
                homes.append(measured.home(case, played))
            if not measured.plays(case) and is_named(measured.entry.target):
                self._found.leave_out(link.name, f"it does not offer {case.component} alone")
        idle = all(
            measured.is_reference or not self._plays(measured, case) for measured, _ in links
        )
        if idle and any(case == left for left, _ in self._left):
            return
        if idle and not self._alone:
            raise ConfigError(
                f"{case.component}: expected a target that offers it, found only servers, which "
                f"are asked end_to_end, and runs without encoders, which have fusion"
            )
        began_s = self.elapsed_s()
        earlier = [home.runs_per_turn for home in homes]
        found = measure_epoch(players, self._settings.rounds, bar, earlier)
        for home, times in zip(homes, found, strict=True):
            home.epochs.append(times)
            home.started_s.append(began_s)


@contextmanager
def _starters(at_once: int) -> Iterator[ThreadPoolExecutor]:
    """Run threads that start processes; after an error those that wait are not started."""
    with ThreadPoolExecutor(at_once) as pool:
        try:
            yield pool
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise


def _without_path(error: IncompleteError, target: Target) -> str:
    """Return the message without the place on this machine's disk: reports get published."""
    paths = target.paths.values() if isinstance(target, GraphsTarget) else ()
    message = str(error)
    for path in paths:
        message = message.replace(f"{path}: ", "")
    return message
