"""Emo-DB, speech only: a small wav2vec2 from scratch, then heads with and without a graph.

    python benchmarks/emodb_speech.py --data DIR --work WORK --out FILE.json

``DIR`` holds the FLAC files and manifest.csv (audio, text, label, speaker, split), split by
speaker. Its ten sentences carry no emotion, so texts are left out. ``WORK`` keeps the encoder and
the embeddings, so that a second run trains heads only.
"""

from __future__ import annotations

import argparse
import csv
import json
from pathlib import Path

import torch
from one_modality import embeddings_of, of_split, result, table, with_and_without_labels
from safetensors.torch import load_file, save_file

from hemogat.config import Recipe, load_settings
from hemogat.data.audio import decode_audio
from hemogat.data.manifest import Manifest, Split, Utterance, read_manifest, write_manifest
from hemogat.files import folder_written_whole, write_atomic
from hemogat.model.encoders import build_audio_encoder, save_encoder
from hemogat.progress import Progress
from hemogat.training.encoder_training import train_audio_encoder
from hemogat.training.features import embed_samples
from hemogat.training.preparation import PreparedRow

SPLITS: dict[str, Split] = {"train": "train", "valid": "val", "test": "test"}
EMBEDDINGS, FACTS = "embeddings.safetensors", "facts.json"


def main() -> None:
    """Train the encoder unless that was done before, train heads, evaluate, write the result."""
    parser = argparse.ArgumentParser(description=__doc__)
    for name in ("data", "work", "out"):
        parser.add_argument(f"--{name}", type=Path, required=True)
    arguments = parser.parse_args()
    recipe = load_settings(Recipe, Path(__file__).with_suffix(".yaml"))
    progress = Progress(visible=True)
    arguments.work.mkdir(parents=True, exist_ok=True)
    corpus = make_corpus(arguments.data, arguments.work / "manifest.csv", recipe)
    encoder = arguments.work / "encoder"
    if not (encoder / EMBEDDINGS).is_file():
        train_encoder(recipe, corpus, encoder, progress)
    audio = load_file(encoder / EMBEDDINGS)["audio"]
    embeddings = embeddings_of(audio, None, len(corpus.utterances))
    found = with_and_without_labels(recipe, corpus, embeddings, arguments.work, progress)
    facts = json.loads((encoder / FACTS).read_text())
    write_atomic(arguments.out, json.dumps(result(recipe, corpus, facts, found), indent=1) + "\n")
    print(table(found))


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


def train_encoder(recipe: Recipe, corpus: Manifest, folder: Path, progress: Progress) -> None:
    """Train the audio encoder; write it and every utterance's embedding."""
    torch.manual_seed(recipe.seed)
    encoder = build_audio_encoder(recipe.audio_encoder)
    samples = [decode_audio(u.audio, recipe.audio) for u in corpus.utterances if u.audio]
    numbers = [recipe.labels.index(u.label) for u in corpus.utterances]
    rows = [PreparedRow(s, None, n) for s, n in zip(samples, numbers, strict=True)]
    window_samples = recipe.audio.window_samples
    with folder_written_whole(folder, replace_if_has=EMBEDDINGS) as made:
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
        save_encoder(encoder, made / "audio_encoder")
        save_file({"audio": embed_samples(encoder, samples, window_samples)}, made / EMBEDDINGS)
        facts = {
            "parameters": sum(p.numel() for p in encoder.parameters()),
            "validation_weighted_f1": score,
            "training_s": round(progress.durations_s["Train audio encoder"]),
            "threads": torch.get_num_threads(),
        }
        (made / FACTS).write_text(json.dumps(facts) + "\n")


if __name__ == "__main__":
    main()
