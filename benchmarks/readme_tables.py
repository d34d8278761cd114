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

from hemogat.benchmarks.noise import NOISY_SHARE
from hemogat.benchmarks.quantities import number
from hemogat.errors import InputError
from hemogat.files import write_atomic

ROOT = Path(__file__).parents[1]
README = ROOT / "README.md"
RESULTS = ROOT / "benchmarks" / "results"
_MARKED = re.compile(r"<!-- bench:([a-z-]+) -->\n.*?<!-- /bench -->", re.DOTALL)
_FIRST, _AUTHORS = "transformers eager", "authors' way"
_PADDED = 128  # what the authors pad every text to


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
    file, report = _result("peers-base-*.json")
    machine, figures = report["environment"], report["figures"]
    (rows,) = (f["axes"]["bank_rows"] for f in figures if f["target"] == _AUTHORS and _is_p50(f))
    columns = ("one utterance: 1 s of audio, 16 tokens", "both encoders, ms",
               f"times as fast as {_FIRST}", "bank search and head, ms", "together, ms",
               "size, MiB", "peak memory, MiB")  # fmt: skip
    return [
        *_table(columns, _peer_rows(figures)),
        "",
        f"{machine['cpu']}, {machine['cores']} cores, no GPU; wav2vec2-base, BERT-base and the "
        f"paper's head with a bank of {rows:,} utterances, which the peers' size and memory are "
        f"without; random weights (speed does not depend on them). Medians of targets that took "
        f"turns in one run, but for the authors' graph{_beside(report)}: "
        f"[the file](benchmarks/results/{file.name}).",
        "",
        *_accuracy(),
    ]


def _peer_rows(figures: list[dict[str, Any]]) -> list[tuple[str, ...]]:
    (authors_ms,) = _values(figures, _AUTHORS, "p50")
    first_ms = _encoders_ms(figures, _FIRST)
    padded_ms = _encoders_ms(figures, _FIRST, _PADDED)
    authors = f"the {_AUTHORS}: {_FIRST}, text padded to {_PADDED} tokens, a new graph each time"
    rows = [_peer(authors, padded_ms, first_ms, [authors_ms], [], [])]
    for target in dict.fromkeys(f["target"] for f in figures if f["target"] != _AUTHORS):
        head_ms = _values(figures, target, "p50", component="fusion")
        process = (_values(figures, target, metric) for metric in ("size", "peak_memory"))
        rows.append(_peer(target, _encoders_ms(figures, target), first_ms, head_ms, *process))
    return rows


def _accuracy() -> list[str]:
    """Accuracy of each kind of graph layer, beside what it costs."""
    file, report = _result("gnn-meld-text-*.json")
    figures = report["figures"]
    engines = list(dict.fromkeys(f["target"] for f in figures if _is_p50(f)))

    def cells(gnn: str) -> tuple[str, ...]:
        (params,) = _values(figures, "model", "head_parameters", gnn=gnn)
        (macs,) = _values(figures, "model", "inductive_macs", gnn=gnn)
        medians = (_values(figures, engine, "p50", gnn=gnn) for engine in engines)
        return (
            gnn.upper(),
            *(_percent(figures, metric, gnn) for metric in ("weighted_f1", "accuracy")),
            f"{params / 1e6:.2f}",
            f"{macs / 1e9:.2f}",
            *(f"{found[0]:.2f}" for found in medians),
        )

    columns = (
        *("graph layers, MELD's test split, text alone", "weighted F1, %", "accuracy, %"),
        *("head, M parameters", "one utterance, G MACs"),
        *(f"{engine}, ms" for engine in engines),
    )
    kinds = dict.fromkeys(f["axes"]["gnn"] for f in figures if f["target"] == "model")
    return [
        *_table(columns, [cells(gnn) for gnn in kinds]),
        "",
        "Accuracy: mean ± half its 95 % interval over seeds of the head, on a fine-tuned MiniLM; "
        "the paper has 59.5 weighted F1 with a fine-tuned BERT-base. ms: bank search and head"
        f"{_beside(report)}; [the file](benchmarks/results/{file.name}).",
    ]


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


def _values(
    figures: list[dict[str, Any]], target: str, metric: str, **axes: str | int
) -> list[float]:
    """Return the values of a target's figures that have these axes."""
    return [
        figure["value"]
        for figure in figures
        if (figure["target"], figure["metric"]) == (target, metric)
        and axes.items() <= figure["axes"].items()
    ]


def _encoders_ms(figures: list[dict[str, Any]], target: str, tokens: int = 16) -> float:
    (audio_ms,) = _values(figures, target, "p50", component="audio_encoder")
    (text_ms,) = _values(figures, target, "p50", component="text_encoder", tokens=tokens)
    return audio_ms + text_ms


def _peer(
    name: str,
    encoders_ms: float,
    first_ms: float,
    head_ms: list[float],
    size_mib: list[float],
    memory_mib: list[float],
) -> tuple[str, ...]:
    """Return a row; what is not measured is an empty list, and an empty cell."""
    return (
        name,
        f"{encoders_ms:.0f}",
        f"{first_ms / encoders_ms:.1f}",
        "".join(map(_ms, head_ms)),
        *("".join(f"{v:,.0f}" for v in found) for found in
          ([encoders_ms + ms for ms in head_ms], size_mib, memory_mib)),
    )  # fmt: skip


def _percent(figures: list[dict[str, Any]], metric: str, gnn: str) -> str:
    (found,) = (f for f in figures if f["metric"] == metric and f["axes"].get("gnn") == gnn)
    return f"{found['value']:.1f} ± {(found['high'] - found['low']) / 2:.1f}"


def _beside(report: dict[str, Any]) -> str:
    """Say so where the machine was busy with other work."""
    share = report["other_cpu_share"]
    if share is None or share <= NOISY_SHARE:
        return ""
    return f", while other work took {100 * share:.0f} % of the machine"


def _is_p50(figure: dict[str, Any]) -> bool:
    return bool(figure["metric"] == "p50")


def _ms(value_ms: float) -> str:
    return f"{value_ms:,.0f}" if value_ms >= 1000 else number(value_ms)


def _offered(level: dict[str, Any]) -> str:
    offered = f"{level['offered']:.0f}"
    units = {"closed loop": "at a time", "open loop": "a second", "streams": "at once"}
    return f"{offered} {units[level['kind']]}"


def _table(columns: tuple[str, ...], rows: list[tuple[str, ...]]) -> list[str]:
    rule = "|---|" + "---:|" * (len(columns) - 1)
    lines = (columns, *rows)
    first, *others = (f"| {' | '.join(cells)} |" for cells in lines)
    return [first, rule, *others]


if __name__ == "__main__":
    write_atomic(README, render(README.read_text(encoding="utf-8")))
