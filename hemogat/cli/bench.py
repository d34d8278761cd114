"""``hemogat bench``: how long a bundle takes to answer, and what the model costs."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from hemogat.cli.extras import needs
from hemogat.cli.group import DefaultCommandGroup
from hemogat.cli.output import JsonOption, print_json, print_table, remark

if TYPE_CHECKING:
    from hemogat.benchmarks.latency_report import LatencyReport


app = typer.Typer(cls=DefaultCommandGroup)


@app.callback()
def bench() -> None:
    """Measure a bundle's latency, or count what the model costs.

    Without a command: latency.
    """


@app.command()
def latency(
    bundle: Annotated[
        Path | None,
        typer.Argument(metavar="BUNDLE", help="Bundle folder.", show_default="latest bundle"),
    ] = None,
    utterances: Annotated[int, typer.Option(min=1, metavar="N", help="How many to time.")] = 200,
    threads: Annotated[
        int | None,
        typer.Option(
            min=1, metavar="N", help="Threads that one graph may use.", show_default="all cores"
        ),
    ] = None,
    triton: Annotated[
        bool, typer.Option(help="Measure through a Triton server too, started for that.")
    ] = True,
    out: Annotated[
        Path | None,
        typer.Option(
            help="Folder to write the report to, as JSON and Markdown.", show_default=False
        ),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Report the latency of single utterances, in process and through Triton.

    The clips are the bundle's golden cases. Without a tritonserver the report
    says so and holds the rest.
    """
    from hemogat.progress import Progress
    from hemogat.workspace import find_latest

    with needs("serve"):
        from hemogat.benchmarks.bundle_latency import measure_bundle
        from hemogat.benchmarks.latency import LatencySettings
        from hemogat.benchmarks.latency_report import write_report

    if bundle is None:
        bundle = find_latest("bundle.json")
        remark(f"latest bundle: {bundle}")
    report = measure_bundle(
        bundle,
        settings=LatencySettings(utterances=utterances, threads=threads),
        triton=triton,
        progress=Progress(visible=True),
    )
    if out is not None:
        remark(f"report: {write_report(report, out)}")
    if as_json:
        print_json(report.model_dump(mode="json"))
    else:
        _print_report(report)


@app.command()
def cost(
    preset: Annotated[
        Literal["base"], typer.Option(help="Encoders: base is wav2vec2-base and BERT-base.")
    ] = "base",
    nodes: Annotated[
        int, typer.Option(min=1, metavar="N", help="Utterances in the transductive graph.")
    ] = 551,
    bank_rows: Annotated[
        int, typer.Option(min=1, metavar="N", help="Utterances in the inductive path's bank.")
    ] = 4407,
    as_json: JsonOption = False,
) -> None:
    """Count parameters and multiply-accumulates of GAT, GCN and GraphSAGE.

    The totals count as the paper's Table 5: encoders once, the head for every
    node. "inductive" is one utterance against a bank, search included.
    """
    with needs("train"):
        from hemogat.benchmarks.cost import variant_costs

    costs = variant_costs(preset=preset, nodes=nodes, bank_rows=bank_rows)
    if as_json:
        print_json([c.model_dump(mode="json") for c in costs])
        return
    print_table(
        ("graph layers",),
        ("head params, M", "head MACs/node, M", f"total at {nodes} nodes, G", "inductive, G"),
        (
            (
                c.gnn,
                f"{c.head_params / 1e6:.2f}",
                f"{c.head_macs_per_node / 1e6:.2f}",
                f"{c.total_macs / 1e9:.2f}",
                f"{c.inductive_macs / 1e9:.2f}",
            )
            for c in costs
        ),
    )


def _print_report(report: LatencyReport) -> None:
    from hemogat.benchmarks.latency_report import TABLE_COLUMNS

    place, stage, *figures = TABLE_COLUMNS
    print_table((place, stage), figures, report.table_rows())
    typer.echo()
    for condition in report.conditions():
        typer.echo(f"- {condition}")
