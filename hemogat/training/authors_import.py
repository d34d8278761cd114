"""The authors' checkpoints as run directories, from feature files or with their encoders."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import NamedTuple

import torch

from hemogat.config import GraphConfig, Recipe, TextConfig, parse_settings
from hemogat.data.manifest import Manifest, Split, read_manifest
from hemogat.errors import InputError
from hemogat.files import folder_written_whole
from hemogat.model.bank import Embeddings
from hemogat.model.topk_graph import check_k
from hemogat.progress import Progress
from hemogat.training.authors_checkpoint import Checkpoint, read_checkpoint
from hemogat.training.authors_encoders import EncoderSources, embed_with_encoders
from hemogat.training.authors_features import read_authors_features
from hemogat.training.evaluation import evaluate_run
from hemogat.training.evaluation_record import Evaluation
from hemogat.training.head_names import FULL
from hemogat.training.run_directory import (
    RECORD_FILE,
    Features,
    Row,
    RunDirectory,
    RunRecord,
    save_features,
    save_head,
    save_record,
)
from hemogat.versions import installed_versions

_PACKAGES = ("hemogat", "torch", "torch-geometric", "transformers", "numpy")


@dataclass(frozen=True)
class ImportReport:
    """What an import made, and how well it does on the test split.

    ``outgoing``: as the authors measure, one graph over the split, messages from a node to its
    neighbours; on their feature file if one was given. ``incoming``: measured again as the run
    will be used, if it was imported so.
    """

    run: RunDirectory
    outgoing: Evaluation
    incoming: Evaluation | None


class _Rows(NamedTuple):
    """The utterances of the run that is being made."""

    rows: tuple[Row, ...]
    embeddings: Embeddings


def import_checkpoint(
    checkpoint: Path,
    splits: Mapping[Split, Path],
    labels: Sequence[str],
    graph: GraphConfig,
    out: Path,
    encoders: EncoderSources | None = None,
    progress: Progress | None = None,
) -> ImportReport:
    """Make a run directory from a checkpoint; measure it on the test split.

    Without ``encoders`` the run's embeddings are those of the feature files, and it has no
    encoders and no manifest: it can be evaluated, not exported. With them, the embeddings are
    made anew from the manifest's utterances, the way serving will make those of its queries, and
    an incoming run can be exported; of the feature files only ``test`` is read, for what
    ``outgoing`` reports. The run has one head; of its recipe only the name, the labels, audio and
    text, the encoders, the graph and the head mean something. Writes ``out`` whole or not at all;
    a run that stands there is replaced.

    Args:
        checkpoint: the state dict that ``torch.save`` wrote.
        splits: the feature file of each split; without ``encoders``, ``train`` and ``test`` are
            needed; with them, only ``test`` may be given.
        labels: their names, in the order of the label numbers.
        graph: neighbours, and which way messages flow from now on.
        out: the run directory.
        encoders: what made the features; None leaves the run without.
        progress: where to show the work of the encoders.

    Raises:
        InputError: a file is missing or one too many, cannot be used or does not fit the others,
            or ``out`` is something else.
        ConfigError: an encoder cannot be read, k is larger than a split allows, or a size is out
            of range.
    """
    _check_sources(splits, encoders)
    made = read_checkpoint(checkpoint)
    if len(labels) != made.labels:
        raise InputError(
            f"{checkpoint}: tells {made.labels} labels apart (mlp.4.weight), but {len(labels)} "
            f"names were given: {', '.join(labels)}"
        )
    recipe = _recipe(checkpoint, labels, graph, made, encoders)
    published = _read_splits(splits, made, graph)
    corpus = None if encoders is None else _read_corpus(encoders.manifest, recipe)
    with folder_written_whole(out, replace_if_has=RECORD_FILE) as folder:
        if corpus is None:
            given = _published_rows(published, recipe)
        else:
            rows = tuple(Row(id=u.id, label=u.label, split=u.split) for u in corpus.utterances)
            shown = progress or Progress()
            given = _Rows(rows, embed_with_encoders(recipe, corpus, made, folder, shown))
        save_head(folder, FULL, recipe.seed, made.head)
        save_features(folder, given.embeddings)
        save_record(folder, _record(recipe, corpus, given.rows))
    run = RunDirectory.open(out)
    incoming = evaluate_run(run) if graph.direction == "incoming" else None
    outgoing = evaluate_run(run, direction="outgoing", features=published.get("test"))
    return ImportReport(run, outgoing, incoming)


def _check_sources(splits: Mapping[Split, Path], encoders: EncoderSources | None) -> None:
    if encoders is None:
        missing = [f"--{split}" for split in ("train", "test") if split not in splits]
        if missing:
            raise InputError(
                f"{' and '.join(missing)} missing: expected the feature files of the training "
                f"and the test split, or --audio-encoder, --text-encoder and --manifest"
            )
        return
    unused = [f"--{split}" for split in splits if split != "test"]
    if unused:
        raise InputError(
            f"{' and '.join(unused)}: with encoders the embeddings are made anew from "
            f"{encoders.manifest}, and of the feature files only --test is read; leave it out"
        )


def _recipe(
    checkpoint: Path,
    labels: Sequence[str],
    graph: GraphConfig,
    made: Checkpoint,
    encoders: EncoderSources | None,
) -> Recipe:
    name = re.sub(r"[^A-Za-z0-9._-]+", "-", checkpoint.stem).lstrip("._-") or "imported"
    raw: dict[str, object] = {
        "name": name,
        "labels": tuple(labels),
        "seeds": 1,
        "text": TextConfig(pooling="pooler"),
        "graph": graph,
        "head": made.head.config,
    }
    if encoders is not None:
        raw["audio_encoder"] = {"pretrained": encoders.audio_encoder}
        raw["text_encoder"] = {"pretrained": encoders.text_encoder}
    return parse_settings(Recipe, raw, source="--labels")


def _read_splits(
    splits: Mapping[Split, Path], made: Checkpoint, graph: GraphConfig
) -> dict[Split, Features]:
    features = {
        split: read_authors_features(
            path, audio_dim=made.audio_dim, text_dim=made.text_dim, labels=made.labels
        )
        for split, path in splits.items()
    }
    for split, part in features.items():
        if split != "val":  # the bank, and what is evaluated at once
            check_k(graph, len(part.labels), len(part.labels), spare=1)
    return features


def _read_corpus(manifest: Path, recipe: Recipe) -> Manifest:
    corpus = read_manifest(manifest, recipe.labels)
    for split in ("train", "test"):
        count = len(corpus.split(split))
        if not count:
            raise InputError(
                f"{manifest}: has no utterances in split {split!r}; the bank is made of train, "
                f"and the accuracy is measured on test"
            )
        check_k(recipe.graph, count, count, spare=1)
    return corpus


def _published_rows(features: Mapping[Split, Features], recipe: Recipe) -> _Rows:
    parts = [part.embeddings for part in features.values()]
    rows = tuple(
        Row(id=f"{split}-{number:05}", label=recipe.labels[label], split=split)
        for split, part in features.items()
        for number, label in enumerate(part.labels.tolist())
    )
    return _Rows(
        rows,
        Embeddings(
            torch.cat([part.audio for part in parts]),
            torch.cat([part.text for part in parts]),
            torch.cat([part.present for part in parts]),
        ),
    )


def _record(recipe: Recipe, corpus: Manifest | None, rows: tuple[Row, ...]) -> RunRecord:
    return RunRecord(
        recipe=recipe,
        manifest=None if corpus is None else str(corpus.path.resolve()),
        rows=rows,
        heads={FULL: recipe.head},
        seeds=recipe.head_seeds,
        best_seed=recipe.seed,
        created_utc=datetime.now(timezone.utc).isoformat(timespec="seconds"),
        versions=installed_versions(_PACKAGES),
    )
