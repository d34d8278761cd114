"""Measure peers and hemogat on the same weights, taking turns, in one run.

    python benchmarks/peers/measure.py --out benchmarks/results

The encoders: plain transformers (eager), torch.compile, optimum-onnx on ONNX Runtime, and
hemogat's exports in every engine and precision that runs here. The fusion step: those exports
against the authors' way, a new graph over all nodes and a forward of all of them through PyTorch
Geometric, which takes seconds and so has few rounds of its own.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Literal

from prepare import DEFAULT_WORK, ENGINES_FILE, HERE

from hemogat.benchmarks.authors_way import measure_authors_way
from hemogat.benchmarks.entries import Entry
from hemogat.benchmarks.epochs import SideBySideSettings
from hemogat.benchmarks.noise import RunWatch
from hemogat.benchmarks.report import BenchReport
from hemogat.benchmarks.rounds import RoundSettings
from hemogat.benchmarks.side_by_side import measure_side_by_side
from hemogat.benchmarks.side_by_side_tables import latency_table, process_table, write_tables
from hemogat.benchmarks.statistics import latency_figures
from hemogat.benchmarks.targets import Case, GraphsTarget, HeadShape, PeerTarget
from hemogat.config import Settings
from hemogat.progress import Progress
from hemogat.versions import installed_version

CASES = (
    Case(component="encoders", tokens=16),
    Case(component="encoders", tokens=128),
    Case(component="fusion"),
)
SHAPE = HeadShape()
FIRST = "transformers eager"


class PeerSettings(Settings):
    """``side_by_side``: of all but the authors' way, which has ``authors_rounds``."""

    side_by_side: SideBySideSettings
    authors_rounds: int


class PeerReport(BenchReport):
    """Peers and hemogat side by side."""

    kind: Literal["peers"] = "peers"
    settings: PeerSettings


def main() -> None:
    """Measure and write the report."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--work", type=Path, default=DEFAULT_WORK, help="what prepare.py filled")
    parser.add_argument("--out", type=Path, required=True, help="folder of the report")
    parser.add_argument("--epochs", type=int, default=4, help="at least; fresh processes in each")
    parser.add_argument("--rounds", type=int, default=24, help="at least, in all")
    parser.add_argument("--limit-s", type=float, default=240.0, help="of all epochs")
    parser.add_argument("--authors-rounds", type=int, default=3)
    given = parser.parse_args()
    rounds = RoundSettings(epochs=given.epochs, rounds=given.rounds, limit_s=given.limit_s)
    settings = PeerSettings(
        side_by_side=SideBySideSettings(cases=CASES, rounds=rounds),
        authors_rounds=given.authors_rounds,
    )
    report = measure(settings, given.work.absolute())
    tables = latency_table(report.figures), process_table(report.figures)
    print(write_tables(report, tables, given.out, ("base",)))


def measure(settings: PeerSettings, work: Path) -> PeerReport:
    """Measure all peers and the authors' way."""
    watch = RunWatch()
    found = measure_side_by_side(entries(work), settings.side_by_side, Progress(visible=True))
    authors = measure_authors_way(SHAPE.bank_rows, settings.authors_rounds)
    axes: dict[str, str | int] = {"component": "fusion", "batch": 1, "gnn": "gat"}
    axes["bank_rows"] = SHAPE.bank_rows
    figures = [*found.figures, *latency_figures("authors' way", authors.authors_total, axes)]
    return PeerReport(
        title="Peers on the base sizes",
        settings=settings,
        notes=(
            "wav2vec2-base and BERT-base with random weights, the same for all; inputs are arrays; "
            "1 window of 1 s, 16 tokens or the 128 that the authors pad to",
            f"optimum-onnx 0.1.0 with transformers 4.57.6 on the same ONNX Runtime; transformers "
            f"{installed_version('transformers')} for eager and torch.compile",
            settings.side_by_side.rounds.in_words(),
            f"authors' way: one new utterance beside {SHAPE.bank_rows} others, "
            f"{settings.authors_rounds} rounds of its own",
            f"speed_up: over {FIRST}, and of the fusion step over hemogat onnx-fp32: the median "
            "over rounds",
            *found.told(),
        ),
        figures=tuple(figures),
        series=tuple(found.series),
        models=tuple(found.models),
        **watch.facts(),
    )


def entries(work: Path) -> list[Entry]:
    """Return everything that takes turns; ratios are to the first."""
    workers = {
        FIRST: (sys.executable, HERE / "transformers_worker.py", "eager"),
        "transformers torch.compile": (sys.executable, HERE / "transformers_worker.py", "compile"),
        "optimum-onnx": (work / "venv" / "bin" / "python", HERE / "optimum_worker.py"),
    }
    peers = [
        Entry(name, PeerTarget(name=name, command=tuple(map(str, words)), folder=work / "models"))
        for name, words in workers.items()
    ]
    file = work / ENGINES_FILE
    if not file.is_file():
        raise SystemExit(f"{file} is missing; make it with: {HERE / 'prepare.py'}")
    engines = json.loads(file.read_text(encoding="utf-8"))
    return [*peers, *(ours(work, name, paths) for name, paths in engines.items())]


def ours(work: Path, name: str, paths: dict[str, str]) -> Entry:
    """Return hemogat's graphs in one engine and precision."""
    engine, _, precision = name.partition("-")
    target = {"paths": {graph: work / path for graph, path in paths.items()}, "shape": SHAPE}
    return Entry(
        f"hemogat {name}",
        GraphsTarget.model_validate({"engine": engine, "precision": precision} | target),
    )


if __name__ == "__main__":
    main()
