"""``hemogat predict``: the emotion of one clip, or of every row of a CSV file."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from hemogat.cli.output import (
    JsonOption,
    percent,
    print_facts,
    print_json,
    print_table,
    remark,
)

if TYPE_CHECKING:
    from hemogat.runtime.manifest_prediction import ManifestPredictions
    from hemogat.runtime.pipeline import Pipeline
    from hemogat.runtime.prediction import Prediction


def predict(
    bundle: Annotated[Path, typer.Argument(metavar="BUNDLE", help="Bundle folder.")],
    audio: Annotated[
        Path | None,
        typer.Argument(
            metavar="AUDIO", help="Audio file: WAV, FLAC, OGG or MP3.", show_default=False
        ),
    ] = None,
    text: Annotated[
        str | None, typer.Option(help="What was said in it.", show_default=False)
    ] = None,
    manifest: Annotated[
        Path | None,
        typer.Option(
            help="CSV with a column audio, text, or both, instead of one clip.",
            show_default=False,
        ),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(help="CSV to write; needed with --manifest.", show_default=False),
    ] = None,
    skip_bad: Annotated[
        bool,
        typer.Option("--skip-bad", help="Leave rows out that cannot be used, and list them."),
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Recognise the emotion of one clip, or of every row of a manifest.

    Where the manifest has labels, the accuracy is printed too, for each split
    that it names.
    """
    _check_usage(audio, text, manifest, out, skip_bad)
    from hemogat.runtime.pipeline import Pipeline

    pipeline = Pipeline.load(bundle)
    if manifest is not None and out is not None:
        _predict_manifest(pipeline, manifest, out, skip_bad, as_json)
        return
    prediction = pipeline(audio, text)
    if as_json:
        print_json(prediction.to_dict())
    else:
        _print_prediction(prediction)


def _check_usage(
    audio: Path | None, text: str | None, manifest: Path | None, out: Path | None, skip_bad: bool
) -> None:
    one = audio is not None or text is not None
    if one == (manifest is not None):
        raise typer.BadParameter("expected AUDIO or --text or both, or else --manifest")
    if manifest is not None and out is None:
        raise typer.BadParameter("--manifest needs --out, the CSV file to write")
    if manifest is None and (out is not None or skip_bad):
        raise typer.BadParameter("--out and --skip-bad belong to --manifest")


def _predict_manifest(
    pipeline: Pipeline, manifest: Path, out: Path, skip_bad: bool, as_json: bool
) -> None:
    from hemogat.progress import Progress
    from hemogat.runtime.manifest_prediction import predict_manifest

    predictions = predict_manifest(
        pipeline, manifest, out, skip_bad=skip_bad, progress=Progress(visible=True)
    )
    if as_json:
        print_json(_manifest_json(predictions))
    else:
        _print_predictions(predictions)


def _print_prediction(prediction: Prediction) -> None:
    print_facts({"label": prediction.label, "used": ", ".join(prediction.modalities)})
    ranked = sorted(prediction.probabilities.items(), key=lambda item: -item[1])
    typer.echo()
    print_table(
        ("label",),
        ("probability",),
        ((label, f"{probability:.4f}") for label, probability in ranked),
    )
    if prediction.neighbours:
        typer.echo()
        print_table(
            ("neighbour", "label", "near by"),
            ("cosine",),
            ((n.id, n.label, n.modality, f"{n.similarity:.4f}") for n in prediction.neighbours),
        )


def _print_predictions(predictions: ManifestPredictions) -> None:
    for row in predictions.skipped:
        remark(f"skipped: {row.reason}")
    skipped = f", {len(predictions.skipped)} skipped" if predictions.skipped else ""
    typer.echo(f"{predictions.out}: {predictions.predicted} predictions{skipped}")
    for split, score in predictions.scores.items():
        typer.echo(
            f"accuracy ({split}): {percent(score.accuracy)} % "
            f"({score.correct} of {score.utterances})"
        )


def _manifest_json(predictions: ManifestPredictions) -> dict[str, object]:
    return {
        "out": str(predictions.out),
        "predicted": predictions.predicted,
        "skipped": [{"id": row.id, "reason": row.reason} for row in predictions.skipped],
        "scores": {
            split: {
                "utterances": score.utterances,
                "correct": score.correct,
                "accuracy": score.accuracy,
            }
            for split, score in predictions.scores.items()
        },
    }
