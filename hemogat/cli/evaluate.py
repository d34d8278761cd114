"""``hemogat evaluate``: metrics of a run or a bundle on one split."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from hemogat.cli.extras import needs
from hemogat.cli.output import JsonOption, print_json, print_metrics, remark
from hemogat.data.manifest import Split

if TYPE_CHECKING:
    from hemogat.training.metrics import Evaluation


def evaluate(
    target: Annotated[
        Path | None,
        typer.Argument(
            metavar="RUN|BUNDLE",
            help="Run directory or bundle.",
            show_default="latest run",
        ),
    ] = None,
    split: Annotated[Split, typer.Option(help="Which utterances.")] = "test",
    manifest: Annotated[
        Path | None,
        typer.Option(help="CSV of the utterances, for a bundle.", show_default=False),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Measure how well emotions are recognised.

    A run is evaluated on its stored embeddings: every way to give an utterance
    a graph (inductive is what a bundle serves) and the control heads. A bundle
    is evaluated as it serves, from the audio files and texts of --manifest.
    """
    from hemogat.workspace import find_latest

    if target is None:
        target = find_latest("run.json")
        remark(f"latest run: {target}")
    evaluation = _evaluate(target, split, manifest)
    if as_json:
        print_json({"target": str(target), **evaluation.model_dump(mode="json")})
        return
    typer.echo(f"{target}, split {evaluation.split}, per cent:")
    print_metrics(evaluation.graphs | evaluation.controls)
    if evaluation.layer_cosine:
        cosines = ", ".join(f"{cosine:.2f}" for cosine in evaluation.layer_cosine)
        typer.echo(f"mean cosine of all pairs of nodes, layer by layer: {cosines}")


def _evaluate(target: Path, split: Split, manifest: Path | None) -> Evaluation:
    from hemogat.progress import Progress

    if (target / "bundle.json").is_file():
        if manifest is None:
            raise typer.BadParameter(f"{target} is a bundle, which needs --manifest")
        with needs("train"):
            from hemogat.benchmarks.accuracy import evaluate_bundle

        return evaluate_bundle(target, manifest, split, Progress(visible=True))
    if manifest is not None:
        raise typer.BadParameter(f"{target} is no bundle, so --manifest has no meaning for it")
    with needs("train"):
        from hemogat.training.evaluation import evaluate_run
        from hemogat.training.run_directory import RunDirectory

    return evaluate_run(RunDirectory.open(target), split)
