"""``hemogat bench gnn``: GAT, GCN and GraphSAGE side by side."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from hemogat.cli.bench_options import EpochsOption, OutOption, RoundsOption, chosen, limit_option
from hemogat.cli.bench_report import remark_written
from hemogat.cli.extras import needs
from hemogat.cli.numbers import whole_numbers, words
from hemogat.cli.output import JsonOption, print_json, print_table


def gnn(
    run: Annotated[
        list[str] | None,
        typer.Option(
            metavar="[GNN=]RUN",
            help="gat=RUN, gcn=RUN, sage=RUN (repeatable), or one RUN after 'study gnn'.",
            show_default="base sizes, random weights",
        ),
    ] = None,
    engine: Annotated[
        list[str] | None,
        typer.Option(
            help="torch-eager, torch-compile, onnx-fp32, openvino-int8, ...; repeatable.",
            show_default="all that run here but torch-compile",
        ),
    ] = None,
    bank_rows: Annotated[
        list[str] | None,
        typer.Option(metavar="N", help="Bank to search; repeatable.", show_default="4407"),
    ] = None,
    batch: Annotated[
        list[str] | None,
        typer.Option(metavar="N", help="Utterances per call; repeatable.", show_default="1"),
    ] = None,
    nodes: Annotated[
        int, typer.Option(min=1, metavar="N", help="Utterances in the transductive graph.")
    ] = 551,
    threads: Annotated[
        int | None,
        typer.Option(
            min=1, metavar="N", help="Threads that one graph may use.", show_default="all cores"
        ),
    ] = None,
    device: Annotated[
        str, typer.Option(help="cpu, cuda[:n]; then ONNX Runtime and torch alone.")
    ] = "cpu",
    epochs: EpochsOption = None,
    rounds: RoundsOption = None,
    limit_s: Annotated[float | None, limit_option("120")] = None,
    out: OutOption = None,
    as_json: JsonOption = False,
) -> None:
    """Compare the graph layers: accuracy, parameters, MACs, latency, memory.

    The paper's Table 5 with the latency of the fusion step in every engine.
    Weights are random (speed does not depend on them); runs give their sizes
    and their accuracy on the test split.
    """
    import tempfile

    from hemogat.config import parse_settings
    from hemogat.progress import Progress

    with needs("export"):
        from hemogat.benchmarks.gnn import GnnSettings, measure_gnn
        from hemogat.benchmarks.gnn_tables import gnn_tables
        from hemogat.benchmarks.gnn_variants import base_variants, variants_of_runs
        from hemogat.benchmarks.side_by_side_tables import write_tables

    given = {
        "engines": words(engine),
        "bank_rows": whole_numbers("--bank-rows", bank_rows),
        "batches": whole_numbers("--batch", batch),
    }
    raw = {name: value for name, value in given.items() if value}
    settings = parse_settings(
        GnnSettings,
        raw
        | {
            "nodes": nodes,
            "threads": threads,
            "device": device,
            "rounds": chosen(epochs=epochs, rounds=rounds, limit_s=limit_s),
        },
        source="bench gnn",
    )
    variants = variants_of_runs(run) if run else base_variants()
    with tempfile.TemporaryDirectory(prefix="hemogat-bench-") as folder:
        report = measure_gnn(variants, settings, Path(folder), Progress(visible=True))
    tables = gnn_tables(report)
    if out is not None:
        names = dict.fromkeys(variant.origin for variant in variants) if run else ("base",)
        conditions = (*names, *settings.conditions_in_name())
        remark_written(report, write_tables(report, tables, out, conditions))
    if as_json:
        print_json(report.model_dump(mode="json"))
        return
    for table in tables:
        print_table(*table)
        typer.echo()
    for condition in report.conditions():
        typer.echo(f"- {condition}")
