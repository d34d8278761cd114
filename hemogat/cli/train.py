"""``hemogat train``: from a manifest to a run directory."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from hemogat.cli.extras import needs
from hemogat.cli.output import JsonOption, print_json, print_metrics, remark

if TYPE_CHECKING:
    pass


def train(
    recipe: Annotated[
        str,
        typer.Argument(
            metavar="RECIPE", help="YAML file, or the name of a packaged recipe (demo)."
        ),
    ],
    manifest: Annotated[
        Path, typer.Option(help="CSV with the columns audio, text, label, speaker, split.")
    ],
    out: Annotated[
        Path | None,
        typer.Option(help="Run directory to write.", show_default="build/RECIPE/run"),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Train encoders, fusion head and controls into a run directory.

    Writes the run whole or not at all, and evaluates it on the test split
    (validation where there is none).
    """
    from hemogat.data.manifest import read_manifest
    from hemogat.progress import Progress
    from hemogat.recipe_files import load_recipe
    from hemogat.workspace import default_run

    settings = load_recipe(recipe)
    for warning in read_manifest(manifest, settings.labels).warnings:
        remark(f"warning: {manifest}: {warning}")
    with needs("train"):
        from hemogat.training.evaluation import evaluate_run
        from hemogat.training.train import train as train_run

    run = train_run(settings, manifest, out or default_run(settings.name), Progress(visible=True))
    has_test = any(row.split == "test" for row in run.record.rows)
    evaluation = evaluate_run(run, "test" if has_test else "val")
    if as_json:
        print_json({"run": str(run.path), "evaluation": evaluation.model_dump(mode="json")})
        return
    typer.echo(f"run: {run.path}")
    typer.echo(f"split {evaluation.split}, per cent:")
    print_metrics(evaluation)
