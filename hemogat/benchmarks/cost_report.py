"""The cost report: counts, the roofline made of them, and measured times over it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import torch

from hemogat.benchmarks.cost import (
    TOKENS,
    VariantCost,
    base_encoders,
    encoders_cost,
    variant_cost,
)
from hemogat.benchmarks.cost_times import check_shape, times_of_report
from hemogat.benchmarks.entries import Entry
from hemogat.benchmarks.epochs import SideBySideSettings
from hemogat.benchmarks.figures import MACHINE, P50, Better, Figure, Unit
from hemogat.benchmarks.gnn import MODEL
from hemogat.benchmarks.gnn_variants import GNNS, encoders_of_run, shape_of_run
from hemogat.benchmarks.machine_rates import MachineRates, in_int8, over_floor, rates_of
from hemogat.benchmarks.noise import RunWatch
from hemogat.benchmarks.report import BenchReport
from hemogat.benchmarks.rounds import RoundSettings
from hemogat.benchmarks.side_by_side import measure_side_by_side
from hemogat.benchmarks.targets import (
    BundleTarget,
    HeadShape,
    RunTarget,
    engine_name,
    parse_target,
    shape_of_bundle,
)
from hemogat.benchmarks.work import Encoders, Work, work_of
from hemogat.config import HeadConfig, PositiveInt, Settings
from hemogat.errors import ConfigError
from hemogat.progress import Progress
from hemogat.runtime.bundle import Bundle
from hemogat.training.head_names import FULL
from hemogat.training.run_directory import RunDirectory

BANK_ROWS = 4407  # of IEMOCAP's training split
# Of the rates, where nothing else is measured: about ten seconds.
_OF_RATES = RoundSettings(epochs=5, rounds=15, limit_s=0)
_Axes = dict[str, str | int]


class CostSettings(Settings):
    """What to count.

    ``nodes``: of the transductive graph (the paper's test splits: 551 and 2,610). ``bank_rows``: of
    the inductive path. ``windows``, ``tokens``: of the utterance that the roofline is for.
    ``threads``: of the machine's rates and of what is measured; None: as many as there are cores,
    or those of the report. ``measured``: the target or report that times are from.
    """

    nodes: PositiveInt = 551
    bank_rows: PositiveInt = BANK_ROWS
    windows: PositiveInt = 1
    tokens: PositiveInt = 16
    threads: PositiveInt | None = None
    measured: str | None = None
    rounds: RoundSettings = RoundSettings()

    def conditions_in_name(self) -> tuple[str, ...]:
        """Return what tells a report's file from those of other settings."""
        found = [f"{self.nodes} nodes", f"bank {self.bank_rows}"]
        usual = CostSettings()
        if (self.windows, self.tokens) != (usual.windows, usual.tokens):
            found += [f"{self.windows} windows", f"{self.tokens} tokens"]
        return (*found, *([] if self.threads is None else [f"{self.threads}t"]))


class CostReport(BenchReport):
    """What the model costs, here; ``rates`` are this machine's."""

    kind: Literal["cost"] = "cost"
    settings: CostSettings
    variants: tuple[VariantCost, ...]
    rates: MachineRates


@dataclass(frozen=True)
class Sizes:
    """What is counted: encoders, None where a run has none, and the heads behind them.

    ``tokens``: what the totals count the text encoder at. ``name``: of the run's recipe.
    """

    encoders: Encoders | None
    shapes: tuple[HeadShape, ...]
    tokens: int = TOKENS
    name: str = "base"


def base_sizes(bank_rows: int) -> Sizes:
    """Return wav2vec2-base, BERT-base and the authors' head with each kind of graph layer."""
    shapes = (HeadShape(head=HeadConfig(gnn=gnn), bank_rows=bank_rows) for gnn in GNNS)
    with torch.device("meta"):  # nothing is allocated or computed
        encoders = Encoders(*base_encoders())
    return Sizes(encoders, tuple(shapes))


def run_sizes(path: Path) -> Sizes:
    """Return the sizes of a run.

    Raises:
        BundleError: it is no run directory.
    """
    run = RunDirectory.open(path)
    tokens = min(TOKENS, run.record.recipe.text.max_tokens)
    shapes = (shape_of_run(run, run.record.heads[FULL]),)
    return Sizes(encoders_of_run(run), shapes, tokens, run.record.recipe.name)


def measure_cost(
    sizes: Sizes, settings: CostSettings, progress: Progress | None = None
) -> CostReport:
    """Count, measure the machine's rates, and set measured times beside the floor.

    ``settings.measured``: a bundle's engine or a run, timed now, which must have these sizes; or
    the JSON of an earlier report of targets, engines or graph layers on this machine.

    Raises:
        ConfigError: what is measured has other sizes, or is a report of another kind, of several
            numbers of threads, or without the rates of its machine.
        InputError: it is neither a target nor a report.
    """
    progress, watch = progress or Progress(), RunWatch()
    with progress.stage("Count"):
        works = work_of(
            sizes.encoders, sizes.shapes, windows=settings.windows, tokens=settings.tokens
        )
        variants = _variants(sizes, settings)
    times, notes = _times(sizes, works, settings, progress)
    machine = [f for f in times if f.target == MACHINE] or _measured_rates(settings, progress)
    medians, rates = [f for f in times if f.metric == P50], rates_of(machine)
    assert rates is not None
    figures = [*machine, *(f for work in works for f in _of_work(work, rates))]
    figures += [
        figure
        for work in works
        for median in medians
        if _fits(median, work, sizes.shapes[0].bank_rows)
        for figure in _of_median(median, work, rates)
    ]
    return CostReport(
        title=f"Cost and roofline: {sizes.name}",
        settings=settings.model_copy(update={"measured": _without_place(settings.measured)}),
        notes=(*_method(settings, rates), *notes),
        figures=tuple(figures),
        variants=variants,
        rates=rates,
        **watch.facts(),
    )


def _without_place(measured: str | None) -> str | None:
    """Name what was measured without where it lies: reports get published."""
    return None if measured is None else Path(measured).name


def _variants(sizes: Sizes, settings: CostSettings) -> tuple[VariantCost, ...]:
    if sizes.encoders is None:
        return ()
    counted = encoders_cost(*sizes.encoders, tokens=sizes.tokens)
    return tuple(variant_cost(shape, counted, settings.nodes) for shape in sizes.shapes)


def _measured_rates(settings: CostSettings, progress: Progress) -> list[Figure]:
    """Run the reference workload alone."""
    alone = SideBySideSettings(threads=(settings.threads,), int8=True, rounds=_OF_RATES)
    return measure_side_by_side([], alone, progress).figures


def _times(
    sizes: Sizes, works: Sequence[Work], settings: CostSettings, progress: Progress
) -> tuple[list[Figure], list[str]]:
    given = settings.measured
    if given is None:
        return [], []
    if given.endswith(".json"):
        return times_of_report(Path(given), sizes.shapes, settings.threads)
    target = parse_target(given)
    if isinstance(target, BundleTarget):
        manifest = Bundle.open(target.path, verify=False).manifest
        check_shape(str(target.path), shape_of_bundle(manifest), sizes.shapes)
    elif isinstance(target, RunTarget):
        run = RunDirectory.open(target.path)
        check_shape(str(run.path), shape_of_run(run, run.record.heads[FULL]), sizes.shapes)
    else:
        raise ConfigError(f"--measure {given}: expected a bundle, a run or a report, found a URL")
    cases = {str(work.case.axes): work.case for work in works}
    timed = measure_side_by_side(
        [Entry(engine_name(target), target)],
        SideBySideSettings(
            cases=tuple(cases.values()),
            threads=(settings.threads,),
            int8=True,
            rounds=settings.rounds,
        ),
        progress,
    )
    return timed.figures, timed.told()


def _fits(median: Figure, work: Work, bank_rows: int) -> bool:
    """Say whether a median is of this work; reports leave out what is 1 or the default."""
    unsaid: _Axes = {"batch": 1, "windows": 1, "gnn": "gat", "bank_rows": bank_rows}
    found = unsaid | median.axes
    wanted = work.axes | ({"bank_rows": bank_rows} if work.gnn is not None else {})
    return all(found.get(name) == value for name, value in wanted.items())


def _of_work(work: Work, rates: MachineRates) -> list[Figure]:
    floors = {
        "floor": rates.floor(work.macs, work.moved_bytes),
        "floor_int8": rates.floor(work.macs, work.moved_bytes, int8=True),
    }
    return [
        _figure(MODEL, "macs", "MAC", work.macs, work.axes),
        _figure(MODEL, "moved", "B", work.moved_bytes, work.axes),
        _figure(MODEL, "intensity", "MAC/B", work.intensity, work.axes, "neither"),
        *(
            _figure(MODEL, name, "ms", floor.ms, work.axes)
            for name, floor in floors.items()
            if floor is not None
        ),
    ]


def _of_median(median: Figure, work: Work, rates: MachineRates) -> list[Figure]:
    rate = work.macs / median.value * 1e3
    floor = rates.floor(work.macs, work.moved_bytes, int8=in_int8(median.target))
    found = [median.model_copy(update={"axes": work.axes})]
    if floor is not None:
        over = over_floor(median, floor)
        figure = _figure(median.target, "over_floor", "ratio", over.value, work.axes)
        found.append(figure.model_copy(update={"low": over.low, "high": over.high}))
    return [
        *found,
        _figure(median.target, "intensity", "MAC/B", work.intensity, work.axes, "neither"),
        _figure(median.target, "rate", "MAC/s", rate, work.axes, "higher"),
    ]


def _figure(
    target: str, metric: str, unit: Unit, value: float, axes: _Axes, better: Better = "lower"
) -> Figure:
    return Figure(
        target=target, metric=metric, unit=unit, value=value, better=better, axes=dict(axes)
    )


def _method(settings: CostSettings, rates: MachineRates) -> list[str]:
    return [
        f"one utterance of {settings.windows} windows of 1 s and {settings.tokens} tokens",
        rates.in_words(),
        "floor: the larger of MACs over the product's rate and bytes over the copy's; bytes: fp32 "
        "weights once, the searched tables, the gathered states, inputs and outputs; the fp32 "
        "product is numpy's, and engines whose products are faster fall below 1",
        "over_floor of int8: over floor_int8, of the product's rate in int8 and a quarter of the "
        "bytes; bf16 moves and multiplies less than the fp32 floor assumes, and may fall below it",
    ]
