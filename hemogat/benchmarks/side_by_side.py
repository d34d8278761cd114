"""Targets side by side: figures with intervals of what was measured in epochs."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import zip_longest

import numpy as np

from hemogat.benchmarks.bootstrap import (
    Epochs,
    Interval,
    interval_of_single,
    median_interval,
    paired_ratios,
    percentile_intervals,
    round_medians,
)
from hemogat.benchmarks.entries import Entry, Measured, Timed
from hemogat.benchmarks.epochs import SideBySideSettings, measure_epochs
from hemogat.benchmarks.figures import MACHINE, OVER, RELATIVE, SPEED_UP, Better, Figure, Unit
from hemogat.benchmarks.findings import Findings
from hemogat.benchmarks.measured_models import MeasuredModel
from hemogat.benchmarks.reference import KERNEL_WORK
from hemogat.benchmarks.series import Series
from hemogat.benchmarks.statistics import PERCENTILES
from hemogat.benchmarks.targets import BundleTarget, Case, place_of
from hemogat.progress import Progress
from hemogat.runtime.bundle import SUMS_FILE, sha256_of

MOVED = 0.05  # of the reference workload's time between epochs: more is worth a warning
RATES: dict[str, tuple[str, Unit]] = {
    "gemm": ("gemm_rate", "MAC/s"),
    "gemm_int8": ("gemm_int8_rate", "MAC/s"),
    "copy": ("copy_rate", "B/s"),
}
_COMPARED = ("gemm", "copy")  # the kernels whose geometric mean times are relative to
_Axes = dict[str, str | int]


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
    found = Findings()
    measured = measure_epochs(entries, settings, found, progress or Progress())
    targets = [each for each in measured if not each.is_reference]
    references = {each.threads: each for each in measured if each.is_reference}
    for case in settings.cases:
        able = [target for target in targets if case in target.timed]
        for target in able:
            _add_times(found, target, case)
            for base in _bases(target, able):
                _add_speed_up(found, target, base, case)
            if (reference := references.get(target.threads)) is not None:
                _add_relative(found, target, reference, case)
    for target in targets:
        found.figures += _of_process(target)
        if (model := _model(target)) not in found.models:  # one, however many numbers of threads
            found.models.append(model)
    for reference in references.values():
        _add_reference(found, reference)
    return found


def _bases(target: Measured, among: Sequence[Measured]) -> list[Measured]:
    """Return what a target's speed-ups are over."""
    group = [
        other
        for other in among
        if (other.entry.group, other.threads) == (target.entry.group, target.threads)
    ]
    bases = [other for other in group if other.entry.base] or group[:1]
    return [base for base in bases if base is not target]


def _add_times(found: Findings, target: Measured, case: Case) -> None:
    name, timed, axes = target.entry.name, target.timed[case], _axes(target, case)
    for q, interval in percentile_intervals(timed.times_ms, PERCENTILES).items():
        found.figures.append(_figure(name, f"p{q}", "ms", interval, axes))
    energies_j = [epoch.energy_j for epoch in timed.epochs if epoch.energy_j is not None]
    if energies_j:
        found.figures.append(_figure(name, "energy", "J", interval_of_single(energies_j), axes))
    cores = [epoch.cores for epoch in timed.epochs if epoch.cores]
    if cores and target.opened.components != ("end_to_end",):  # a server's work is elsewhere
        used = interval_of_single(cores)
        found.figures.append(_figure(name, "cores_used", "ratio", used, axes, "neither"))
    if not all(epoch.stable for epoch in timed.epochs):
        found.unsettled.append(f"{name}, {case.component}")
    found.series.append(_series(name, timed, axes))


def _add_speed_up(found: Findings, target: Measured, base: Measured, case: Case) -> None:
    ratios = paired_ratios(base.timed[case].times_ms, target.timed[case].times_ms)
    axes = _axes(target, case) | {OVER: base.entry.name}
    ratio = median_interval(ratios)
    found.figures.append(_figure(target.entry.name, SPEED_UP, "ratio", ratio, axes, "higher"))


def _add_relative(found: Findings, target: Measured, reference: Measured, case: Case) -> None:
    times_ms, kernels = target.timed[case].times_ms, reference.kernels[case]
    ratios = [  # the reference stays for longer than a target whose times are known
        paired_ratios(times_ms, kernels[kernel].times_ms[: len(times_ms)]) for kernel in _COMPARED
    ]
    mean = [np.prod(each, axis=0) ** (1 / len(_COMPARED)) for each in zip(*ratios, strict=True)]
    ratio, axes = median_interval(mean), _axes(target, case)
    found.figures.append(_figure(target.entry.name, RELATIVE, "ratio", ratio, axes))


def _of_process(target: Measured) -> list[Figure]:
    name, axes, opened = target.entry.name, _axes(target), target.opened
    figures = []
    if opened.components != ("end_to_end",):  # of a server only the client started here
        figures.append(_figure(name, "start_up", "s", interval_of_single(target.start_up_s), axes))
        if target.peak_memory_mib:
            peak = interval_of_single(target.peak_memory_mib)
            figures.append(_figure(name, "peak_memory", "MiB", peak, axes))
    if opened.size_mib is not None:
        figures.append(_figure(name, "size", "MiB", Interval(opened.size_mib), axes))
    return figures


def _model(measured: Measured) -> MeasuredModel:
    target = measured.entry.target
    sums = sha256_of(target.path / SUMS_FILE) if isinstance(target, BundleTarget) else None
    return MeasuredModel(
        target=measured.entry.name,
        name=place_of(target),
        bundle_sha256=sums,
        shape=measured.opened.shape,
    )


def _add_reference(found: Findings, reference: Measured) -> None:
    """Add the machine's rates, and say whether they moved."""
    axes: _Axes = {} if reference.opened.threads is None else {"threads": reference.opened.threads}
    for kernel, (metric, unit) in RATES.items():
        every = [timed[kernel] for timed in reference.kernels.values() if kernel in timed]
        if not every:
            continue
        for case, timed in reference.kernels.items():
            beside = axes | {"component": kernel, "beside": " ".join(_words(case))}
            found.series.append(_series(reference.entry.name, timed[kernel], beside))
        times_ms = _joined(every)
        work = KERNEL_WORK[kernel]  # type: ignore[index]
        rates = [1e3 * work / times for times in times_ms]
        rate = median_interval(rates)
        found.figures.append(_figure(MACHINE, metric, unit, rate, axes, "higher"))
        # Case by case: beside other work, and with other work, a kernel takes another time.
        moved = max(_moved(round_medians(timed.times_ms)) for timed in every)
        if moved > MOVED:
            found.moved.append(f"{kernel} by {100 * moved:.0f} %")


def _joined(every: Iterable[Timed]) -> Epochs:
    """Return all rounds of an epoch, of whichever case they took turns with, as one array."""
    epochs = zip_longest(*(round_medians(timed.times_ms) for timed in every))
    return [np.concatenate([t for t in epoch if t is not None]) for epoch in epochs]


def _moved(epochs: Epochs) -> float:
    medians = [float(np.median(times)) for times in epochs]
    return max(medians) / min(medians) - 1


def _axes(target: Measured, case: Case | None = None) -> _Axes:
    """Return what the target's figures depend on: all, or those of a case."""
    opened = target.opened
    known: dict[str, str | int | None] = {"threads": target.threads}
    if case is None or case.component in ("fusion", "end_to_end"):
        known |= {"gnn": opened.gnn, "bank_rows": opened.bank_rows}
    found = {name: value for name, value in known.items() if value is not None}
    if case is None:
        return found
    padded, axes = getattr(target.entry.target, "padded_tokens", None), case.axes
    if padded is not None and "tokens" in axes:
        axes["tokens"] = max(case.tokens, padded)  # what it works on
    return found | axes


def _words(case: Case) -> list[str]:
    return [str(v) if isinstance(v, str) else f"{n} {v}" for n, v in case.axes.items()]


def _series(name: str, timed: Timed, axes: _Axes) -> Series:
    return Series(
        target=name,
        axes=axes,
        started_s=tuple(timed.started_s),
        medians_ms=tuple(tuple(epoch.ravel()) for epoch in round_medians(timed.times_ms)),
    )


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
