"""``hemogat bench``: how long a bundle takes to answer, and what the model costs."""

from __future__ import annotations

from typing import Annotated, Literal

import typer

from hemogat.cli.bench_compare import compare
from hemogat.cli.bench_gnn import gnn
from hemogat.cli.bench_latency import latency
from hemogat.cli.bench_report import report
from hemogat.cli.bench_serve import serve
from hemogat.cli.bench_suite import suite
from hemogat.cli.extras import needs
from hemogat.cli.group import DefaultCommandGroup
from hemogat.cli.output import JsonOption, print_json, print_table

app = typer.Typer(cls=DefaultCommandGroup)


@app.callback()
def bench() -> None:
    """Measure latency, a server under load, graph layers side by side, or what the model costs.

    Without a command: latency.
    """


app.command()(latency)
app.command()(serve)
app.command()(gnn)
app.command()(compare)
app.command()(report)
app.command()(suite)


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
