"""``hemogat export``: from a run directory to a bundle."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from hemogat.cli.extras import needs
from hemogat.cli.output import JsonOption, print_json, print_table, remark, size
from hemogat.contract import Engine, Precision

if TYPE_CHECKING:
    from hemogat.export.parity import ParityReport
    from hemogat.export_config import ExportConfig


def export(
    run: Annotated[
        Path | None, typer.Argument(metavar="RUN", help="Run directory.", show_default="latest run")
    ] = None,
    engine: Annotated[
        Engine | None,
        typer.Option(help="What will execute the graphs.", show_default="onnx"),
    ] = None,
    precision: Annotated[
        Precision | None,
        typer.Option(help="Number type of weights and activations.", show_default="fp32"),
    ] = None,
    recipe: Annotated[
        Path | None,
        typer.Option(
            help="YAML export recipe; --engine and --precision go before it.", show_default=False
        ),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(help="Bundle to write.", show_default="build/RECIPE/bundle"),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Export a run to a bundle, through the parity gate.

    The exported graphs must give what the torch reference gives on the run's
    test utterances, decisions included; otherwise nothing is written.
    """
    from hemogat.progress import Progress
    from hemogat.workspace import default_bundle, find_latest

    config = _config(recipe, engine, precision)
    if run is None:
        run = find_latest("run.json")
        remark(f"latest run: {run}")
    with needs("export"):
        from hemogat.export.export_run import export_run
        from hemogat.training.run_directory import RunDirectory

    if out is None:
        out = default_bundle(RunDirectory.open(run).record.recipe.name)
    report = export_run(run, out, config, Progress(visible=True))
    if as_json:
        print_json({"bundle": str(report.bundle), "parity": report.parity.model_dump(mode="json")})
    else:
        _print_parity(report.bundle, report.parity)


def _config(recipe: Path | None, engine: str | None, precision: str | None) -> ExportConfig:
    from hemogat.config import load_settings
    from hemogat.export_config import ExportConfig

    config = load_settings(ExportConfig, recipe) if recipe else ExportConfig()
    chosen = {"engine": engine, "precision": precision}
    return ExportConfig.model_validate(
        config.model_dump() | {name: value for name, value in chosen.items() if value is not None}
    )


def _print_parity(bundle: Path, parity: ParityReport) -> None:
    from hemogat.cli.bundle_facts import model_bytes
    from hemogat.runtime.bundle import Bundle

    opened = Bundle.open(bundle, verify=False)
    sizes = {m.graph: model_bytes(opened, m.path) for m in opened.manifest.models}
    typer.echo(f"bundle: {bundle}")
    typer.echo(f"parity with torch over {parity.utterances} utterances:")
    print_table(
        ("component",),
        ("size", "max |Δ|", "cosine", "flips"),
        (
            (
                f"{row.graph} {row.output}",
                size(sizes[row.graph]) if row.graph in sizes else "",
                f"{row.max_abs_diff:.1e}",
                f"{row.min_cosine:.6f}",
                "" if row.flips is None else str(row.flips),
            )
            for row in parity.rows
        ),
    )
