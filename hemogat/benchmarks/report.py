"""The form that all benchmark reports share, and reading one back without knowing its kind."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Literal

import pydantic_core
from pydantic import ConfigDict, ValidationError

from hemogat.benchmarks.environment import Environment, LoadAverage
from hemogat.benchmarks.figures import Figure
from hemogat.benchmarks.measured_models import MeasuredModel
from hemogat.benchmarks.noise import is_noisy
from hemogat.benchmarks.series import Series
from hemogat.config import Settings
from hemogat.errors import InputError

SCHEMA_VERSION = 2


class BenchReport(Settings):
    """What was measured, on what, beside what, and what came out.

    ``kind``: which command wrote it ("latency", "engines", "cost", "load", ...); a kind with
    results of its own subclasses this one. ``took_s``: the measurement with what it built, None in
    older reports. ``other_cpu_share``: CPU time that other processes used during the run, as a
    share of the machine's; None where it cannot be told. ``settings``: everything that was chosen.
    ``notes``: the method, and what the figures depend on beyond machine and software, a line each.
    ``figures``: all results, each key once. ``series``: how times went from round to round, where
    targets took turns. ``models``: what stood behind those targets; empty in older reports.
    """

    schema_version: Literal[2] = 2
    kind: str
    title: str
    created_utc: str
    took_s: float | None = None
    environment: Environment
    load_average_before: LoadAverage
    load_average_after: LoadAverage
    other_cpu_share: float | None = None
    settings: object
    notes: tuple[str, ...] = ()
    figures: tuple[Figure, ...] = ()
    series: tuple[Series, ...] = ()
    models: tuple[MeasuredModel, ...] = ()

    @property
    def noisy(self) -> bool:
        """Whether other work on the machine makes the figures doubtful."""
        load, cores = self.load_average_before[0], self.environment.cores
        return is_noisy(self.other_cpu_share, load, cores)

    @property
    def noise(self) -> str:
        """What else the machine did, in words."""
        before, after = self.load_average_before[0], self.load_average_after[0]
        told = f"load average (1 minute) {before:g} before, {after:g} after"
        if self.other_cpu_share is not None:
            share = 100 * self.other_cpu_share
            told += f"; other processes used {share:.1f} % of the machine's CPU time"
        return f"WARNING, the machine was busy with other work: {told}" if self.noisy else told

    def conditions(self) -> list[str]:
        """Return what the figures depend on, one line each; the last is what else ran."""
        return [*self.environment.lines(), *self.notes, self.noise]

    def to_json(self) -> str:
        """Return the report as JSON text; ``model_validate_json`` reads it back."""
        return self.model_dump_json(indent=1) + "\n"


class StoredReport(BenchReport):
    """A report of any kind, read from a file: what it shares with all others."""

    model_config = ConfigDict(extra="ignore", frozen=True)


def read_report(path: Path) -> StoredReport:
    """Read a report of any kind, of this schema version or the one before.

    Raises:
        InputError: the file is missing, is no benchmark report, or is one of a schema version
            that this program does not know.
    """
    try:
        raw = pydantic_core.from_json(path.read_bytes())  # not json, which nesting overflows
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror})") from error
    except ValueError as error:
        raise InputError(f"{path}: is not JSON ({error})") from error
    from hemogat.benchmarks.older_reports import OLD_VERSION, upgraded  # which need this module

    try:
        if isinstance(raw, dict) and raw.get("schema_version") == OLD_VERSION:
            raw = upgraded(raw)
        if isinstance(raw, dict) and raw.get("schema_version") == SCHEMA_VERSION:
            return StoredReport.model_validate(raw)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        raise InputError(f"{path}: is no benchmark report: {where}: {first['msg']}") from error
    found = raw.get("schema_version") if isinstance(raw, dict) else None
    raise InputError(
        f"{path}: expected a benchmark report of schema version {SCHEMA_VERSION}, found "
        f"{'none' if found is None else f'version {found}'}; measure again with this hemogat"
    )


def flat_settings(settings: object, prefix: str = "") -> dict[str, object]:
    """Return nested settings as one level of names joined by dots."""
    if isinstance(settings, Settings):
        settings = settings.model_dump(mode="json")
    if not isinstance(settings, Mapping):
        return {prefix or "value": settings}
    found: dict[str, object] = {}
    for name, value in settings.items():
        found |= flat_settings(value, f"{prefix}.{name}" if prefix else str(name))
    return found


def told(value: object) -> str:
    """Return a setting's value in words."""
    if value is None or value == []:
        return "none"
    return ", ".join(map(told, value)) if isinstance(value, list | tuple) else str(value)
