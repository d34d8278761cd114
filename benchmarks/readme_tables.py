"""Render the marked tables of README.md from committed results: what ``make bench-readme`` runs.

    python benchmarks/readme_tables.py

A table stands between ``<!-- bench:NAME -->`` and ``<!-- /bench -->``; NAME is one of TABLES.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

from hemogat.benchmarks.quantities import number
from hemogat.errors import InputError
from hemogat.files import write_atomic

ROOT = Path(__file__).parents[1]
README = ROOT / "README.md"
RESULTS = ROOT / "benchmarks" / "results"
_MARKED = re.compile(r"<!-- bench:([a-z-]+) -->\n.*?<!-- /bench -->", re.DOTALL)
_TORCH = "torch eager fp32, 16 tokens"  # padded as ours, so that engines are compared, not padding


def render(text: str) -> str:
    """Return README's text with every marked table as the results have it.

    Raises:
        InputError: a mark names no table, or a result is missing.
    """

    def table(mark: re.Match[str]) -> str:
        name = mark[1]
        if name not in TABLES:
            raise InputError(f"bench:{name}: expected one of {', '.join(TABLES)}")
        return "\n".join((f"<!-- bench:{name} -->", *TABLES[name](), "<!-- /bench -->"))

    return _MARKED.sub(table, text)


def base_sizes() -> list[str]:
    """How fast and how big, against whom, on what machine; and how accurate."""
    file, report = _result("engines-base-*.json")
    engines = {engine["name"]: engine for engine in report["engines"]}
    torch_ms = _p50_ms(engines[_TORCH]["stages"]["end_to_end"])
    rows = [
        (
            name,
            f"{_p50_ms(engine['stages']['end_to_end']):.0f}",
            f"{torch_ms / _p50_ms(engine['stages']['end_to_end']):.1f}",
            number(_p50_ms(engine["stages"]["fusion"])),
            _mib(engine["size_mib"]),
            _mib(engine["peak_memory_mib"]),
        )
        for name, engine in engines.items()
    ]
    paths, settings = report["transductive"], report["settings"]
    rows.append(
        (
            f"the authors' way: a new graph of {paths['nodes']:,} nodes per utterance",
            *("", "", f"{_p50_ms(paths['authors_total']):,.0f}", "", ""),
        )
    )
    accuracy = _json(RESULTS / "meld-text.json")
    machine = report["environment"]
    return [
        *_table(
            ("one utterance, wav2vec2-base and BERT-base", "p50 ms", "times faster than torch",
             "of that search and head, ms", "size MiB", "peak memory MiB"),
            rows,
        ),
        "",
        f"{machine['cpu']}, {machine['cores']} cores, no GPU; 1 s of audio, 16 tokens, a bank of "
        f"{settings['bank_rows']:,} utterances, random weights (speed does not depend on them); "
        f"[the file](benchmarks/results/{file.name}).",
        f"Accuracy: {_weighted_f1(accuracy)} weighted F1 on MELD's test split from text alone, a "
        "fine-tuned MiniLM (the paper's fine-tuned BERT-base: 59.5).",
    ]  # fmt: skip


def demo_load() -> list[str]:
    """What the demo's server does under load."""
    file, report = _result("load-demo-*.json")
    rows = [
        (
            f"{level['kind']}, {_offered(level)}",
            f"{level['answered_per_s']:.0f}",
            *(number(round(level["latency"][q], 1)) for q in ("p50_ms", "p95_ms", "p99_ms")),
            ", ".join(f"{count} {status}" for status, count in level["errors"].items()) or "none",
        )
        for level in report["levels"]
        if level["latency"] is not None
    ]
    machine = report["environment"]
    return [
        *_table(("load", "answered/s", "p50 ms", "p95 ms", "p99 ms", "refused"), rows),
        "",
        f"The demo's bundle, {machine['cpu']}, {machine['cores']} cores that server and sender "
        f"share; of streams, answers to chunks of {report['settings']['chunk_ms']} ms; "
        f"[the file](benchmarks/results/{file.name}).",
    ]


TABLES: dict[str, Callable[[], list[str]]] = {"base-sizes": base_sizes, "demo-load": demo_load}


def _result(pattern: str) -> tuple[Path, dict[str, Any]]:
    files = sorted(RESULTS.glob(pattern))
    if len(files) != 1:
        raise InputError(f"{RESULTS / pattern}: expected one result, found {len(files)}")
    return files[0], _json(files[0])


def _json(path: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return found


def _p50_ms(summary: dict[str, float]) -> float:
    return summary["p50_ms"]


def _mib(mib: float | None) -> str:
    return "" if mib is None else f"{mib:.0f}"


def _offered(level: dict[str, Any]) -> str:
    offered = f"{level['offered']:.0f}"
    units = {"closed loop": "at a time", "open loop": "a second", "streams": "at once"}
    return f"{offered} {units[level['kind']]}"


def _weighted_f1(report: dict[str, Any]) -> str:
    (row,) = (
        row
        for row in report["evaluation"]["plain_messages"]["rows"]
        if (row["head"], row["graph"]) == ("full", "inductive")
    )
    figure = row["figures"]["weighted_f1"]
    return f"{100 * figure['mean']:.1f} ± {100 * figure['std']:.1f}"


def _table(columns: tuple[str, ...], rows: list[tuple[str, ...]]) -> list[str]:
    rule = "|---|" + "---:|" * (len(columns) - 1)
    lines = (columns, *rows)
    first, *others = (f"| {' | '.join(cells)} |" for cells in lines)
    return [first, rule, *others]


if __name__ == "__main__":
    write_atomic(README, render(README.read_text(encoding="utf-8")))
