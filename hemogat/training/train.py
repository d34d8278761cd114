"""From a manifest to a run directory."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timezone
from pathlib import Path

import torch

from hemogat.config import HeadConfig, Recipe
from hemogat.contract import MODALITIES
from hemogat.data.manifest import Manifest, Split, Utterance, read_manifest
from hemogat.data.text import read_tokenizer
from hemogat.errors import ConfigError
from hemogat.files import replace_synced
from hemogat.model.pretrained import save_tokenizer
from hemogat.model.topk_graph import check_k
from hemogat.progress import Progress
from hemogat.training.features import FeatureCache, extract_embeddings
from hemogat.training.head_names import FULL
from hemogat.training.loop import CHECKPOINT_EVERY_S
from hemogat.training.partial_run import Existing, Origin, PartialRun, partial_run
from hemogat.training.preparation import PreparedRow, SkippedRow, prepare_rows, without_skipped
from hemogat.training.processes import make_accelerator
from hemogat.training.run_directory import (
    Features,
    Row,
    RunDirectory,
    RunRecord,
    save_features,
    save_record,
)
from hemogat.training.stages import build_encoders, train_encoders, train_heads
from hemogat.training.tokenizer_training import train_tokenizer
from hemogat.versions import installed_versions

_PACKAGES = ("hemogat", "torch", "transformers", "tokenizers", "numpy", "soundfile", "soxr")
_TOKENIZER = "tokenizer.json"


def train(
    recipe: Recipe,
    manifest: Path,
    out: Path,
    progress: Progress | None = None,
    *,
    existing: Existing = "refuse",
    skip_bad: bool = False,
    cache: Path | None = None,
    checkpoint_every_s: float = CHECKPOINT_EVERY_S,
) -> RunDirectory:
    """Fine-tune the encoders, embed every utterance, train the heads and their controls.

    ``out`` is written whole or not at all. Until then the run stands beside it
    (:mod:`hemogat.training.partial_run`). All processes that were launched together call this
    alike.

    Args:
        recipe: what to train.
        manifest: on what.
        out: the run directory.
        progress: where bars are drawn.
        existing: what to do about a run of the same place: an interrupted one can be resumed, and
            restart replaces it and a finished one.
        skip_bad: leave out utterances whose audio cannot be read, rather than stop.
        cache: folder of embeddings that other runs can use; None: the run's own.
        checkpoint_every_s: least time between two checkpoints of a stage.

    Raises:
        InputError: the manifest or an utterance cannot be used, ``out`` is something else, or
            ``existing`` does not fit what stands there.
        ConfigError: the recipe does not fit the data.
    """
    progress = progress or Progress()
    corpus = _read_corpus(recipe, manifest)
    accelerator = make_accelerator()
    origin = Origin.of(recipe, manifest, skip_bad)
    with partial_run(out, origin, existing, accelerator, checkpoint_every_s) as partial:
        if not partial.is_filled():
            _fill(recipe, corpus, partial, skip_bad, cache, progress)
    return RunDirectory.open(out)


def _read_corpus(recipe: Recipe, manifest: Path) -> Manifest:
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
    return corpus


def _fill(
    recipe: Recipe,
    corpus: Manifest,
    partial: PartialRun,
    skip_bad: bool,
    cache: Path | None,
    progress: Progress,
) -> None:
    """Make every file of the run that is not there yet, the record last."""
    encoders = build_encoders(recipe, partial, _make_tokenizer(recipe, corpus, partial))
    skipped: list[SkippedRow] = []
    rows = prepare_rows(
        corpus.utterances,
        recipe,
        partial.folder / _TOKENIZER,
        progress,
        skipped if skip_bad else None,
    )
    corpus = without_skipped(corpus, skipped)
    _check_rows(recipe, corpus, rows)
    training, validation = (_of_split(rows, corpus.utterances, split) for split in ("train", "val"))
    audio, text = train_encoders(recipe, partial, encoders, training, validation, progress)
    store = FeatureCache(cache or partial.feature_cache, partial.accelerator)
    window_samples = recipe.audio.window_samples
    embeddings = extract_embeddings(rows, audio, text, window_samples, progress, store)
    labels = torch.tensor([row.label for row in rows])
    del rows, training, validation  # the corpus as samples, which heads do not read

    def features(split: Split) -> Features:
        chosen = torch.tensor([i for i, u in enumerate(corpus.utterances) if u.split == split])
        return Features(embeddings[chosen], labels[chosen])

    best_seed = train_heads(recipe, partial, head_configs(recipe.head), features, progress)
    if partial.accelerator.is_main_process:
        save_features(partial.folder, embeddings)
        save_record(partial.folder, _record(recipe, corpus, best_seed, skipped))


def _make_tokenizer(recipe: Recipe, corpus: Manifest, partial: PartialRun) -> int:
    """Write the encoder's own tokenizer, or one learned from the training texts; return its size.

    A run that reads no text has none.
    """
    if "text" not in recipe.head.reads:
        return 0
    path = partial.folder / _TOKENIZER
    if partial.accelerator.is_main_process and not path.exists():
        temporary = path.with_suffix(".new")
        if recipe.text_encoder.pretrained is not None:
            save_tokenizer(recipe.text_encoder.pretrained, "text_encoder", temporary)
        else:
            texts = [u.text for u in corpus.split("train") if u.text]
            train_tokenizer(texts, recipe.text_encoder.scratch.vocab_size).save(str(temporary))
        replace_synced(temporary, path)
    partial.accelerator.wait_for_everyone()
    tokenizer, _ = read_tokenizer(path)
    return int(tokenizer.get_vocab_size())


def _check_rows(recipe: Recipe, corpus: Manifest, rows: Sequence[PreparedRow]) -> None:
    """Refuse, before hours of training, rows that the recipe's heads cannot be made from."""
    head = recipe.head
    for split in ("val", "train"):
        part = _of_split(rows, corpus.utterances, split)
        counts = {m: sum(row.present[n] for row in part) for n, m in enumerate(MODALITIES)}
        for modality in head.reads:
            if not counts[modality]:
                raise ConfigError(
                    f"{corpus.path}: no utterance in split {split!r} has {modality}; its encoder "
                    f"needs some to train on, or name the other one in head.modalities"
                )
    for row, utterance in zip(rows, corpus.utterances, strict=True):
        for modality, there in zip(MODALITIES, row.present, strict=True):
            if modality in head.reads and not there and not head.modality_dropout:
                raise ConfigError(
                    f"{corpus.path}: {utterance.id} has no {modality}, and head.modality_dropout "
                    f"is 0, so the head would learn from zeros; set it, or drop the utterance"
                )
    check_k(recipe.graph.used_by(head), counts["audio"], counts["text"], spare=1)


def _of_split(
    rows: Sequence[PreparedRow], utterances: Sequence[Utterance], split: Split
) -> list[PreparedRow]:
    return [row for row, u in zip(rows, utterances, strict=True) if u.split == split]


def head_configs(head: HeadConfig) -> dict[str, HeadConfig]:
    """Return the head to export and its controls: what does the graph, what does each modality?"""
    kinds = {FULL: head, "no_gnn": head.model_copy(update={"modules": "no_gnn"})}
    if len(head.reads) > 1:
        for modality in head.reads:
            alone = {"modalities": modality, "modality_dropout": 0.0}
            kinds[f"{modality}_only"] = head.model_copy(update=alone)
    return kinds


def _record(
    recipe: Recipe, corpus: Manifest, best_seed: int, skipped: Sequence[SkippedRow]
) -> RunRecord:
    return RunRecord(
        recipe=recipe,
        manifest=str(corpus.path.resolve()),
        rows=tuple(Row(id=u.id, label=u.label, split=u.split) for u in corpus.utterances),
        heads=head_configs(recipe.head),
        seeds=recipe.head_seeds,
        best_seed=best_seed,
        skipped=tuple(skipped),
        created_utc=datetime.now(timezone.utc).isoformat(timespec="seconds"),
        versions=installed_versions(_PACKAGES),
    )
