"""Names of reports' files: what was measured, then the machine."""

from __future__ import annotations

import json
import re
from pathlib import Path

from hemogat.benchmarks.environment import Environment


def report_path(folder: Path, environment: Environment, *conditions: str) -> Path:
    """Return where the report of these conditions stands, as JSON, in ``folder``.

    The machine is the processor with its widest vector instructions, as several generations may
    share a name, and the cores: ``gnn-base-amd-epyc-avx512-bf16-2c.json``.
    """
    return folder / f"{_joined(*conditions, *environment.file_words)}.json"


def of_other_machines(path: Path, environment: Environment) -> list[Path]:
    """Return the reports beside ``path`` that are named after the same conditions elsewhere.

    Args:
        path: a report's file, as :func:`report_path` names it.
        environment: that it was measured in.
    """
    conditions = path.stem.removesuffix(_joined(*environment.file_words))
    others = sorted(set(path.parent.glob(f"{conditions}*.json")) - {path})
    return [other for other in others if other.stem.removeprefix(conditions) in _machines(other)]


def _machines(report: Path) -> set[str]:
    """Return how the machine of a report is called; before, it was without instructions."""
    found = json.loads(report.read_bytes()).get("environment")
    if found is None:
        return set()
    environment = Environment.model_validate(found)
    return {
        _joined(*environment.file_words),
        _joined(environment.cpu, f"{environment.cores}c"),
    }


def _joined(*words: str) -> str:
    return "-".join(map(slug, words))


def slug(name: str) -> str:
    """Return ``name`` as it can stand in a file name."""
    return re.sub(r"[^a-z0-9.]+", "-", name.lower()).strip("-.")
