"""Copy what suites measured into the committed results: what ``make bench-collect`` runs.

    python benchmarks/collect_results.py build/bench

Each report comes with its Markdown and picture. ``suites.json`` beside them keeps which step of
which suite made which file: a later run of the step replaces it, and a test compares its settings
with the suite's.
"""

from __future__ import annotations

import argparse
import re
import shutil
from collections.abc import Sequence
from pathlib import Path

from hemogat.benchmarks.file_names import of_other_machines
from hemogat.benchmarks.report import read_report
from hemogat.benchmarks.suites import STEP_FILE, Step, StepRecord, Suite
from hemogat.config import Settings, load_settings
from hemogat.errors import InputError
from hemogat.files import write_atomic

HERE = Path(__file__).parent
RESULTS, SUITES = HERE / "results", HERE / "suites"
ROOT = HERE.parent
PAGES = (ROOT / "README.md", HERE / "README.md", *sorted((ROOT / "docs").glob("*.md")))
RECORD = "suites.json"
_NAMED = re.compile(r"\bresults/[\w.-]+\.(?:json|md|png)\b")
_KINDS = (".json", ".md", ".png")


class Made(Settings):
    """What a committed report was made by."""

    report: str
    suite: str
    step: Step


class Collected(Settings):
    """``suites.json``: all committed reports that a suite made."""

    made: tuple[Made, ...] = ()


def main(arguments: Sequence[str] | None = None) -> None:
    """Copy the reports of one run of suites."""
    parser = argparse.ArgumentParser()
    parser.add_argument("folder", type=Path, help="BENCH_OUT of make bench")
    given = parser.parse_args(arguments)
    for made in collect(given.folder, RESULTS):
        print(f"{made.suite}, {made.step.name}: {made.report}")
    for report in sorted(given.folder.glob("peers/*/*.json")):  # of no suite, but beside them
        removed = take(report, RESULTS)
        print(f"peers: {report.name}")
        for path in removed:
            print(f"removed, as it is of another machine: {path.name}")
    for line in named_in_vain(RESULTS, PAGES):
        print(line)


def collect(folder: Path, results: Path) -> list[Made]:
    """Copy every suite's reports from ``folder``; those of the same step before go.

    Raises:
        InputError: there are none, or two steps' reports have one name.
    """
    found: list[Made] = []
    sources: dict[str, Path] = {}
    for record in sorted(folder.glob(f"*/*/{STEP_FILE}")):
        step = StepRecord.model_validate_json(record.read_bytes())
        if step.report in sources:
            raise InputError(f"{record.parent}, {sources[step.report]}: both made {step.report}")
        sources[step.report] = record.parent
        made = Made(report=step.report, suite=record.parents[1].name, step=step.step)
        found.append(made)
    if not found:
        raise InputError(f"{folder}: expected what suites measured, found none; run: make bench")
    replaced = {(made.suite, made.step.name) for made in found}
    before = read_collected(results).made
    kept = [made for made in before if (made.suite, made.step.name) not in replaced]
    for made in before:
        if made not in kept:
            for path in _files(results / made.report):
                path.unlink(missing_ok=True)
    for made in found:
        _copy(sources[made.report] / made.report, results)
    both = sorted((*kept, *found), key=lambda made: (made.suite, made.step.name))
    write_atomic(results / RECORD, Collected(made=tuple(both)).model_dump_json(indent=1) + "\n")
    return found


def take(report: Path, results: Path) -> list[Path]:
    """Copy a report that is of no suite; the same of another machine goes; return what went."""
    _copy(report, results)
    taken = results / report.name
    before = of_other_machines(taken, read_report(taken).environment)
    removed = [path for other in before for path in _files(other) if path.exists()]
    for path in removed:
        path.unlink()
    return removed


def named_in_vain(results: Path, pages: Sequence[Path]) -> list[str]:
    """Return where pages name a result that is not there: their figures are of a replaced one."""
    return [
        f"{page.name}, line {number}: {name} is no longer there"
        for page in pages
        for number, line in enumerate(page.read_text(encoding="utf-8").splitlines(), 1)
        for name in (Path(found[0]).name for found in _NAMED.finditer(line))
        if not (results / name).exists()
    ]


def read_collected(results: Path) -> Collected:
    """Return what is known of the committed reports."""
    file = results / RECORD
    return Collected.model_validate_json(file.read_bytes()) if file.exists() else Collected()


def outdated(results: Path, suites: Path) -> list[str]:
    """Return the committed reports that are gone, or that their suite measures otherwise now."""
    found = []
    for made in read_collected(results).made:
        steps = load_settings(Suite, suites / f"{made.suite}.yaml").steps
        if made.step not in steps:
            found.append(f"{made.report}: {made.suite} measures {made.step.name} otherwise by now")
        elif not (results / made.report).is_file():
            found.append(f"{made.report}: missing")
    return found


def _copy(report: Path, results: Path) -> None:
    for path in _files(report):
        if path.exists():
            shutil.copy(path, results / path.name)


def _files(report: Path) -> list[Path]:
    return [report.with_suffix(kind) for kind in _KINDS]


if __name__ == "__main__":
    main()
