"""``hemogat bench cost``: parameters, multiply-accumulates, bytes, and the roofline."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from hemogat.cli.bench_options import OutOption, refuse
from hemogat.cli.bench_report import remark_written
from hemogat.cli.extras import needs
from hemogat.cli.output import JsonOption, print_json, print_table


def cost(
    preset: Annotated[
        Literal["base"], typer.Option(help="Encoders: base is wav2vec2-base and BERT-base.")
    ] = "base",
    run: Annotated[
        Path | None,
        typer.Option(help="Count this run's encoders and head instead.", show_default=False),
    ] = None,
    nodes: Annotated[
        int, typer.Option(min=1, metavar="N", help="Utterances in the transductive graph.")
    ] = 551,
    bank_rows: Annotated[
        int | None,
        typer.Option(
            min=1,
            metavar="N",
            help="Utterances in the inductive path's bank; a run has its own.",
            show_default="4407",
        ),
    ] = None,
    windows: Annotated[
        int, typer.Option(min=1, metavar="N", help="Roofline: seconds of audio.")
    ] = 1,
    tokens: Annotated[int, typer.Option(min=1, metavar="N", help="Roofline: tokens of text.")] = 16,
    threads: Annotated[
        int | None,
        typer.Option(
            min=1, metavar="N", help="Roofline: threads of everything.", show_default="all cores"
        ),
    ] = None,
    measure: Annotated[
        str | None,
        typer.Option(
            metavar="TARGET|JSON",
            help="Set times beside the floor: of BUNDLE[:onnx-fp32] or RUN, or of a report.",
            show_default=False,
        ),
    ] = None,
    out: OutOption = None,
    as_json: JsonOption = False,
) -> None:
    """Count what the model costs, and how fast this machine could run it at best.

    Parameters and multiply-accumulates count as the paper's Table 5: encoders
    once, the head for every node. "inductive" is one utterance against a bank,
    search included. The floor is from this machine's own rates of a matrix
    product and of a copy.
    """
    from hemogat.config import parse_settings
    from hemogat.progress import Progress

    with needs("export"):
        from hemogat.benchmarks.cost_report import (
            BANK_ROWS,
            CostSettings,
            base_sizes,
            measure_cost,
            run_sizes,
        )
        from hemogat.benchmarks.cost_tables import cost_table, roofline_table
        from hemogat.benchmarks.side_by_side_tables import write_tables

    if run is not None:
        refuse("is for the base sizes; a run has its own bank", bank_rows=bank_rows)
    sizes = base_sizes(bank_rows or BANK_ROWS) if run is None else run_sizes(run)
    raw = {
        "nodes": nodes,
        "bank_rows": sizes.shapes[0].bank_rows,
        "windows": windows,
        "tokens": tokens,
        "threads": threads,
        "measured": measure,
    }
    settings = parse_settings(CostSettings, raw, source="bench cost")
    report = measure_cost(sizes, settings, Progress(visible=True))
    tables = (cost_table(report), roofline_table(report))
    if out is not None:
        conditions = (sizes.name, *settings.conditions_in_name())
        remark_written(report, write_tables(report, tables, out, conditions))
    if as_json:
        print_json(report.model_dump(mode="json"))
        return
    for table in tables:
        print_table(*table)
        typer.echo()
    for condition in report.conditions():
        typer.echo(f"- {condition}")
