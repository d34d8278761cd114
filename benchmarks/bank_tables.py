"""Render the table of docs/bank.md from its committed result.

    python benchmarks/bank_tables.py

The table stands between ``<!-- bench:bank-search -->`` and ``<!-- /bench -->``.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from hemogat.errors import InputError
from hemogat.files import write_atomic

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs" / "bank.md"
_RESULTS = "bank-search-*.json"
_TARGETS_MS = {4_407: 2, 44_070: 6, 200_000: 15}  # p50 of search and head, by the bank's rows
_MARKED = re.compile(r"(<!-- bench:bank-search -->\n).*?(<!-- /bench -->)", re.DOTALL)


def render(text: str, results: Path = ROOT / "benchmarks" / "results") -> str:
    """Return the text with its table as the result has it.

    Raises:
        InputError: there is not exactly one result, or no place for the table.
    """
    files = sorted(results.glob(_RESULTS))
    if len(files) != 1:
        raise InputError(f"{results / _RESULTS}: expected one result, found {len(files)}")
    if not _MARKED.search(text):
        raise InputError("docs/bank.md: expected <!-- bench:bank-search --> and <!-- /bench -->")
    report = json.loads(files[0].read_text(encoding="utf-8"))
    table = "\n".join(_lines(report, files[0].name)) + "\n"
    return _MARKED.sub(lambda mark: mark[1] + table + mark[2], text)


def _lines(report: dict[str, Any], name: str) -> Iterator[str]:
    inside, banks = report["inside_the_graph"], report["banks"]
    measured = (inside, *banks)
    engines = list(dict.fromkeys(e for bank in measured for e in bank["graph_and_fusion_ms"]))
    columns = ("rows", "search", "alone", *engines, "recall", "codes", "index in memory",
               "embeddings", "states")  # fmt: skip
    rows = [
        (f"{inside['rows']:,}", "inside the graph", "", *_steps(inside, engines), *[""] * 5),
        *(_bank(bank, engines) for bank in banks),
    ]
    machine = report["environment"]
    yield (
        f"{machine['cpu']}, {machine['cores']} cores, load average before and after "
        f"{report['load_average_before'][0]} and {report['load_average_after'][0]} "
        f"([the file](../benchmarks/results/{name})). Search and head together by the head's "
        f"engine, p50 (p95) in ms; memory in MiB:"
    )
    yield ""
    for cells in (columns, ("---",) * len(columns), *rows):
        yield f"| {' | '.join(cells)} |"
    yield ""
    for size, target_ms in _TARGETS_MS.items():
        met = [
            f"{_way(bank)} with {engine}"
            for bank in measured
            for engine, found in bank["graph_and_fusion_ms"].items()
            if bank["rows"] == size and found["p50"] <= target_ms
        ]
        verdict = f"met by {', '.join(met)}" if met else "**not met**"
        yield f"- Target at {size:,} rows: {target_ms} ms, {verdict}."


def _way(bank: dict[str, Any]) -> str:
    return f"`{bank['mode']}`" if "mode" in bank else "the graph"


def _bank(bank: dict[str, Any], engines: list[str]) -> tuple[str, ...]:
    memory = ("codes_mib", "index_resident_mib", "embeddings_mib", "states_mib")
    return (
        f"{bank['rows']:,}",
        f"`{bank['mode']}`",
        _ms(bank["search_ms"]),
        *_steps(bank, engines),
        f"{bank['recall']:.3f}",
        *(f"{bank[name]:,.0f}" if name in bank else "" for name in memory),
    )


def _steps(bank: dict[str, Any], engines: list[str]) -> list[str]:
    times = bank["graph_and_fusion_ms"]
    return [_ms(times[engine]) if engine in times else "" for engine in engines]


def _ms(found: dict[str, float]) -> str:
    return f"{found['p50']:.1f} ({found['p95']:.1f})"


if __name__ == "__main__":
    write_atomic(DOCS, render(DOCS.read_text(encoding="utf-8")))
