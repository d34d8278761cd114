"""``hemogat prepare``: from a corpus as it is released to a manifest."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from hemogat.cli.corpus_report import report
from hemogat.cli.output import JsonOption

if TYPE_CHECKING:
    from hemogat.data.corpus import Corpus

app = typer.Typer(no_args_is_help=True, help="Write a manifest of a corpus.")

_ALL_SESSIONS = "all"

OutOption = Annotated[
    Path | None,
    typer.Option(
        metavar="MANIFEST.csv", help="File to write.", show_default="build/CORPUS/manifest.csv"
    ),
]
SeedOption = Annotated[int, typer.Option(min=0, help="Of the splits that are drawn.")]
SkipOption = Annotated[
    bool,
    typer.Option("--skip-bad", help="Leave out and list what cannot be used, instead of stopping."),
]


@app.command()
def iemocap(
    root: Annotated[
        Path, typer.Argument(metavar="ROOT", help="IEMOCAP_full_release, with Session1 to 5.")
    ],
    out: OutOption = None,
    splits: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR",
            help="Folder of the authors' IEMOCAP_metadata_{train,val,test}.csv.",
            show_default="80/10/10 by label",
        ),
    ] = None,
    leave_out_session: Annotated[
        str | None,
        typer.Option(
            metavar="N",
            help="Test on session N, 1 to 5, validate on a tenth of the others; 'all' writes "
            "five manifests, -session1 to -session5.",
            show_default=False,
        ),
    ] = None,
    seed: SeedOption = 0,
    skip_bad: SkipOption = False,
    as_json: JsonOption = False,
) -> None:
    """Prepare IEMOCAP: angry, happy (and excited), neutral, sad.

    The other labels are counted and left out.
    """
    from hemogat.data.corpus import write_corpus
    from hemogat.data.iemocap import (
        labels_that_differ,
        leave_session_out,
        read_authors_splits,
        read_iemocap,
    )
    from hemogat.data.splits import stratified

    sessions = _sessions(leave_out_session)
    if splits is not None and sessions:
        raise typer.BadParameter("--splits and --leave-out-session exclude each other")
    out = out or _default_out("iemocap")
    corpus = _usable(read_iemocap(root), skip_bad)
    if splits is not None:
        by_id = read_authors_splits(splits)
        differing = labels_that_differ(splits, corpus)
        manifests = [write_corpus(corpus.split_by(by_id), out)]
        report(corpus, manifests, as_json, by_id, differing)
        return
    if not sessions:
        manifests = [write_corpus(corpus.split_by(stratified(corpus.utterances, seed)), out)]
    else:
        manifests = [
            write_corpus(
                corpus.split_by(leave_session_out(corpus, session, seed)),
                out.with_stem(f"{out.stem}-session{session}") if len(sessions) > 1 else out,
            )
            for session in sessions
        ]
    report(corpus, manifests, as_json)


@app.command()
def meld(
    root: Annotated[
        Path, typer.Argument(metavar="ROOT", help="MELD.Raw, with the archives in it unpacked.")
    ],
    out: OutOption = None,
    text_only: Annotated[
        bool, typer.Option("--text-only", help="Texts without sound; needs no videos.")
    ] = False,
    skip_bad: SkipOption = False,
    as_json: JsonOption = False,
) -> None:
    """Prepare MELD: seven emotions, the splits of its release.

    Sound is taken out of the videos by ffmpeg into a folder audio beside the
    manifest. Interrupted, the same command goes on where it stopped.
    """
    from hemogat.data.corpus import write_corpus
    from hemogat.data.meld import read_meld_text, with_sound
    from hemogat.progress import Progress

    out = out or _default_out("meld")
    corpus = read_meld_text(root)
    if not text_only:
        corpus = with_sound(corpus, out.parent / "audio", Progress(visible=True))
    corpus = _usable(corpus, skip_bad)
    report(corpus, [write_corpus(corpus, out)], as_json)


@app.command()
def folder(
    root: Annotated[
        Path, typer.Argument(metavar="ROOT", help="Folder of <label>/<file>, or <split>/<label>.")
    ],
    out: OutOption = None,
    label_pattern: Annotated[
        str | None,
        typer.Option(
            metavar="REGEX",
            help="Take the label from file names instead (without suffix): the first group.",
            show_default=False,
        ),
    ] = None,
    label: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME=LABEL",
            help="What a folder or first group means; once for each. Others are left out.",
            show_default=False,
        ),
    ] = None,
    speaker_pattern: Annotated[
        str | None,
        typer.Option(
            metavar="REGEX",
            help="Take the speaker from file names: the first group.",
            show_default=False,
        ),
    ] = None,
    seed: SeedOption = 0,
    skip_bad: SkipOption = False,
    as_json: JsonOption = False,
) -> None:
    """Prepare sound files whose folders or names say the label.

    A text file beside a sound file, of the same name, is its transcript.
    Without folders for splits, 80/10/10 are drawn: by speaker if all speakers
    are known, else by label.
    """
    from hemogat.data.corpus import write_corpus
    from hemogat.data.folder_corpus import Naming, draw_splits, read_folder

    naming = Naming(
        label=_pattern(label_pattern, "--label-pattern"),
        labels=_mapping(label or []),
        speaker=_pattern(speaker_pattern, "--speaker-pattern"),
    )
    found, is_split = read_folder(root, naming)
    corpus = _usable(found, skip_bad)
    if not is_split:
        corpus = corpus.split_by(draw_splits(corpus, seed))
    manifest = write_corpus(corpus, out or _default_out(root.resolve().name))
    report(corpus, [manifest], as_json)


def _default_out(corpus: str) -> Path:
    from hemogat.workspace import workspace

    return workspace() / corpus / "manifest.csv"


def _usable(corpus: Corpus, skip_bad: bool) -> Corpus:
    return corpus if skip_bad else corpus.without_bad()


def _sessions(asked: str | None) -> tuple[int, ...]:
    from hemogat.data.iemocap import SESSIONS

    if asked is None:
        return ()
    if asked == _ALL_SESSIONS:
        return SESSIONS
    if asked not in map(str, SESSIONS):
        raise typer.BadParameter(f"expected 1 to 5 or all, found {asked!r}")
    return (int(asked),)


def _pattern(written: str | None, option: str) -> re.Pattern[str] | None:
    if written is None:
        return None
    try:
        pattern = re.compile(written)
    except re.error as error:
        raise typer.BadParameter(f"{option} {written!r} is not a pattern ({error})") from error
    if not pattern.groups:
        raise typer.BadParameter(f"{option} {written!r} has no group, as in ^([0-9]+)_")
    return pattern


def _mapping(pairs: list[str]) -> dict[str, str]:
    labels: dict[str, str] = {}
    for pair in pairs:
        name, equals, label = pair.partition("=")
        if not (name and equals and label):
            raise typer.BadParameter(f"--label expects NAME=LABEL, found {pair!r}")
        labels[name] = label
    return labels
