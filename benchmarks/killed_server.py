"""What a manifest loses when the server that answers it is killed: nothing, it should be.

    python benchmarks/killed_server.py export/models/demo --out FILE.json

``hemogat serve --supervise`` serves the bundle, and ``hemogat predict --url`` asks it for every row
of a manifest made of the bundle's golden cases: once undisturbed, and once while tritonserver and
processes of its models, in turns, get SIGKILL. Rows asked, answered and lost are counted, and both
runs' answers compared.
"""

from __future__ import annotations

import argparse
import csv
import json
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import psutil

from hemogat.benchmarks.figures import Better, Figure, Unit
from hemogat.benchmarks.noise import RunWatch
from hemogat.benchmarks.report import BenchReport
from hemogat.data.manifest import Utterance, write_manifest
from hemogat.files import write_atomic
from hemogat.runtime.bundle import Bundle
from hemogat.runtime.golden import golden_cases
from hemogat.serving.client import Client

HEMOGAT = (sys.executable, "-m", "hemogat")
ROWS, KILLS, CONCURRENCY = 2000, 6, 8
TARGETS = ("tritonserver", "a model's process")
BACK_WITHIN_S = 120.0
_TARGET = "hemogat serve --supervise"
_POLL_S = 0.02


@dataclass(frozen=True)
class Comparison:
    """Answers beside those of an undisturbed run; ``probability``: the largest difference."""

    lost: int
    other_label: int
    probability: float


def main(arguments: Sequence[str] | None = None) -> None:
    """Run it and write the report."""
    parser = argparse.ArgumentParser()
    parser.add_argument("bundle", type=Path)
    parser.add_argument("--rows", type=int, default=ROWS)
    parser.add_argument("--kills", type=int, default=KILLS)
    parser.add_argument("--out", type=Path, default=None)
    given = parser.parse_args(arguments)
    report = measure(given.bundle, given.rows, given.kills)
    for line in report.notes:
        print(line)
    if given.out is not None:
        write_atomic(given.out, report.to_json())


def measure(bundle: Path, rows: int, kills: int) -> BenchReport:
    """Ask for ``rows`` rows twice, the second time while processes are killed."""
    watch = RunWatch()
    with tempfile.TemporaryDirectory(prefix="hemogat-kill-") as scratch:
        folder = Path(scratch)
        manifest = folder / "manifest.csv"
        write_manifest(manifest, golden_rows(Bundle.open(bundle.resolve()), rows))
        with supervised(bundle, folder / "serve.log") as (url, supervisor):
            undisturbed = folder / "undisturbed.csv"
            subprocess.run(predict_command(url, manifest, undisturbed), check=True)
            disturbed = folder / "disturbed.csv"
            killer = Killer(url, supervisor, Path(f"{disturbed}.partial"), rows, kills)
            with killer:
                subprocess.run(predict_command(url, manifest, disturbed), check=True)
        found = compare_answers(undisturbed, disturbed)
        answered = len(read_answers(disturbed))
    settings = {"bundle": bundle.name, "rows": rows, "kills": kills, "concurrency": CONCURRENCY}
    return BenchReport(
        **watch.facts(),
        kind="killed-server",
        title=f"A manifest on {bundle.name} while its server is killed",
        settings=settings,
        notes=_notes(rows, answered, killer.killed, found),
        figures=tuple(_figures(rows, answered, killer, found)),
    )


def compare_answers(undisturbed: Path, disturbed: Path) -> Comparison:
    """Compare two files of answers, row by row."""
    wanted, found = read_answers(undisturbed), read_answers(disturbed)
    both = [(wanted[name], found[name]) for name in wanted if name in found]
    return Comparison(
        lost=len(wanted) - len(both),
        other_label=sum(one["label"] != other["label"] for one, other in both),
        probability=max(
            (abs(float(one[c]) - float(other[c])) for one, other in both for c in _scores(one)),
            default=0.0,
        ),
    )


class Killer:
    """Kills tritonserver and its models' processes in turns, spread over the rows, from a thread.

    Each kill waits until the journal shows that rows are answered again.
    """

    def __init__(self, url: str, supervisor: int, journal: Path, rows: int, kills: int) -> None:
        self.killed: list[str] = []
        self.away_s: list[float] = []
        self._url, self._supervisor, self._journal = url, psutil.Process(supervisor), journal
        self._places = [rows * (number + 1) // (kills + 1) for number in range(kills)]
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run)

    def __enter__(self) -> Killer:
        self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._over.set()
        self._thread.join()

    def _run(self) -> None:
        for number, place in enumerate(self._places):
            while journal_lines(self._journal) <= place:
                if self._over.wait(_POLL_S):
                    return
            target = TARGETS[number % len(TARGETS)]
            kill_process(self._supervisor, target, number // len(TARGETS))
            self.killed.append(target)
            self.away_s.append(self._until_back())

    def _until_back(self) -> float:
        """Return how long it took until a row was answered that was not under way before.

        At most as many are under way as are asked at a time.
        """
        started, before = time.monotonic(), journal_lines(self._journal) + CONCURRENCY
        while journal_lines(self._journal) <= before and not self._over.wait(_POLL_S):
            if time.monotonic() - started > BACK_WITHIN_S:
                raise TimeoutError(f"no row was answered for {BACK_WITHIN_S:g} s after a kill")
        return time.monotonic() - started


def kill_process(supervisor: psutil.Process, target: str, number: int) -> None:
    """Kill the server or, of its models' processes in turns, the one of this number."""
    (server,) = supervisor.children()
    models = [child for child in server.children() if "stub" in child.name()]
    process = server if target == TARGETS[0] else models[number % len(models)]
    process.kill()


@contextmanager
def supervised(bundle: Path, log: Path) -> Iterator[tuple[str, int]]:
    """Run ``hemogat serve --supervise``; give its gRPC address and process id."""
    ports = ("--http-port", "0", "--grpc-port", "0", "--metrics-port", "0")
    command = [*HEMOGAT, "serve", str(bundle), "--supervise", "--log-format", "json", *ports]
    with log.open("wb") as file, subprocess.Popen(command, stdout=file) as process:
        try:
            yield _address(log, process), process.pid
        finally:
            process.terminate()


def _address(log: Path, process: subprocess.Popen[bytes]) -> str:
    while process.poll() is None:
        for line in log.read_text(encoding="utf-8").splitlines(keepends=True):
            message = json.loads(line)["message"] if line.endswith("\n") else ""
            if message.startswith("Triton "):
                url: str = message.split("gRPC ")[1].split(",")[0]
                with Client(url) as client:
                    assert client.ready()
                return url
        time.sleep(_POLL_S)
    raise SystemExit(f"hemogat serve ended with {process.returncode}")


def predict_command(url: str, manifest: Path, out: Path) -> list[str]:
    """Return the command that asks a server for every row."""
    command = [*HEMOGAT, "predict", "--url", url, "--manifest", str(manifest), "--out", str(out)]
    return [*command, "--concurrency", str(CONCURRENCY)]


def golden_rows(bundle: Bundle, rows: int) -> list[Utterance]:
    """Return so many rows of a manifest, made of the bundle's golden cases in turns."""
    cases = golden_cases(bundle)
    chosen = (cases[number % len(cases)] for number in range(rows))
    return [
        Utterance(
            id=f"row-{number}",
            audio=case.audio,
            text=case.text,
            label=case.label,
            speaker="golden",
            split="test",
        )
        for number, case in enumerate(chosen)
    ]


def read_answers(path: Path) -> dict[str, dict[str, str]]:
    """Return the rows of a file of predictions by their ids."""
    with path.open(encoding="utf-8", newline="") as file:
        return {row["id"]: row for row in csv.DictReader(file)}


def _scores(row: dict[str, str]) -> list[str]:
    return [column for column in row if column.startswith("p_")]


def journal_lines(path: Path) -> int:
    """Return how many lines a journal has, its heading included."""
    return path.read_bytes().count(b"\n") if path.exists() else 0


def _notes(rows: int, answered: int, killed: Sequence[str], found: Comparison) -> tuple[str, ...]:
    each = ", ".join(f"{target} {killed.count(target)} times" for target in TARGETS)
    return (
        f"SIGKILL while the manifest was under way: {each}",
        f"{rows} rows asked, {answered} answered, {found.lost} lost; {found.other_label} with "
        f"another label than undisturbed, probabilities within {found.probability:.1e}",
        "away: from a kill until a row was answered that was not under way then, by the journal",
    )


def _figures(rows: int, answered: int, killer: Killer, found: Comparison) -> Iterator[Figure]:
    numbers: tuple[tuple[str, Unit, float, Better], ...] = (
        ("rows_asked", "count", rows, "neither"),
        ("rows_answered", "count", answered, "higher"),
        ("rows_lost", "count", found.lost, "lower"),
        ("other_labels", "count", found.other_label, "lower"),
        ("largest_probability_change", "points", 100 * found.probability, "lower"),
    )
    for metric, unit, value, better in numbers:
        yield Figure(target=_TARGET, metric=metric, unit=unit, value=value, better=better)
    for number, (target, away_s) in enumerate(zip(killer.killed, killer.away_s, strict=True), 1):
        axes: dict[str, str | int] = {"kill": number, "killed": target}
        yield Figure(target=_TARGET, metric="away", unit="s", value=away_s, axes=axes)


if __name__ == "__main__":
    main()
