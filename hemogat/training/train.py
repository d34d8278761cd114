"""From a manifest to a run directory."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timezone
from pathlib import Path

import torch
from transformers import AutoTokenizer

from hemogat.config import HeadConfig, Recipe
from hemogat.contract import MODALITIES
from hemogat.data.manifest import Manifest, Split, Utterance, read_manifest
from hemogat.errors import ConfigError
from hemogat.files import folder_written_whole
from hemogat.model.bank import Embeddings
from hemogat.model.encoders import build_audio_encoder, build_text_encoder, save_encoder
from hemogat.model.topk_graph import check_k
from hemogat.progress import Progress
from hemogat.training.encoder_training import train_audio_encoder, train_text_encoder
from hemogat.training.features import extract_embeddings
from hemogat.training.head_training import train_head
from hemogat.training.preparation import PreparedRow, prepare_rows
from hemogat.training.run_directory import (
    FULL,
    RECORD_FILE,
    Features,
    Row,
    RunDirectory,
    RunRecord,
    save_features,
    save_head,
    save_record,
)
from hemogat.training.tokenizer_training import train_tokenizer
from hemogat.versions import installed_versions

_PACKAGES = ("hemogat", "torch", "transformers", "tokenizers", "numpy", "soundfile", "soxr")


def train(
    recipe: Recipe, manifest: Path, out: Path, progress: Progress | None = None
) -> RunDirectory:
    """Fine-tune the encoders, embed every utterance, train the head and its controls.

    Writes ``out`` whole or not at all; a run that stands there is replaced.

    Raises:
        InputError: the manifest or an utterance cannot be used, or ``out`` is something else.
        ConfigError: the recipe does not fit the data.
    """
    progress = progress or Progress()
    if recipe.graph.direction != "incoming":
        raise ConfigError(
            "graph.direction: expected incoming, found outgoing, the authors' way, with which a "
            "head has no bank to be served with"
        )
    corpus = read_manifest(manifest, recipe.labels)
    for split in ("train", "val"):
        if not corpus.split(split):
            raise ConfigError(
                f"{manifest}: has no utterances in split {split!r}, training needs it"
            )
    torch.manual_seed(recipe.seed)
    with folder_written_whole(out, replace_if_has=RECORD_FILE) as folder:
        embeddings, rows = _train_encoders(recipe, corpus, folder, progress)
        best_seed = _train_heads(recipe, corpus, embeddings, rows, folder, progress)
        save_features(folder, embeddings)
        save_record(folder, _record(recipe, corpus, best_seed))
    return RunDirectory.open(out)


def _train_encoders(
    recipe: Recipe, corpus: Manifest, folder: Path, progress: Progress
) -> tuple[Embeddings, list[PreparedRow]]:
    tokenizer = folder / "tokenizer.json"
    vocab_size = _make_tokenizer(recipe, corpus, tokenizer)
    audio_encoder = build_audio_encoder(recipe.audio_encoder)
    text_encoder = build_text_encoder(recipe.text_encoder, recipe.text, vocab_size)
    rows = prepare_rows(corpus.utterances, recipe, tokenizer, progress)
    _check_rows(recipe, corpus, rows)
    training, validation = (_of_split(rows, corpus.utterances, s) for s in ("train", "val"))
    labels, window = len(recipe.labels), recipe.audio.window_samples
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    train_audio_encoder(
        audio_encoder.to(device),
        training,
        validation,
        labels,
        recipe.audio_training,
        window,
        progress,
    )
    train_text_encoder(
        text_encoder.to(device), training, validation, labels, recipe.text_training, progress
    )
    save_encoder(audio_encoder, folder / "audio_encoder")
    save_encoder(text_encoder, folder / "text_encoder")
    return extract_embeddings(rows, audio_encoder, text_encoder, window, progress), rows


def _make_tokenizer(recipe: Recipe, corpus: Manifest, path: Path) -> int:
    """Write the encoder's own tokenizer, or one learned from the training texts."""
    if recipe.text_encoder.pretrained is not None:
        tokenizer = AutoTokenizer.from_pretrained(recipe.text_encoder.pretrained).backend_tokenizer
    else:
        texts = [u.text for u in corpus.split("train") if u.text]
        tokenizer = train_tokenizer(texts, recipe.text_encoder.scratch.vocab_size)
    tokenizer.save(str(path))
    return int(tokenizer.get_vocab_size())


def _check_rows(recipe: Recipe, corpus: Manifest, rows: Sequence[PreparedRow]) -> None:
    """Refuse, before hours of training, rows that the recipe's heads cannot be made from."""
    head = recipe.head
    reads = [head.modalities in ("both", modality) for modality in MODALITIES]
    for row, utterance in zip(rows, corpus.utterances, strict=True):
        for modality, read, there in zip(MODALITIES, reads, row.present, strict=True):
            if read and not there and not head.modality_dropout:
                raise ConfigError(
                    f"{corpus.path}: {utterance.id} has no {modality}, and head.modality_dropout "
                    f"is 0, so the head would learn from zeros; set it, or drop the utterance"
                )
    for split in ("val", "train"):
        part = _of_split(rows, corpus.utterances, split)
        counts = [sum(column) for column in zip(*(row.present for row in part), strict=True)]
        for modality, count in zip(MODALITIES, counts, strict=True):
            if not count:  # a control reads it, even if the head does not
                raise ConfigError(
                    f"{corpus.path}: no utterance in split {split!r} has {modality}; its encoder "
                    f"needs some to train on"
                )
    if head.modules != "no_gnn":
        check_k(recipe.graph, *counts, spare=1)


def _of_split(
    rows: Sequence[PreparedRow], utterances: Sequence[Utterance], split: Split
) -> list[PreparedRow]:
    return [row for row, u in zip(rows, utterances, strict=True) if u.split == split]


def _train_heads(
    recipe: Recipe,
    corpus: Manifest,
    embeddings: Embeddings,
    rows: Sequence[PreparedRow],
    folder: Path,
    progress: Progress,
) -> int:
    """Train every kind of head with every seed; return the seed of the best full head."""
    labels = torch.tensor([row.label for row in rows])

    def features(split: Split) -> Features:
        chosen = torch.tensor([i for i, u in enumerate(corpus.utterances) if u.split == split])
        return Features(embeddings[chosen], labels[chosen])

    training, validation = features("train"), features("val")
    scores = {}
    for name, config in head_configs(recipe.head).items():
        for seed in recipe.head_seeds:
            torch.manual_seed(seed)
            trained = train_head(
                f"{name}, seed {seed}",
                training,
                validation,
                len(recipe.labels),
                config,
                recipe.graph,
                recipe.head_training,
                progress,
            )
            save_head(folder, name, seed, trained.head)
            scores[name, seed] = trained.validation_f1
    return max(recipe.head_seeds, key=lambda seed: scores[FULL, seed])


def head_configs(head: HeadConfig) -> dict[str, HeadConfig]:
    """Return the head to export and its controls: what does the graph, what does each modality?"""
    return {
        FULL: head,
        "no_gnn": head.model_copy(update={"modules": "no_gnn"}),
        "audio_only": head.model_copy(update={"modalities": "audio", "modality_dropout": 0.0}),
        "text_only": head.model_copy(update={"modalities": "text", "modality_dropout": 0.0}),
    }


def _record(recipe: Recipe, corpus: Manifest, best_seed: int) -> RunRecord:
    return RunRecord(
        recipe=recipe,
        manifest=str(corpus.path.resolve()),
        rows=tuple(Row(id=u.id, label=u.label, split=u.split) for u in corpus.utterances),
        heads=head_configs(recipe.head),
        seeds=recipe.head_seeds,
        best_seed=best_seed,
        created_utc=datetime.now(timezone.utc).isoformat(timespec="seconds"),
        versions=installed_versions(_PACKAGES),
    )
