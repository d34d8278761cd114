"""A manifest's utterances as encoder inputs, made once: what serving does, on a whole data set."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from hemogat.config import Recipe, Settings
from hemogat.data.audio import decode_audio
from hemogat.data.manifest import Manifest, Split, Utterance
from hemogat.data.problems import first_few
from hemogat.data.text import TextTokenizer, TokenizedText, clean_text
from hemogat.errors import InputError
from hemogat.progress import Progress


@dataclass(frozen=True)
class PreparedRow:
    """One utterance, in the modalities that the recipe's head reads.

    Shapes:
        samples: float32 [n], 16 kHz mono; None without audio
        tokens: int64 [T]; None without text
        label: number in the recipe's order
    """

    samples: NDArray[np.float32] | None
    tokens: TokenizedText | None
    label: int

    @property
    def present(self) -> tuple[bool, bool]:
        """Whether there is audio, and whether there is text."""
        return self.samples is not None, self.tokens is not None


class SkippedRow(Settings):
    """An utterance that was left out because its audio cannot be read, and why.

    ``split``: None in runs that were recorded before this was.
    """

    id: str
    reason: str
    split: Split | None = None


def prepare_rows(
    utterances: Sequence[Utterance],
    recipe: Recipe,
    tokenizer: Path,
    progress: Progress,
    skipped: list[SkippedRow] | None = None,
) -> list[PreparedRow]:
    """Decode and tokenise every utterance; a modality that the head does not read is left alone.

    ``tokenizer`` is read only if text is. With a list ``skipped``, utterances whose audio cannot be
    read are put there, and have no row.

    Raises:
        InputError: utterances cannot be used, all of which it carries; nothing is replaced by
            silence.
    """
    reads = recipe.head.reads
    encoder = TextTokenizer(tokenizer, recipe.text) if "text" in reads else None
    numbers = {label: n for n, label in enumerate(recipe.labels)}
    rows = []
    bad: list[SkippedRow] = []
    with progress.stage("Decode audio", len(utterances)) as stage:
        for utterance in utterances:
            written = utterance.text if encoder is not None else None
            text = clean_text(written or "", recipe.text, name=f"text of {utterance.id}")
            heard = utterance.audio if "audio" in reads else None
            stage.advance()
            try:
                samples = decode_audio(heard, recipe.audio) if heard else None
            except InputError as error:
                bad.append(SkippedRow(id=utterance.id, reason=str(error), split=utterance.split))
                continue
            tokens = encoder.encode(text) if encoder is not None and text else None
            rows.append(PreparedRow(samples, tokens, numbers[utterance.label]))
    if skipped is not None:
        skipped += bad
    elif bad:
        reasons = [f"{row.id}: {row.reason}" for row in bad]
        raise InputError(
            f"{len(bad)} utterances cannot be read: {first_few(reasons, '; ')}; mend or remove "
            f"them, or leave them out with --skip-bad",
            reasons,
        )
    return rows


def without_skipped(corpus: Manifest, skipped: Sequence[SkippedRow]) -> Manifest:
    """Return the manifest's utterances that have a row."""
    ids = {row.id for row in skipped}
    return replace(corpus, utterances=tuple(u for u in corpus.utterances if u.id not in ids))
