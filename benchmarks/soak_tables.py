"""Render the tables of docs/reliability.md from the committed result of ``make soak``.

    python benchmarks/soak_tables.py [build/soak.json]

The tables stand between ``<!-- bench:soak -->`` and ``<!-- /bench -->``. A result that is named
takes the place of the committed one before. Phases that the result lacks are said to be missing.
"""

from __future__ import annotations

import argparse
import json
import re
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from reliability.faults_run import KILLED
from reliability.hostile_requests import KINDS
from reliability.valid_run import WARM_TENTHS

from hemogat.benchmarks.environment import Environment
from hemogat.benchmarks.file_names import report_path
from hemogat.benchmarks.noise import is_noisy
from hemogat.errors import InputError
from hemogat.files import write_atomic

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs" / "reliability.md"
RESULTS = ROOT / "benchmarks" / "results"
_FILES = "soak-*.json"
_MARKED = re.compile(r"(<!-- bench:soak -->\n).*?(<!-- /bench -->)", re.DOTALL)
_PHASES = {"hostile": "hostile, gRPC", "http": "hostile, HTTP", "soak": "valid, of 30 ms to 15 s"}
_MISSING = "not run yet"

Result = dict[str, Any]


def main(arguments: Sequence[str] | None = None) -> None:
    """Take a result in, if there is one, and render."""
    parser = argparse.ArgumentParser()
    parser.add_argument("result", type=Path, nargs="?")
    given = parser.parse_args(arguments)
    if given.result is not None:
        print(take(given.result))
    write_atomic(DOCS, render(DOCS.read_text(encoding="utf-8")))


def take(result: Path, results: Path = RESULTS) -> Path:
    """Copy a result among the committed ones, instead of those before; return its path."""
    text = result.read_text(encoding="utf-8")
    found = json.loads(text)
    environment = Environment.model_validate(found["environment"])
    taken = report_path(results, environment, "soak", found["settings"]["bundle"])
    write_atomic(taken, text)
    for before in set(results.glob(_FILES)) - {taken}:
        before.unlink()
    return taken


def render(text: str, results: Path = RESULTS) -> str:
    """Return the text with its tables as the result has them.

    Raises:
        InputError: there is not exactly one result, or no place for the tables.
    """
    files = sorted(results.glob(_FILES))
    if len(files) != 1:
        raise InputError(f"{results / _FILES}: expected one result, found {len(files)}")
    if not _MARKED.search(text):
        raise InputError(f"{DOCS.name}: expected <!-- bench:soak --> and <!-- /bench -->")
    result = json.loads(files[0].read_text(encoding="utf-8"))
    tables = "\n".join(_lines(result, files[0].name)) + "\n"
    return _MARKED.sub(lambda mark: mark[1] + tables + mark[2], text)


def _lines(result: Result, name: str) -> Iterator[str]:
    machine = result["environment"]
    yield (
        f"{machine['cpu']}, {machine['cores']} cores, commit `{machine['git_commit'][:7]}` "
        f"([the file](../benchmarks/results/{name})). {_beside(result)}"
    )
    yield ""
    for problem in result["problems"]:
        yield f"- **not as promised**: {problem}"
    if result["problems"]:
        yield ""
    yield from _table(("", *_PHASES.values()), _requests(result))
    yield ""
    yield from _table(
        ("hostile, gRPC: kind", "results", "INVALID_ARGUMENT", "other"), _kinds(result)
    )
    yield ""
    yield from _table(("kills under load", ""), _faults(result.get("faults")))


def _beside(result: Result) -> str:
    phases = [result[name] for name in _PHASES if name in result]
    shares = [phase["other_cpu_share"] for phase in phases if "other_cpu_share" in phase]
    if not shares or None in shares:
        return "What else the machine did was not measured."
    cores = result["environment"]["cores"]
    word = "busy with other work" if is_noisy(max(shares), 0, cores) else "quiet"
    return f"The machine was {word} (others used at most {max(shares):.0%} of its CPU time)."


def _requests(result: Result) -> Iterator[tuple[str, ...]]:
    columns = [_column(name, result.get(name)) for name in _PHASES]
    for row in dict.fromkeys(key for column in columns for key in column):
        yield (row, *(column.get(row, "" if column else _MISSING) for column in columns))


def _column(name: str, phase: Result | None) -> dict[str, str]:
    if phase is None:
        return {}
    before, after = phase["before"], phase["after"]
    ended = len(set(before["processes"]) - set(after["processes"]))
    memory = "{:.0f} and {:.0f} MB ({:+.1%})".format(
        before["rss_bytes"] / 1e6, after["rss_bytes"] / 1e6, phase["growth"]["rss"]
    )
    return {
        "requests counted, after a warm-up": _counted(name, phase),
        "answers": _answers(name, phase),
        "valid answers that were not the first one's (tolerance 1e-6)": _wrong(name, phase),
        "processes that ended": f"{ended} of {len(before['processes'])}",
        "memory of all processes (RSS), before and after": memory,
        "file descriptors": f"{before['open_files']} and {after['open_files']}",
        **({"slowest answer": f"{phase['slowest_s']:.2f} s"} if "slowest_s" in phase else {}),
    }


def _counted(name: str, phase: Result) -> str:
    requests = phase["requests"]
    if name == "soak":
        return f"{requests:,}, the first {requests * WARM_TENTHS // 10:,} of them to warm up"
    return f"{requests:,}, and {phase['valid_requests']:,} valid ones between them"


def _answers(name: str, phase: Result) -> str:
    if name == "soak":
        errors = len(phase["errors"])
        return f"{phase['requests'] - errors:,} results, {errors} errors"
    totals = _sum(phase["statuses"].values())
    return ", ".join(f"{count:,} {_word(status)}" for status, count in sorted(totals.items()))


def _wrong(name: str, phase: Result) -> str:
    if name != "soak":
        return f"{phase['wrong_after']} of {phase['valid_requests']:,}"
    return f"{phase['different']:,} of {phase['requests']:,} to the last bit, by at most " + (
        f"{phase['largest']:.1e}"
    )


def _word(status: str) -> str:
    return "results" if status == "OK" else f"HTTP {status}" if status.isdigit() else status


def _kinds(result: Result) -> Iterator[tuple[str, ...]]:
    statuses = result.get("hostile", {}).get("statuses", {})
    for kind in sorted({*KINDS, *statuses}):
        if kind not in statuses:
            yield (kind, _MISSING, "", "")
            continue
        count = statuses[kind]
        known = (count.get("OK", 0), count.get("INVALID_ARGUMENT", 0))
        yield (kind, *(f"{n:,}" for n in (*known, sum(count.values()) - sum(known))))


def _faults(phase: Result | None) -> Iterator[tuple[str, ...]]:
    if phase is None:
        yield ("rows asked, lost, answered twice or otherwise", _MISSING)
        return
    for target in KILLED:
        yield (f"`kill -9` of {target}", f"{phase['kills'][target]}")
    yield ("rows asked and answered", f"{phase['asked']:,} and {phase['answered']:,}")
    yield ("lost, answered twice", f"{phase['lost']}, {phase['twice']}")
    yield ("another label than undisturbed", f"{phase['other_label']}")
    yield (
        "largest difference of a probability (written with 6 decimals)",
        f"{phase['largest']:.1e}",
    )
    yield (
        "answers in journals of killed clients, and those of them that the files have otherwise",
        f"{phase['kept']:,} and {phase['kept_changed']}",
    )


def _sum(counts: Iterable[dict[str, int]]) -> dict[str, int]:
    totals: dict[str, int] = {}
    for count in counts:
        for status, number in count.items():
            totals[status] = totals.get(status, 0) + number
    return totals


def _table(columns: Sequence[str], rows: Iterable[Sequence[str]]) -> Iterator[str]:
    for cells in (columns, ("---",) * len(columns), *rows):
        yield f"| {' | '.join(cells)} |"


if __name__ == "__main__":
    main()
