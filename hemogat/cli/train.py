"""``hemogat train``: from a manifest to a run directory."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from hemogat.cli.corpus_report import print_counts
from hemogat.cli.extras import needs
from hemogat.cli.output import (
    JsonOption,
    print_facts,
    print_json,
    print_metrics,
    remark,
    remark_skipped,
)

if TYPE_CHECKING:
    from hemogat.training.partial_run import Existing
    from hemogat.training.run_directory import RunDirectory


def _list_recipes(asked: bool) -> None:
    if asked:
        from hemogat.recipe_files import packaged_recipes

        print_facts(packaged_recipes())
        raise typer.Exit


def train(
    recipe: Annotated[
        str,
        typer.Argument(
            metavar="RECIPE", help="YAML file, or the name of a packaged recipe (see --list)."
        ),
    ],
    manifest: Annotated[
        Path, typer.Option(help="CSV with the columns audio, text, label, speaker, split.")
    ],
    out: Annotated[
        Path | None,
        typer.Option(help="Run directory to write.", show_default="build/RECIPE/run"),
    ] = None,
    resume: Annotated[
        bool, typer.Option("--resume", help="Continue the interrupted run of that place.")
    ] = False,
    restart: Annotated[
        bool,
        typer.Option("--restart", help="Drop the run of that place, interrupted or finished."),
    ] = False,
    skip_bad: Annotated[
        bool,
        typer.Option("--skip-bad", help="Leave out utterances whose audio cannot be read."),
    ] = False,
    cache: Annotated[
        Path | None,
        typer.Option(help="Folder of embeddings.", show_default="build/cache/features"),
    ] = None,
    as_json: JsonOption = False,
    list_recipes: Annotated[
        bool,
        typer.Option(
            "--list", callback=_list_recipes, is_eager=True, help="List the packaged recipes."
        ),
    ] = False,
) -> None:
    """Train encoders, fusion head and controls into a run directory.

    Writes the run whole or not at all, and evaluates it on the test split
    (validation where there is none). A finished run is replaced only with
    --restart. Until a run is finished it stands beside, as RUN.partial:
    --resume continues it after an interruption, to the same result.

    Several GPUs: accelerate launch -m hemogat train ...
    """
    from hemogat.data.manifest import read_manifest
    from hemogat.progress import Progress
    from hemogat.recipe_files import load_recipe
    from hemogat.workspace import default_run, workspace

    if resume and restart:
        raise typer.BadParameter("give --resume or --restart, not both")
    settings = load_recipe(recipe)
    corpus = read_manifest(manifest, settings.labels)
    with needs("train"):
        from hemogat.training.partial_run import partial_path
        from hemogat.training.processes import is_main_process
        from hemogat.training.train import train as train_run

    main = is_main_process()
    if main:
        print_counts(corpus, as_remark=True)
        for warning in corpus.warnings:
            remark(f"warning: {manifest}: {warning}")
    out = out or default_run(settings.name)
    existing: Existing = "resume" if resume else "restart" if restart else "refuse"
    try:
        run = train_run(
            settings,
            manifest,
            out,
            Progress(visible=main),
            existing=existing,
            skip_bad=skip_bad,
            cache=cache or workspace() / "cache" / "features",
        )
    except KeyboardInterrupt as error:
        partial = partial_path(out)
        if not partial.is_dir():
            raise
        raise KeyboardInterrupt(
            f"interrupted; {partial} holds what is done: continue with the same command and "
            f"--resume"
        ) from error
    if main:
        _report(run, as_json)


def _report(run: RunDirectory, as_json: bool) -> None:
    from hemogat.training.evaluation import evaluate_run

    remark_skipped(run.record.skipped)
    has_test = any(row.split == "test" for row in run.record.rows)
    evaluation = evaluate_run(run, "test" if has_test else "val")
    if as_json:
        print_json({"run": str(run.path), "evaluation": evaluation.model_dump(mode="json")})
        return
    typer.echo(f"run: {run.path}")
    typer.echo(f"split {evaluation.split}, per cent:")
    print_metrics(evaluation)
