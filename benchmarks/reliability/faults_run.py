"""Manifests asked of ``hemogat serve --supervise`` while server, model processes and clients die.

A client that is killed is run again, and goes on with what its journal has.
"""

from __future__ import annotations

import csv
import json
import subprocess
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import Any

import psutil
from killed_server import (
    BACK_WITHIN_S,
    CONCURRENCY,
    TARGETS,
    compare_answers,
    golden_rows,
    journal_lines,
    kill_process,
    predict_command,
    supervised,
)

from hemogat.data.manifest import write_manifest
from hemogat.runtime.bundle import Bundle

CLIENT = "hemogat predict"
KILLED = (*TARGETS, CLIENT)
_LAST_PLACE = 0.8  # of the rows: a kill that comes later may find all of them answered
_POLL_S = 0.005


@dataclass
class FaultsReport:
    """``kept``: answers that a killed client left in its journal; ``kept_changed``: those of them
    that the finished file has otherwise; ``largest``: difference from the undisturbed answers."""

    rounds: int
    rows: int  # of a round
    kills: dict[str, int] = field(default_factory=lambda: dict.fromkeys(KILLED, 0))
    asked: int = 0
    answered: int = 0
    lost: int = 0
    twice: int = 0
    other_label: int = 0
    largest: float = 0.0
    kept: int = 0
    kept_changed: int = 0
    duration_s: float = 0.0

    def to_dict(self) -> dict[str, Any]:
        """Return plain values."""
        return dict(vars(self))


def run_faults(bundle: Path, rounds: int, rows: int, *, seed: int = 0) -> FaultsReport:
    """Ask for ``rows`` rows in each round, with one kill of each kind at random rows.

    Each round has a server of its own: one that dies often is started again ever later.
    """
    random, report = Random(seed), FaultsReport(rounds, rows)
    began_s = time.perf_counter()
    with tempfile.TemporaryDirectory(prefix="hemogat-faults-") as scratch:
        folder = Path(scratch)
        manifest, undisturbed = folder / "manifest.csv", folder / "undisturbed.csv"
        write_manifest(manifest, golden_rows(Bundle.open(bundle.resolve()), rows))
        for number in range(rounds):
            out = folder / f"round-{number}.csv"
            with supervised(bundle, folder / f"serve-{number}.log") as (url, supervisor):
                if not undisturbed.exists():
                    subprocess.run(predict_command(url, manifest, undisturbed), check=True)
                command = predict_command(url, manifest, out)
                kept = _Round(command, supervisor, out, report).run(random)
            _count(report, undisturbed, out, kept)
    report.duration_s = time.perf_counter() - began_s
    return report


class _Round:
    """One manifest, its client started again after a kill, until the file is there."""

    def __init__(self, command: list[str], supervisor: int, out: Path, report: FaultsReport):
        self._command, self._out, self._report = command, out, report
        self._supervisor = psutil.Process(supervisor)
        self._journal = Path(f"{out}.partial")
        self._kept: dict[str, dict[str, float]] = {}

    def run(self, random: Random) -> dict[str, dict[str, float]]:
        """Return the answers that the journal had when the client was killed."""
        places = sorted(random.sample(range(int(self._report.rows * _LAST_PLACE)), len(KILLED)))
        client = subprocess.Popen(self._command)
        try:
            for place, target in zip(places, random.sample(KILLED, len(KILLED)), strict=True):
                if not self._reaches(place, client):
                    break
                client = self._kill(target, client, random)
            if client.wait():
                raise subprocess.CalledProcessError(client.returncode, self._command)
        finally:
            client.kill()
            client.wait()
        return self._kept

    def _reaches(self, place: int, client: subprocess.Popen[bytes]) -> bool:
        """Wait for that row, and for rows that were not under way at the kill before."""
        place = max(place, journal_lines(self._journal) + CONCURRENCY)
        began_s = time.monotonic()
        while journal_lines(self._journal) <= place:
            if client.poll() is not None:
                return False
            if time.monotonic() - began_s > BACK_WITHIN_S:
                raise TimeoutError(f"row {place} was not answered within {BACK_WITHIN_S:g} s")
            time.sleep(_POLL_S)
        return True

    def _kill(
        self, target: str, client: subprocess.Popen[bytes], random: Random
    ) -> subprocess.Popen[bytes]:
        if target != CLIENT:
            kill_process(self._supervisor, target, random.randrange(100))
        else:
            client.kill()
            client.wait()
            if self._out.exists():  # it was done already
                return client
            self._kept = _journalled(self._journal)
            client = subprocess.Popen(self._command)
        self._report.kills[target] += 1
        return client


def _journalled(journal: Path) -> dict[str, dict[str, float]]:
    lines = journal.read_text(encoding="utf-8").split("\n")[1:-1]  # heading; the last is cut
    entries = [json.loads(line) for line in lines]
    return {entry["id"]: entry["probabilities"] for entry in entries}


def _count(
    report: FaultsReport, undisturbed: Path, out: Path, kept: dict[str, dict[str, float]]
) -> None:
    with out.open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    answers = {row["id"]: row for row in rows}
    found = compare_answers(undisturbed, out)
    report.asked += report.rows
    report.answered += len(answers)
    report.lost += report.rows - len(answers)
    report.twice += len(rows) - len(answers)
    report.other_label += found.other_label
    report.largest = max(report.largest, found.probability)
    report.kept += len(kept)
    for name, scores in kept.items():
        row = answers.get(name, {})
        written = {label: row.get(f"p_{label}") for label in scores}
        report.kept_changed += written != {k: f"{score:.6f}" for k, score in scores.items()}
