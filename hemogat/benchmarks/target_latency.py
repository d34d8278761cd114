"""Latency of bundles, runs and servers side by side: ``hemogat bench latency TARGET...``."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import product
from typing import Literal

from pydantic import Field

from hemogat.benchmarks.entries import Entry
from hemogat.benchmarks.epochs import SideBySideSettings
from hemogat.benchmarks.measured_models import MeasuredModel
from hemogat.benchmarks.noise import RunWatch
from hemogat.benchmarks.report import BenchReport
from hemogat.benchmarks.rounds import RoundSettings
from hemogat.benchmarks.side_by_side import measure_side_by_side
from hemogat.benchmarks.targets import (
    Case,
    Component,
    ServedTarget,
    engine_name,
    named,
    parse_target,
)
from hemogat.config import PositiveInt, Settings
from hemogat.errors import ConfigError
from hemogat.progress import Progress


class TargetSettings(Settings):
    """What to measure: every combination of the axes that a component depends on.

    ``targets``: as :func:`~hemogat.benchmarks.targets.parse_target` reads them. ``threads``: for
    one graph; None: as many as there are cores. ``device``: where targets run, servers aside.
    """

    targets: tuple[str, ...] = Field(min_length=1)
    component: tuple[Component, ...] = ("end_to_end",)
    batch: tuple[PositiveInt, ...] = (1,)
    windows: tuple[PositiveInt, ...] = (1,)
    tokens: tuple[PositiveInt, ...] = (16,)
    threads: tuple[PositiveInt | None, ...] = (None,)
    device: str = "cpu"
    rounds: RoundSettings = RoundSettings()

    @property
    def cases(self) -> tuple[Case, ...]:
        """The combinations, each once."""
        cases: dict[object, Case] = {}
        for component, batch, windows, tokens in product(
            self.component, self.batch, self.windows, self.tokens
        ):
            case = Case(component=component, batch=batch, windows=windows, tokens=tokens)
            cases.setdefault(tuple(case.axes.items()), case)
        return tuple(cases.values())


class TargetReport(BenchReport):
    """Targets side by side; ``engines`` names what executes them, in their order."""

    kind: Literal["side-by-side"] = "side-by-side"
    settings: TargetSettings
    engines: tuple[str, ...]

    def conditions_in_name(self) -> tuple[str, ...]:
        """Return what tells this report's file from others', the usual settings unsaid."""
        settings, usual = self.settings, TargetSettings(targets=self.settings.targets)
        found = [*_names(self.models), *dict.fromkeys(self.engines)]
        found += settings.component if settings.component != usual.component else ()
        for axis in ("batch", "windows", "tokens"):
            if (values := getattr(settings, axis)) != getattr(usual, axis):
                found.append(f"{axis} {' '.join(map(str, values))}")
        found += [settings.device] if settings.device != usual.device else []
        return (*found, *(f"{n}t" for n in settings.threads if n is not None))


def measure_targets(settings: TargetSettings, progress: Progress | None = None) -> TargetReport:
    """Measure targets side by side.

    Raises:
        InputError: a target is no bundle, run directory or address.
        ConfigError: a target is given twice, or cannot run a case.
        HemogatError: a target cannot be loaded, or fails.
    """
    targets = named([parse_target(text) for text in settings.targets])
    served = [target.url for target in targets.values() if isinstance(target, ServedTarget)]
    if served and settings.threads != (None,):
        raise ConfigError(
            f"--threads: a server has the threads that it was started with; leave it out, or "
            f"measure {', '.join(served)} alone"
        )
    entries = [Entry(name, target) for name, target in targets.items()]
    watch = RunWatch()
    found = measure_side_by_side(
        entries,
        SideBySideSettings(
            cases=settings.cases,
            threads=settings.threads,
            device=settings.device,
            rounds=settings.rounds,
        ),
        progress,
    )
    method = [
        "input: white noise as 16 kHz WAV and a text of one-letter words, the same for all; "
        "end_to_end decodes and tokenises it, through a server it also travels",
        settings.rounds.in_words(),
        f"speed_up: the median over rounds of {entries[0].name}'s time over the target's",
        "start-up: from starting the process to the loaded target, files in the page cache, "
        "in the first epochs, where processes start one by one; peak memory: the process's "
        "largest resident set, libraries included",
    ]
    if served:
        method.append("a server on this machine counts as other work on it")
    return TargetReport(
        title=_title(found.models, targets),
        settings=settings.model_copy(update={"targets": tuple(targets)}),
        notes=(*method, *found.told()),
        figures=tuple(found.figures),
        series=tuple(found.series),
        models=tuple(found.models),
        engines=tuple(engine_name(target) for target in targets.values()),
        **watch.facts(),
    )


def _names(models: Iterable[MeasuredModel]) -> list[str]:
    """Return what bundles and runs are called; a server's name is its address."""
    return list(dict.fromkeys(model.name for model in models if model.shape is not None))


def _title(models: Iterable[MeasuredModel], targets: Iterable[str]) -> str:
    names = _names(models)
    of = f" of {names[0]}" if len(names) == 1 else ""  # of several, targets say which they are
    return f"Latency{of}: {', '.join(targets)}"
