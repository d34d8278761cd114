"""Render the marked tables of README.md from committed results: what ``make bench-readme`` runs.

    python benchmarks/readme_tables.py

A table stands between ``<!-- bench:NAME -->`` and ``<!-- /bench -->``; NAME is one of TABLES.
Reports from a busy machine are refused, unless with ``--allow-noisy``.
"""

from __future__ import annotations

import argparse
import re
from collections.abc import Callable, Sequence
from pathlib import Path

from hemogat.benchmarks.figures import Figure
from hemogat.benchmarks.quantities import number, plus_minus
from hemogat.benchmarks.report import BenchReport, read_report
from hemogat.benchmarks.serving_load_report import LoadReport
from hemogat.benchmarks.summary_table import Table, beside, summary_table
from hemogat.errors import HemogatError, InputError
from hemogat.files import write_atomic
from hemogat.runtime.bundle import Bundle
from hemogat.runtime.parity_report import labels_flipped

ROOT = Path(__file__).parents[1]
README = ROOT / "README.md"
RESULTS = ROOT / "benchmarks" / "results"
DEMO = ROOT / "export" / "models" / "demo"
_MARKED = re.compile(r"<!-- bench:([a-z-]+) -->\n.*?<!-- /bench -->", re.DOTALL)


def main(arguments: Sequence[str] | None = None) -> None:
    """Render README.md anew."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--allow-noisy", action="store_true", help="take results of a busy machine")
    given = parser.parse_args(arguments)
    text = README.read_text(encoding="utf-8")
    write_atomic(README, render(text, allow_noisy=given.allow_noisy))


def render(text: str, *, allow_noisy: bool = False) -> str:
    """Return README's text with every marked table as the results have it.

    Raises:
        InputError: a mark names no table, a result is missing, or it is of a busy machine.
    """

    def table(mark: re.Match[str]) -> str:
        name = mark[1]
        if name not in TABLES:
            raise InputError(f"bench:{name}: expected one of {', '.join(TABLES)}")
        lines = TABLES[name](allow_noisy)
        return "\n".join((f"<!-- bench:{name} -->", *lines, "<!-- /bench -->"))

    return _MARKED.sub(table, text)


def base_sizes(allow_noisy: bool) -> list[str]:
    """How fast, how big, how right, against whom, on what machine; and how accurate."""
    file, report = _result("peers-base-*.json", allow_noisy)
    table = summary_table(report, labels_flipped(Bundle.open(DEMO)))
    return [*_lines(table), f"{_notes(table)} {_link(file)}", "", *_accuracy()]


def _accuracy() -> list[str]:
    """Accuracy of each kind of graph layer, beside its size and work: nothing that noise moves."""
    file, report = _result("gnn-meld-text-*.json", allow_noisy=True)
    figures = report.figures
    kinds = list(dict.fromkeys(str(f.axes["gnn"]) for f in figures if f.target == "model"))

    def cells(gnn: str) -> tuple[str, ...]:
        def one(target: str, metric: str) -> Figure:
            wanted = (target, metric, gnn)
            return next(f for f in figures if (f.target, f.metric, f.axes.get("gnn")) == wanted)

        return (
            gnn.upper(),
            *(_bounded(one("model", metric)) for metric in ("weighted_f1", "accuracy")),
            f"{one('model', 'head_parameters').value / 1e6:.2f}",
            f"{one('model', 'inductive_macs').value / 1e9:.2f}",
        )

    columns = (
        *("graph layers, MELD's test split, text alone", "weighted F1, %", "accuracy, %"),
        *("head, M parameters", "one utterance, G MACs"),
    )
    notes = (
        "Mean over seeds of the head, on a fine-tuned MiniLM, ± half the 95 % interval; the paper "
        "has 59.5 weighted F1 with a fine-tuned BERT-base.",
    )
    table = Table(columns, tuple(map(cells, kinds)), notes)
    return [*_lines(table), f"{_notes(table)} {_link(file)}"]


def demo_load(allow_noisy: bool) -> list[str]:
    """What the demo's server does under load."""
    file, report = _result("load-demo-*.json", allow_noisy)
    load = LoadReport.model_validate_json(file.read_bytes())
    rows = [
        (
            f"{level.kind}, {level.offered:.0f} {_OFFERED[level.kind]}",
            f"{level.answered_per_s:.0f}",
            plus_minus(latency.p50_ms, latency.p50_low_ms, latency.p50_high_ms),
            *(number(round(ms, 1)) for ms in (latency.p95_ms, latency.p99_ms)),
            ", ".join(f"{count} {status}" for status, count in level.errors.items()) or "none",
        )
        for level in load.levels
        if (latency := level.latency) is not None
    ]
    machine = report.environment
    notes = (
        f"The demo's bundle, {load.target}, on {machine.cpu_in_words}, {machine.cores} cores "
        f"that server and sender share{beside(report)}; of streams, answers to chunks of "
        f"{load.settings.chunk_ms} ms. ±: how far 95 % intervals reach.",
    )
    columns = ("load", "answered/s", "p50 ms", "p95 ms", "p99 ms", "refused")
    table = Table(columns, tuple(rows), notes)
    return [*_lines(table), f"{_notes(table)} {_link(file)}"]


TABLES: dict[str, Callable[[bool], list[str]]] = {"base-sizes": base_sizes, "demo-load": demo_load}
_OFFERED = {"closed loop": "at a time", "open loop": "a second", "streams": "at once"}


def _result(pattern: str, allow_noisy: bool) -> tuple[Path, BenchReport]:
    files = sorted(RESULTS.glob(pattern))
    if len(files) != 1:
        raise InputError(f"{RESULTS / pattern}: expected one result, found {len(files)}")
    report = read_report(files[0])
    if report.noisy and not allow_noisy:
        raise InputError(
            f"{files[0]}: {report.noise}; measure again on a quiet machine, or say --allow-noisy"
        )
    return files[0], report


def _bounded(figure: Figure) -> str:
    return plus_minus(figure.value, figure.low, figure.high)


def _lines(table: Table) -> list[str]:
    rule = "|---|" + "---:|" * (len(table.columns) - 1)
    first, *others = (f"| {' | '.join(cells)} |" for cells in (table.columns, *table.rows))
    return [first, rule, *others, ""]


def _notes(table: Table) -> str:
    return " ".join(table.notes)


def _link(file: Path) -> str:
    return f"[The file](benchmarks/results/{file.name})."


if __name__ == "__main__":
    try:
        main()
    except HemogatError as error:
        raise SystemExit(f"error: {error}") from error
