"""``hemogat bench``: how long a bundle takes to answer, and what the model costs."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from hemogat.cli.bench_serve import serve
from hemogat.cli.extras import needs
from hemogat.cli.group import DefaultCommandGroup
from hemogat.cli.output import JsonOption, print_json, print_table, remark
from hemogat.errors import ConfigError

if TYPE_CHECKING:
    from hemogat.benchmarks.latency_report import LatencyReport


app = typer.Typer(cls=DefaultCommandGroup)


@app.callback()
def bench() -> None:
    """Measure a bundle's latency or its server under load, or count what the model costs.

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
    preset: Annotated[
        Literal["base"] | None,
        typer.Option(
            help="Instead of a bundle: wav2vec2-base and BERT-base with random weights, in torch "
            "and in every engine and precision that runs here.",
            show_default=False,
        ),
    ] = None,
    rounds: Annotated[
        int, typer.Option(min=1, metavar="N", help="With --preset: how often each engine runs.")
    ] = 50,
    bank_rows: Annotated[
        list[int] | None,
        typer.Option(
            min=16,
            metavar="N",
            help="With --preset: a larger bank to time the fusion graph against; repeatable.",
            show_default="44070",
        ),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Report the latency of single utterances, in process and through Triton.

    The clips are the bundle's golden cases. Without a tritonserver the report
    says so and holds the rest. With --preset, engines are built in a temporary
    folder (8 GB) and compared.
    """
    from hemogat.progress import Progress
    from hemogat.workspace import find_latest

    if preset is not None:
        if bundle is not None:
            raise ConfigError(f"expected a bundle or --preset, found both ({bundle}, {preset})")
        banks = (44_070,) if bank_rows is None else tuple(bank_rows)
        _compare_engines(rounds, threads, banks, out, as_json=as_json)
        return

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


app.command()(serve)


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


def _compare_engines(
    rounds: int, threads: int | None, banks: tuple[int, ...], out: Path | None, *, as_json: bool
) -> None:
    import tempfile

    from hemogat.progress import Progress

    with needs("export"):
        from hemogat.benchmarks.engine_latency import measure_engines
        from hemogat.benchmarks.engine_report import EngineSettings, write_engine_report
        from hemogat.benchmarks.latency_report import TABLE_COLUMNS

    settings = EngineSettings(rounds=rounds, threads=threads, larger_banks=banks)
    with tempfile.TemporaryDirectory(prefix="hemogat-bench-") as folder:
        report = measure_engines(settings, Path(folder), Progress(visible=True))
    if out is not None:
        remark(f"report: {write_engine_report(report, out)}")
    if as_json:
        print_json(report.model_dump(mode="json"))
        return
    name, *figures = report.ratio_columns()
    print_table((name,), figures, report.ratio_rows())
    typer.echo()
    place, stage, *figures = TABLE_COLUMNS
    print_table((place, stage), figures, report.table_rows())
    typer.echo()
    for condition in report.conditions():
        typer.echo(f"- {condition}")


def _print_report(report: LatencyReport) -> None:
    from hemogat.benchmarks.latency_report import TABLE_COLUMNS

    place, stage, *figures = TABLE_COLUMNS
    print_table((place, stage), figures, report.table_rows())
    typer.echo()
    for condition in report.conditions():
        typer.echo(f"- {condition}")
