"""The report on engines: what is measured on the base preset."""

from __future__ import annotations

from typing import Literal

from hemogat.benchmarks.report import BenchReport
from hemogat.benchmarks.rounds import RoundSettings
from hemogat.benchmarks.targets import COMPONENTS, Case
from hemogat.config import PositiveInt, Settings

CASES = tuple(Case(component=component) for component in COMPONENTS)


class EngineSettings(Settings):
    """What to run and how often.

    ``threads``: how many one graph may use; None: as many as there are cores. ``larger_banks``:
    rows of further banks, against which the fusion graph alone is timed. ``transductive_rounds``:
    of the authors' way, which takes seconds. ``calibration_samples``: of noise; speed does not
    depend on the scales that they give.
    """

    bank_rows: PositiveInt = 4407
    larger_banks: tuple[PositiveInt, ...] = (44_070,)
    threads: PositiveInt | None = None
    rounds: RoundSettings = RoundSettings()
    calibration_samples: PositiveInt = 8
    transductive_rounds: PositiveInt = 3

    def conditions_in_name(self) -> tuple[str, ...]:
        """Return what tells a report's file from those of other settings, the usual ones unsaid."""
        found, usual = [], EngineSettings()
        if self.larger_banks != usual.larger_banks:
            found.append(f"banks {' '.join(map(str, self.larger_banks))}")
        return (*found, *([] if self.threads is None else [f"{self.threads}t"]))


class EngineReport(BenchReport):
    """Engines side by side on one machine, weights random.

    ``export_s``: building the models and writing all engines.
    """

    kind: Literal["engines"] = "engines"
    title: str = "Latency of the base preset"
    settings: EngineSettings
    export_s: float
