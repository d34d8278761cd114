"""``hemogat predict``: the emotion of clips, or of every row of a CSV file."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from hemogat.cli.output import (
    EngineOption,
    JsonOption,
    PrecisionOption,
    RunOnOption,
    SearchOption,
    percent,
    print_facts,
    print_json,
    print_table,
    remark,
)

if TYPE_CHECKING:
    from hemogat.contract import Engine, Precision, SearchChoice
    from hemogat.runtime.pipeline import Pipeline
    from hemogat.runtime.prediction import Prediction
    from hemogat.runtime.prediction_rows import ManifestPredictions
    from hemogat.serving.predictions import ServedPrediction


def predict(
    paths: Annotated[
        list[Path] | None,
        typer.Argument(
            metavar="[BUNDLE] [AUDIO]...",
            help="Bundle folder, unless --url is given; audio files: WAV, FLAC, OGG or MP3.",
            show_default=False,
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
    url: Annotated[
        str | None,
        typer.Option(
            help="Ask this server instead of a bundle: host:port (gRPC), grpc:// or http://.",
            show_default=False,
        ),
    ] = None,
    stream: Annotated[
        bool,
        typer.Option("--stream", help="Send AUDIO to --url at the pace at which it is spoken."),
    ] = False,
    concurrency: Annotated[
        int | None,
        typer.Option(
            min=1,
            metavar="N",
            help="Rows of --manifest under way at a time, with --url.",
            show_default="16",
        ),
    ] = None,
    timeout: Annotated[
        float | None,
        typer.Option(
            min=0.001,
            metavar="SECONDS",
            help="How long an answer may take with --url, retries included.",
            show_default="60; with --manifest 300",
        ),
    ] = None,
    engine: EngineOption = None,
    precision: PrecisionOption = None,
    search: SearchOption = None,
    device: RunOnOption = None,
    as_json: JsonOption = False,
) -> None:
    """Recognise the emotion of clips, or of every row of a manifest.

    Where the manifest has labels, the accuracy is printed too, for each split
    that it names. With --url, an interrupted run of a manifest goes on where
    it was when it is called again.
    """
    bundle, clips = _bundle_and_clips(paths or [], url)
    _check_usage(clips, text, manifest, out, skip_bad)
    if stream and (url is None or len(clips) != 1):
        raise typer.BadParameter("--stream needs --url and one AUDIO")
    if timeout is not None and url is None:
        raise typer.BadParameter("--timeout belongs to --url")
    if concurrency is not None and (url is None or manifest is None):
        raise typer.BadParameter("--concurrency belongs to --url with --manifest")
    if bundle is None and (engine, precision, search, device) != (None,) * 4:
        raise typer.BadParameter(
            "--engine, --precision, --search and --device are the server's choice, with --url"
        )
    pipeline = None if bundle is None else _load(bundle, engine, precision, search, device)
    if manifest is not None and out is not None:
        if pipeline is not None:
            predictions = _predict_manifest(pipeline, manifest, out, skip_bad)
        else:
            predictions = _ask_manifest(
                url, manifest, out, skip_bad, concurrency or 16, timeout or 300.0
            )
        print_json(_manifest_json(predictions)) if as_json else _print_predictions(predictions)
        return
    one, several = clips[0] if clips else None, len(clips) > 1
    if stream and one is not None:
        from hemogat.cli.stream_file import stream_file

        stream_file(url, one, text, as_json, timeout or 60.0)
    elif pipeline is not None:
        _show(clips, pipeline([*clips]) if several else [pipeline(one, text)], as_json)
    else:
        from hemogat.serving.client import Client

        with Client(url, timeout_s=timeout or 60.0) as client:
            answers = client.predict_many(clips) if several else [client.predict(one, text)]
        _show(clips, answers, as_json)


def _bundle_and_clips(paths: list[Path], url: str | None) -> tuple[Path | None, list[Path]]:
    if url is not None:
        return None, paths
    if not paths:
        raise typer.BadParameter("expected BUNDLE, or --url")
    return paths[0], paths[1:]


def _check_usage(
    clips: list[Path], text: str | None, manifest: Path | None, out: Path | None, skip_bad: bool
) -> None:
    if (bool(clips) or text is not None) == (manifest is not None):
        raise typer.BadParameter("expected AUDIO or --text or both, or else --manifest")
    if len(clips) > 1 and text is not None:
        raise typer.BadParameter("--text belongs to one AUDIO; a --manifest has one for each")
    if manifest is not None and out is None:
        raise typer.BadParameter("--manifest needs --out, the CSV file to write")
    if manifest is None and (out is not None or skip_bad):
        raise typer.BadParameter("--out and --skip-bad belong to --manifest")


def _load(
    bundle: Path,
    engine: Engine | None,
    precision: Precision | None,
    search: SearchChoice | None,
    device: str | None,
) -> Pipeline:
    from hemogat.logs import show_information
    from hemogat.runtime.pipeline import Pipeline

    show_information()
    return Pipeline.load(bundle, engine=engine, precision=precision, search=search, device=device)


def _predict_manifest(
    pipeline: Pipeline, manifest: Path, out: Path, skip_bad: bool
) -> ManifestPredictions:
    from hemogat.progress import Progress
    from hemogat.runtime.manifest_prediction import predict_manifest

    return predict_manifest(
        pipeline, manifest, out, skip_bad=skip_bad, progress=Progress(visible=True)
    )


def _ask_manifest(
    url: str | None,
    manifest: Path,
    out: Path,
    skip_bad: bool,
    concurrency: int,
    timeout_s: float,
) -> ManifestPredictions:
    from hemogat.progress import Progress
    from hemogat.serving.manifest_requests import predict_manifest_served

    return predict_manifest_served(
        url,
        manifest,
        out,
        concurrency=concurrency,
        skip_bad=skip_bad,
        timeout_s=timeout_s,
        progress=Progress(visible=True),
    )


def _show(
    clips: Sequence[Path], predictions: Sequence[Prediction | ServedPrediction], as_json: bool
) -> None:
    if len(predictions) == 1:
        [prediction] = predictions
        print_json(prediction.to_dict()) if as_json else _print_prediction(prediction)
        return
    pairs = list(zip(map(str, clips), predictions, strict=True))
    if as_json:
        print_json([{"audio": clip, **prediction.to_dict()} for clip, prediction in pairs])
        return
    print_table(
        ("audio", "label"),
        ("probability",),
        ((clip, p.label, f"{p.probabilities[p.label]:.4f}") for clip, p in pairs),
    )


def _print_prediction(prediction: Prediction | ServedPrediction) -> None:
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
        _print_neighbours(prediction)


def _print_neighbours(prediction: Prediction | ServedPrediction) -> None:
    from hemogat.runtime.prediction import Neighbour

    rows = [
        # A server tells bank rows alone.
        ((n.id, n.label, n.modality) if isinstance(n, Neighbour) else (str(n.row), "", ""), n)
        for n in prediction.neighbours
    ]
    print_table(
        ("neighbour", "label", "near by"),
        ("cosine",),
        ((*cells, f"{n.similarity:.4f}") for cells, n in rows),
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
