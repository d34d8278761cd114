"""Emo-DB, speech only: a small wav2vec2 from scratch, then heads with and without a graph.

    python benchmarks/emodb_speech.py --data DIR --work WORK --out FILE.json

``DIR`` holds the FLAC files and manifest.csv (audio, text, label, speaker, split), split by
speaker. Its ten sentences carry no emotion, so texts are left out.
"""

from __future__ import annotations

import csv
from collections.abc import Sequence
from pathlib import Path

import torch
from one_modality import of_split, run
from torch import Tensor

from hemogat.config import Recipe
from hemogat.data.manifest import Manifest, Split, Utterance, read_manifest, write_manifest
from hemogat.model.encoders import build_audio_encoder, save_encoder
from hemogat.progress import Progress
from hemogat.training.encoder_training import train_audio_encoder
from hemogat.training.features import embed_samples
from hemogat.training.preparation import prepare_rows

SPLITS: dict[str, Split] = {"train": "train", "valid": "val", "test": "test"}


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure and write the result."""
    run(__file__, make_corpus, train_encoder, arguments)


def make_corpus(data: Path, path: Path, recipe: Recipe) -> Manifest:
    """Write the corpus as a manifest without texts and read it."""
    with (data / "manifest.csv").open(encoding="utf-8", newline="") as file:
        utterances = [
            Utterance(
                row["audio"],
                (data / row["audio"]).resolve(),
                None,
                row["label"],
                row["speaker"],
                SPLITS[row["split"]],
            )
            for row in csv.DictReader(file)
        ]
    write_manifest(path, utterances)
    return read_manifest(path, recipe.labels)


def train_encoder(
    recipe: Recipe, corpus: Manifest, folder: Path, progress: Progress
) -> tuple[Tensor, dict[str, object]]:
    """Train the audio encoder and write it; return every utterance's embedding."""
    torch.manual_seed(recipe.seed)
    encoder = build_audio_encoder(recipe.audio_encoder)
    rows = prepare_rows(corpus.utterances, recipe, folder / "no-tokenizer", progress)
    window_samples = recipe.audio.window_samples
    score = train_audio_encoder(
        encoder,
        of_split(rows, corpus, "train"),
        of_split(rows, corpus, "val"),
        len(recipe.labels),
        recipe.audio_training,
        window_samples,
        progress,
        augmentation=recipe.audio_augmentation,
    )
    save_encoder(encoder, folder / "audio_encoder")
    samples = [row.samples for row in rows if row.samples is not None]
    return embed_samples(encoder, samples, window_samples), {
        "parameters": sum(p.numel() for p in encoder.parameters()),
        "validation_weighted_f1": score,
        "training_s": round(progress.durations_s["Train audio encoder"]),
    }


if __name__ == "__main__":
    main()
