"""``hemogat import-checkpoint``: the authors' weights as a run directory."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from hemogat.cli.extras import needs
from hemogat.cli.output import JsonOption, print_json, print_metrics
from hemogat.contract import Direction
from hemogat.errors import InputError

if TYPE_CHECKING:
    from hemogat.data.manifest import Split
    from hemogat.training.authors_encoders import EncoderSources
    from hemogat.training.authors_import import ImportReport


def import_checkpoint(
    checkpoint: Annotated[
        Path, typer.Argument(metavar="FILE.pt", help="State dict of the authors' MultiModalGNN.")
    ],
    labels: Annotated[
        str, typer.Option(help="Names of labels 0, 1, ..., as in angry,happy,neutral,sad.")
    ],
    out: Annotated[Path, typer.Option(help="Run directory to write.")],
    train: Annotated[
        Path | None, typer.Option(help="Feature file (.pkl) of the training split.")
    ] = None,
    val: Annotated[Path | None, typer.Option(help="Feature file of the validation split.")] = None,
    test: Annotated[Path | None, typer.Option(help="Feature file of the test split.")] = None,
    audio_encoder: Annotated[
        str | None, typer.Option(help="Folder or name of the fine-tuned audio encoder.")
    ] = None,
    text_encoder: Annotated[
        str | None, typer.Option(help="Folder or name of the fine-tuned text encoder.")
    ] = None,
    manifest: Annotated[
        Path | None, typer.Option(help="Utterances (CSV) that the encoders embed.")
    ] = None,
    k_audio: Annotated[int, typer.Option(min=0, help="Neighbours by audio.")] = 4,
    k_text: Annotated[int, typer.Option(min=0, help="Neighbours by text.")] = 5,
    direction: Annotated[
        Direction,
        typer.Option(help="Messages flow from a node (the authors' way) or to it, from now on."),
    ] = "outgoing",
    as_json: JsonOption = False,
) -> None:
    """Import the authors' checkpoint into a run directory.

    Its embeddings are those of the feature files (--train, --test), or made
    anew by the encoders from the manifest, so that the run can be exported.

    The test accuracy is measured as the authors do: one graph over the split.
    With --direction incoming it is measured again for graphs that a new
    utterance can have, too.
    """
    with needs("train"):
        from hemogat.config import GraphConfig
        from hemogat.progress import Progress
        from hemogat.training.authors_import import import_checkpoint as import_run

    given: dict[Split, Path | None] = {"train": train, "val": val, "test": test}
    report = import_run(
        checkpoint,
        {split: path for split, path in given.items() if path is not None},
        tuple(name.strip() for name in labels.split(",")),
        GraphConfig(k_audio=k_audio, k_text=k_text, direction=direction),
        out,
        _sources(audio_encoder, text_encoder, manifest),
        Progress(visible=True),
    )
    if as_json:
        incoming = report.incoming and report.incoming.model_dump(mode="json")
        outgoing = report.outgoing.model_dump(mode="json")
        print_json({"run": str(report.run.path), "outgoing": outgoing, "incoming": incoming})
    else:
        _print(report)


def _sources(
    audio_encoder: str | None, text_encoder: str | None, manifest: Path | None
) -> EncoderSources | None:
    from hemogat.training.authors_encoders import EncoderSources

    if audio_encoder is not None and text_encoder is not None and manifest is not None:
        return EncoderSources(audio_encoder, text_encoder, manifest)
    given = {
        "--audio-encoder": audio_encoder,
        "--text-encoder": text_encoder,
        "--manifest": manifest,
    }
    missing = [option for option, value in given.items() if value is None]
    if len(missing) < len(given):
        raise InputError(
            f"{' and '.join(missing)} missing: the encoders and the manifest of the utterances "
            f"that they are to embed go together"
        )
    return None


def _print(report: ImportReport) -> None:
    typer.echo(f"run: {report.run.path}")
    typer.echo("split test, per cent, messages outgoing (as the authors measure):")
    print_metrics(report.outgoing)
    if report.incoming:
        typer.echo("messages incoming (measured again):")
        print_metrics(report.incoming)
