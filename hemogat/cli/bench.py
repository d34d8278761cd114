"""``hemogat bench``: how long a bundle takes to answer, and what the model costs."""

from __future__ import annotations

import typer

from hemogat.cli.bench_compare import compare
from hemogat.cli.bench_cost import cost
from hemogat.cli.bench_gnn import gnn
from hemogat.cli.bench_latency import latency
from hemogat.cli.bench_report import report
from hemogat.cli.bench_serve import serve
from hemogat.cli.bench_suite import suite
from hemogat.cli.group import DefaultCommandGroup

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
app.command()(cost)
