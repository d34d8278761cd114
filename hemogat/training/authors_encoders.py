"""The encoders that go with an imported checkpoint, and what they make of a manifest."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from hemogat.config import Recipe
from hemogat.contract import MODALITIES
from hemogat.data.manifest import Manifest
from hemogat.errors import InputError
from hemogat.model.bank import Embeddings
from hemogat.model.encoders import (
    AudioEncoder,
    TextEncoder,
    build_audio_encoder,
    build_text_encoder,
    save_encoder,
)
from hemogat.model.pretrained import save_tokenizer
from hemogat.progress import Progress
from hemogat.training.authors_checkpoint import Checkpoint
from hemogat.training.features import extract_embeddings
from hemogat.training.preparation import PreparedRow, prepare_rows


@dataclass(frozen=True)
class EncoderSources:
    """The fine-tuned encoders that a checkpoint's features came from, and utterances for them.

    Attributes:
        audio_encoder: Hugging Face folder or name of the wav2vec2-like model.
        text_encoder: the same of the BERT-like model; its tokenizer lies beside it.
        manifest: the utterances, with the splits ``train`` (the bank) and ``test``.
    """

    audio_encoder: str
    text_encoder: str
    manifest: Path


def embed_with_encoders(
    recipe: Recipe, corpus: Manifest, made: Checkpoint, folder: Path, progress: Progress
) -> Embeddings:
    """Embed the utterances with the encoders that ``recipe`` names; save those into ``folder``.

    Audio and text are treated as in serving (windows of 1 s, each normalised), not as the authors
    do (the whole utterance): a bank and its queries must come from the same encoders in the same
    way.

    Raises:
        ConfigError: an encoder or the tokenizer cannot be read.
        InputError: an encoder does not fit the checkpoint or its tokenizer, or an utterance
            cannot be used.
    """
    audio_encoder = build_audio_encoder(recipe.audio_encoder).eval()
    text_encoder = build_text_encoder(recipe.text_encoder, recipe.text, vocab_size=0).eval()
    _check_dim("--audio-encoder", recipe.audio_encoder.pretrained, audio_encoder, made.audio_dim)
    _check_dim("--text-encoder", recipe.text_encoder.pretrained, text_encoder, made.text_dim)
    tokenizer = folder / "tokenizer.json"
    known = save_tokenizer(str(recipe.text_encoder.pretrained), "text_encoder", tokenizer)
    rows_of_table = int(text_encoder.backbone.config.vocab_size)
    if known > rows_of_table:
        raise InputError(
            f"--text-encoder: {recipe.text_encoder.pretrained}: its tokenizer knows {known} "
            f"tokens, but the model {rows_of_table}; give the folder both were saved into"
        )
    save_encoder(audio_encoder, folder / "audio_encoder")
    save_encoder(text_encoder, folder / "text_encoder")
    rows = prepare_rows(corpus.utterances, recipe, tokenizer, progress)
    _check_both_there(corpus, rows)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    return extract_embeddings(
        rows,
        audio_encoder.to(device),
        text_encoder.to(device),
        recipe.audio.window_samples,
        progress,
    )


def _check_dim(
    option: str, name: str | None, encoder: AudioEncoder | TextEncoder, expected: int
) -> None:
    if encoder.dim != expected:
        raise InputError(
            f"{option}: {name}: expected an encoder of width {expected}, as the checkpoint was "
            f"trained on, found {encoder.dim}"
        )


def _check_both_there(corpus: Manifest, rows: Sequence[PreparedRow]) -> None:
    for row, utterance in zip(rows, corpus.utterances, strict=True):
        for modality, there in zip(MODALITIES, row.present, strict=True):
            if not there:
                raise InputError(
                    f"{corpus.path}: {utterance.id} has no {modality}; the authors' network needs "
                    f"both audio and text, so add it or drop the utterance"
                )
