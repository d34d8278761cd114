"""What commands print: results on standard output, remarks on standard error."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from hemogat.contract import Engine, Precision, SearchChoice

if TYPE_CHECKING:
    from hemogat.training.evaluation_record import Evaluation
    from hemogat.training.metrics import Figure
    from hemogat.training.preparation import SkippedRow

JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON instead of tables.")]
EngineOption = Annotated[
    Engine | None,
    typer.Option(help="What executes the graphs.", show_default="the bundle's first"),
]
PrecisionOption = Annotated[
    Precision | None,
    typer.Option(help="Number type of the graphs.", show_default="the bundle's first"),
]
RunOnOption = Annotated[
    str | None,
    typer.Option(
        metavar="auto|cpu|cuda[:n]",
        help="Where the engine runs.",
        show_default="cpu, for TensorRT the GPU",
    ),
]
SearchOption = Annotated[
    SearchChoice | None,
    typer.Option(
        help="Search the bank outside the fusion graph, or where its size says so (auto); needs a "
        "bundle exported with --gather.",
        show_default="inside the graph",
    ),
]
SettingsOption = Annotated[
    Path | None,
    typer.Option(
        help="YAML file of settings, as serving/settings.yaml; other options go before it.",
        show_default=False,
    ),
]
DeviceOption = Annotated[
    Literal["cpu", "gpu"] | None,
    typer.Option(help="Where instances run.", show_default="gpu for TensorRT, else cpu"),
]

_PIPE_COLUMNS = 100_000  # a reader that is no terminal has no width: cells are not cut off


def print_json(value: object) -> None:
    """Print ``value`` as JSON."""
    typer.echo(json.dumps(value, indent=2, ensure_ascii=False))


def print_facts(facts: Mapping[str, str]) -> None:
    """Print names and values in two columns, a value of several lines one below the other."""
    width = max(map(len, facts))
    for name, value in facts.items():
        lines = value.splitlines() or [""]
        for heading, line in zip([name] + [""] * (len(lines) - 1), lines, strict=True):
            typer.echo(f"{heading:<{width}}  {line}")


def print_table(
    left: Sequence[str],
    right: Sequence[str],
    rows: Iterable[Sequence[str]],
    *,
    as_remark: bool = False,
) -> None:
    """Print a table: the columns that align left, then those that align right.

    On a terminal, cells are cut off rather than wrapped. ``as_remark``: on standard error.
    """
    from rich import box
    from rich.console import Console
    from rich.table import Table

    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False)
    for heading in left:
        table.add_column(heading, no_wrap=True)
    for heading in right:
        table.add_column(heading, justify="right", no_wrap=True)
    for row in rows:
        table.add_row(*row)
    stream = sys.stderr if as_remark else sys.stdout
    width = None if stream.isatty() else _PIPE_COLUMNS
    Console(file=stream, markup=False, highlight=False, emoji=False, width=width).print(table)


def remark(line: str) -> None:
    """Print a remark on standard error."""
    typer.echo(line, err=True)


def remark_skipped(skipped: Sequence[SkippedRow]) -> None:
    """Name the utterances that were left out."""
    if skipped:
        remark(f"warning: {len(skipped)} utterances were skipped, they cannot be read:")
    for row in skipped:
        remark(f"  {row.id}: {row.reason}")


def percent(share: float) -> str:
    """Return 0.8333 as 83.3."""
    return f"{100 * share:.1f}"


def size(count_bytes: int) -> str:
    """Return a number of bytes in the unit that reads best: 512 B, 3.1 MiB."""
    for unit, power in (("GiB", 3), ("MiB", 2), ("KiB", 1)):
        if count_bytes >= 1024**power:
            return f"{count_bytes / 1024**power:.1f} {unit}"
    return f"{count_bytes} B"


def print_metrics(evaluation: Evaluation) -> None:
    """Print the main figures in per cent, one row per head, graph and kind of input.

    The last column is the exported seed's own accuracy.
    """
    figures: dict[Figure, str] = {
        "accuracy": "accuracy",
        "unweighted_accuracy": "UA",
        "weighted_f1": "weighted F1",
        "macro_f1": "macro F1",
        "ece": "ECE",
    }
    print_table(
        ("head", "graph", "inputs"),
        (
            "utterances",
            *figures.values(),
            f"accuracy, seed {evaluation.best_seed}",
        ),
        (
            (
                *(row.head, row.graph, row.inputs, str(row.utterances)),
                *(row.figures[name].percent() for name in figures),
                percent(row.figures["accuracy"].best),
            )
            for row in evaluation.rows
        ),
    )
