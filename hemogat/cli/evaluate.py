"""``hemogat evaluate``: metrics of a run or a bundle on one split, as files and as a table."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from hemogat.cli.extras import needs
from hemogat.cli.output import (
    JsonOption,
    print_json,
    print_metrics,
    print_table,
    remark,
    remark_skipped,
)
from hemogat.data.manifest import Split

if TYPE_CHECKING:
    from hemogat.progress import Progress
    from hemogat.training.evaluation_record import Evaluation, SplitAnswers
    from hemogat.training.metrics import Figure


def evaluate(
    targets: Annotated[
        list[Path] | None,
        typer.Argument(
            metavar="RUN|BUNDLE",
            help="Run directory or bundle; with --pool several runs.",
            show_default="latest run",
        ),
    ] = None,
    split: Annotated[Split, typer.Option(help="Which utterances.")] = "test",
    manifest: Annotated[
        Path | None,
        typer.Option(help="CSV of the utterances, for a bundle.", show_default=False),
    ] = None,
    skip_bad: Annotated[
        bool,
        typer.Option("--skip-bad", help="Leave out utterances that a bundle cannot use."),
    ] = False,
    pool: Annotated[
        bool,
        typer.Option("--pool", help="Several runs as the folds of one cross-validation."),
    ] = False,
    out: Annotated[
        Path | None,
        typer.Option(
            help="Folder to write.",
            show_default="RUN/evaluation/SPLIT, BUNDLE-evaluation/SPLIT or pooled/SPLIT beside "
            "the first run",
        ),
    ] = None,
    pictures: Annotated[
        bool, typer.Option("--pictures/--no-pictures", help="Draw the pictures, too.")
    ] = True,
    as_json: JsonOption = False,
) -> None:
    """Measure how well emotions are recognised.

    A run is evaluated on its stored embeddings, with every seed: each way to
    give an utterance a graph (inductive is what a bundle serves) and the
    control heads. A bundle is evaluated as it serves, from the audio files and
    texts of --manifest. Writes metrics.json, report.md and pictures.

    --split train: a run leaves each utterance out of its own neighbours; a
    bundle finds what it was trained on in its bank: figures are too good.

    --pool: runs tested on different utterances, as with each session left out;
    mean and interval over runs, one confusion matrix. Writes pooled.json and
    report.md.
    """
    from hemogat.progress import Progress

    if pool:
        if manifest is not None or skip_bad:
            raise typer.BadParameter("--pool is for runs: --manifest and --skip-bad are not")
        _pool(targets or [], split, out, as_json)
        return
    target = _one_of(targets)
    is_bundle = (target / "bundle.json").is_file()
    if is_bundle and manifest is None:
        raise typer.BadParameter(f"{target} is a bundle, which needs --manifest")
    if manifest is not None and not is_bundle:
        raise typer.BadParameter(f"{target} is no bundle, so --manifest has no meaning for it")
    if skip_bad and not is_bundle:
        raise typer.BadParameter(f"{target} is no bundle: --skip-bad was for its training to know")
    if is_bundle and split == "train":
        remark("warning: the bundle finds what it was trained on in its bank: figures are too good")
    progress = Progress(visible=True)
    with needs("train"):
        from hemogat.training.evaluation_report import REPORT_FILE, write_evaluation
    out = out or default_evaluation(target, split, is_bundle=is_bundle)
    answers = _answer(target, split, manifest, progress, skip_bad=skip_bad)
    remark_skipped(answers.skipped)
    evaluation = write_evaluation(answers, out, progress, pictures=pictures)
    if as_json:
        print_json(evaluation.model_dump(mode="json"))
    else:
        _print(evaluation, out / REPORT_FILE)


def _one_of(targets: list[Path] | None) -> Path:
    from hemogat.workspace import find_latest

    if not targets:
        latest = find_latest("run.json")
        remark(f"latest run: {latest}")
        return latest
    if len(targets) > 1:
        raise typer.BadParameter("several runs are evaluated as one with --pool")
    return targets[0]


def _pool(runs: list[Path], split: Split, out: Path | None, as_json: bool) -> None:
    from hemogat.progress import Progress

    with needs("train"):
        from hemogat.training.pooled_evaluation import pool_runs, write_pooled

    pooled = pool_runs(runs, split, Progress(visible=True))
    report = write_pooled(pooled, out or runs[0].resolve().parent / "pooled" / split)
    if as_json:
        print_json(pooled.model_dump(mode="json"))
        return
    figures: tuple[Figure, ...] = ("accuracy", "unweighted_accuracy", "weighted_f1")
    print_table(
        ("head", "graph", "inputs"),
        ("utterances", "accuracy", "UA", "weighted F1"),
        (
            (
                *(row.head, row.graph, row.inputs, str(row.utterances)),
                *(row.figures[name].percent() for name in figures),
            )
            for row in pooled.rows
        ),
    )
    typer.echo(f"report: {report}")


def default_evaluation(target: Path, split: Split, *, is_bundle: bool) -> Path:
    """Return where an evaluation goes: into its run, or beside its bundle.

    Not into a bundle: one with a file that is not in its list of hashes counts as altered.
    """
    if is_bundle:
        return target.with_name(f"{target.resolve().name}-evaluation") / split
    return target / "evaluation" / split


def _answer(
    target: Path, split: Split, manifest: Path | None, progress: Progress, *, skip_bad: bool
) -> SplitAnswers:
    with needs("train"):
        from hemogat.benchmarks.accuracy import answer_split_by_bundle
        from hemogat.training.evaluation import answer_split
        from hemogat.training.run_directory import RunDirectory

    if manifest is not None:
        return answer_split_by_bundle(target, manifest, split, progress, skip_bad=skip_bad)
    return answer_split(RunDirectory.open(target), split, progress=progress)


def _print(evaluation: Evaluation, report: Path) -> None:
    from hemogat.training.evaluation_tables import graph_gain_sentence, seeds_sentence

    typer.echo(f"{evaluation.name}, split {evaluation.split}, per cent:")
    print_metrics(evaluation)
    typer.echo(seeds_sentence(evaluation))
    if evaluation.graph_gain is not None:
        typer.echo(graph_gain_sentence(evaluation.graph_gain["weighted_f1"]))
    if evaluation.served.layer_cosine:
        cosines = ", ".join(f"{cosine.mean:.2f}" for cosine in evaluation.served.layer_cosine)
        typer.echo(f"mean cosine of all pairs of nodes, layer by layer: {cosines}")
    typer.echo(f"report: {report}")
