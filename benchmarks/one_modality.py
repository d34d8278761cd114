"""What the benchmarks of a single modality share: heads over seeds, with a graph and without.

``WORK`` keeps the encoder and the embeddings, so that a second run trains heads only. The
differences between heads, paired by seed, are computed anew in results that are there by

    python benchmarks/one_modality.py FILE.json ...
"""

from __future__ import annotations

import argparse
import json
import shutil
import sys
from collections.abc import Callable, Sequence
from datetime import datetime, timezone
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from hemogat.benchmarks.environment import describe_environment
from hemogat.config import Recipe, load_settings
from hemogat.contract import MODALITIES, Modality
from hemogat.data.manifest import Manifest, Split
from hemogat.files import folder_written_whole, write_atomic
from hemogat.model.bank import Embeddings
from hemogat.progress import Progress
from hemogat.training.evaluation import evaluate_run
from hemogat.training.evaluation_record import CONTROL, Evaluation
from hemogat.training.features import NOT_READ_DIM
from hemogat.training.head_names import FULL
from hemogat.training.head_training import HeadGraphs, train_head
from hemogat.training.intervals import Estimate, estimate
from hemogat.training.metrics import Figure
from hemogat.training.preparation import PreparedRow
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

PACKAGES = ("hemogat", "torch", "transformers", "numpy")
ENCODER, EMBEDDINGS, FACTS = "encoder", "embeddings.safetensors", "facts.json"
TOKENIZER = "tokenizer.json"

PLAIN, LABELLED = "plain_messages", "labels_in_messages"
COMPARED: tuple[Figure, ...] = ("weighted_f1", "accuracy", "unweighted_accuracy")
_Row = tuple[str, str, str]  # messages, head, graph
_BANK, _SELF_LOOP, _NO_GNN = (
    (PLAIN, FULL, "inductive"),
    (PLAIN, FULL, "self_loop"),
    (PLAIN, CONTROL, "inductive"),
)
# What changes if the graph layers, the neighbours, and the labels in the messages are added.
PAIRS: dict[str, tuple[_Row, _Row]] = {
    "bank minus no_gnn": (_BANK, _NO_GNN),
    "self_loop minus no_gnn": (_SELF_LOOP, _NO_GNN),
    "bank minus self_loop": (_BANK, _SELF_LOOP),
    "bank minus transductive": (_BANK, (PLAIN, FULL, "transductive")),
    "bank with labels minus bank": ((LABELLED, FULL, "inductive"), _BANK),
}

MakeCorpus = Callable[[Path, Path, Recipe], Manifest]  # from the data, written to the second path
# Trains the encoder, stores it in the folder, returns every utterance's embedding and facts.
TrainEncoder = Callable[[Recipe, Manifest, Path, Progress], tuple[Tensor, dict[str, object]]]


def run(
    script: str,
    make_corpus: MakeCorpus,
    train_encoder: TrainEncoder,
    arguments: Sequence[str] | None = None,
) -> None:
    """Train the encoder unless that was done before, train heads, evaluate, write the result."""
    parser = argparse.ArgumentParser(prog=f"python benchmarks/{Path(script).name}")
    for name in ("data", "work", "out"):
        parser.add_argument(f"--{name}", type=Path, required=True)
    parser.add_argument("--recipe", type=Path, default=Path(script).with_suffix(".yaml"))
    given = parser.parse_args(arguments)
    recipe = load_settings(Recipe, given.recipe)
    (modality,) = recipe.head.reads
    progress = Progress(visible=True)
    given.work.mkdir(parents=True, exist_ok=True)
    corpus = make_corpus(given.data, given.work / "manifest.csv", recipe)
    encoder = given.work / ENCODER
    if not (encoder / EMBEDDINGS).is_file():
        with folder_written_whole(encoder, replace_if_has=EMBEDDINGS) as made:
            embedded, found = train_encoder(recipe, corpus, made, progress)
            found |= {"threads": torch.get_num_threads()}
            save_file({modality: embedded}, made / EMBEDDINGS)
            (made / FACTS).write_text(json.dumps(found) + "\n")
    embeddings = embeddings_of(modality, load_file(encoder / EMBEDDINGS)[modality])
    evaluations = with_and_without_labels(recipe, corpus, embeddings, given.work, progress)
    facts = json.loads((encoder / FACTS).read_text())
    report = result(Path(script).name, recipe, corpus, facts, evaluations)
    write_atomic(given.out, json.dumps(report, indent=1) + "\n")
    print(table(evaluations))
    print(pairs_table(paired_differences(evaluations)))


def embeddings_of(modality: Modality, embedded: Tensor) -> Embeddings:
    """Return embeddings of which one modality is there; the other is one zero per row, absent."""
    nothing = torch.zeros(len(embedded), NOT_READ_DIM)
    audio, text = (embedded if m == modality else nothing for m in MODALITIES)
    present = torch.tensor([m == modality for m in MODALITIES]).repeat(len(embedded), 1)
    return Embeddings(audio, text, present)


def train_heads(
    recipe: Recipe,
    corpus: Manifest,
    embeddings: Embeddings,
    encoder: Path,
    out: Path,
    progress: Progress,
) -> RunDirectory:
    """Train the recipe's head and the one without a graph with every seed; write them as a run.

    ``encoder``: a folder with the encoder that the embeddings are from, which goes into the run.
    """
    numbers = {label: number for number, label in enumerate(recipe.labels)}

    def features(split: Split) -> Features:
        rows = [i for i, u in enumerate(corpus.utterances) if u.split == split]
        labels = [numbers[corpus.utterances[i].label] for i in rows]
        return Features(embeddings[torch.tensor(rows)], torch.tensor(labels))

    train, validation = features("train"), features("val")
    graphs = HeadGraphs(train, validation)
    kinds = {FULL: recipe.head, "no_gnn": recipe.head.model_copy(update={"modules": "no_gnn"})}
    scores = {}
    with folder_written_whole(out, replace_if_has=RECORD_FILE) as folder:
        for name, head in kinds.items():
            for seed in recipe.head_seeds:
                torch.manual_seed(seed)
                trained = train_head(
                    f"{name}, seed {seed}",
                    train,
                    validation,
                    len(recipe.labels),
                    head,
                    recipe.graph,
                    recipe.head_training,
                    progress,
                    graphs=graphs,
                )
                save_head(folder, name, seed, trained.head, trained.validation_f1)
                scores[name, seed] = trained.validation_f1
        save_features(folder, embeddings)
        copy_encoder(recipe, encoder, folder)
        record = RunRecord(
            recipe=recipe,
            manifest=str(corpus.path.resolve()),
            rows=tuple(Row(id=u.id, label=u.label, split=u.split) for u in corpus.utterances),
            heads=kinds,
            seeds=recipe.head_seeds,
            best_seed=max(recipe.head_seeds, key=lambda seed: scores[FULL, seed]),
            created_utc=datetime.now(timezone.utc).isoformat(timespec="seconds"),
            versions=installed_versions(PACKAGES),
        )
        save_record(folder, record)
    return RunDirectory.open(out)


def copy_encoder(recipe: Recipe, encoder: Path, run: Path) -> None:
    """Copy the encoder, and its tokenizer if it has one, into a run that is being made."""
    (modality,) = recipe.head.reads
    name = f"{modality}_encoder"
    shutil.copytree(encoder / name, run / name)
    if (encoder / TOKENIZER).is_file():
        shutil.copy2(encoder / TOKENIZER, run / TOKENIZER)


def with_and_without_labels(
    recipe: Recipe, corpus: Manifest, embeddings: Embeddings, work: Path, progress: Progress
) -> dict[str, Evaluation]:
    """Evaluate heads on the test split, with messages that carry labels and with plain ones."""
    found = {}
    for name, labels in ((PLAIN, False), (LABELLED, True)):
        graph = recipe.graph.model_copy(update={"labels": labels})
        chosen = recipe.model_copy(update={"graph": graph})
        run = train_heads(chosen, corpus, embeddings, work / ENCODER, work / name, progress)
        found[name] = evaluate_run(run)
    return found


def of_split(rows: Sequence[PreparedRow], corpus: Manifest, split: Split) -> list[PreparedRow]:
    """Return the rows of one split."""
    return [row for row, u in zip(rows, corpus.utterances, strict=True) if u.split == split]


def table(evaluations: dict[str, Evaluation]) -> str:
    """Return a Markdown table, per cent: mean and standard deviation over seeds."""
    lines = ["| messages | graph | weighted F1 | accuracy (WA) | UA |", "|---|---|---|---|---|"]
    for name, evaluation in evaluations.items():
        for kind, row in (evaluation.graphs | evaluation.controls).items():
            cells = [
                f"{100 * row.figures[figure].mean:.2f} ± {100 * (row.figures[figure].std or 0):.2f}"
                for figure in ("weighted_f1", "accuracy", "unweighted_accuracy")
            ]
            lines.append(f"| {name.replace('_', ' ')} | {kind} | {' | '.join(cells)} |")
    return "\n".join(lines)


def paired_differences(evaluations: dict[str, Evaluation]) -> dict[str, dict[Figure, Estimate]]:
    """Return the difference of each pair of rows, seed by seed, with its interval."""
    found = {
        (messages, row.head, row.graph): row.figures
        for messages, evaluation in evaluations.items()
        for row in evaluation.rows
    }
    best = {name: e.seeds.index(e.best_seed) for name, e in evaluations.items()}
    return {
        name: {
            figure: estimate(
                [
                    a - b
                    for a, b in zip(
                        found[one][figure].values, found[other][figure].values, strict=True
                    )
                ],
                best[one[0]],
            )
            for figure in COMPARED
        }
        for name, (one, other) in PAIRS.items()
    }


def pairs_table(pairs: dict[str, dict[Figure, Estimate]]) -> str:
    """Return a Markdown table, points: mean and 95 % t-interval of the paired differences."""
    lines = ["| paired by seed | weighted F1 | accuracy (WA) | UA |", "|---|---|---|---|"]
    for name, figures in pairs.items():
        cells = [figures[figure].points(2) for figure in COMPARED]
        lines.append(f"| {name} | {' | '.join(cells)} |")
    return "\n".join(lines)


def recompute(path: Path) -> str:
    """Write the paired differences of a result into it, from its own figures; return them."""
    report = json.loads(path.read_text(encoding="utf-8"))
    evaluations = {
        name: Evaluation.model_validate(found) for name, found in report["evaluation"].items()
    }
    pairs = paired_differences(evaluations)
    write_atomic(path, json.dumps(report | _as_json(pairs), indent=1) + "\n")
    return pairs_table(pairs)


def _as_json(pairs: dict[str, dict[Figure, Estimate]]) -> dict[str, object]:
    return {
        "paired": {
            name: {figure: found.model_dump(mode="json") for figure, found in figures.items()}
            for name, figures in pairs.items()
        }
    }


def result(
    script: str,
    recipe: Recipe,
    corpus: Manifest,
    encoder: dict[str, object],
    evaluations: dict[str, Evaluation],
) -> dict[str, object]:
    """Return everything a reader needs to judge or repeat the measurement."""
    return {
        "command": f"python benchmarks/{script} --data DIR --work WORK --out FILE",
        "created_utc": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        "environment": describe_environment().model_dump(mode="json"),
        "versions": installed_versions(PACKAGES),
        "threads": torch.get_num_threads(),
        "utterances": corpus.counts(),
        "recipe": recipe.model_dump(mode="json"),
        "encoder": encoder,
        "evaluation": {name: e.model_dump(mode="json") for name, e in evaluations.items()},
        **_as_json(paired_differences(evaluations)),
    }


if __name__ == "__main__":
    for name in sys.argv[1:]:
        print(recompute(Path(name)))
