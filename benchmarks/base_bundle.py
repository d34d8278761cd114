"""Export a bundle of the base preset, and say how long that takes and how much memory.

    python benchmarks/base_bundle.py --out build/base --result benchmarks/results/export-base.json

wav2vec2-base, BERT-base and the authors' head with random weights (marked so, and therefore
compared but not judged), a bank of 4,407 clustered rows. Audio and texts are the golden cases of
the committed demo bundle, repeated. Each export runs in a process of its own. The bundle is for
load tests too: ``hemogat bench serve build/base/bundle``.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import resource
import time
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import torch

from hemogat.benchmarks.base_models import build_base_models
from hemogat.benchmarks.environment import describe_environment, load_average
from hemogat.config import Recipe
from hemogat.contract import Engine, Precision
from hemogat.data.manifest import Manifest, Split, Utterance, read_manifest, write_manifest
from hemogat.export.export_run import export_run
from hemogat.export_config import ExportConfig
from hemogat.files import folder_written_whole, write_atomic
from hemogat.model.bank import Embeddings
from hemogat.model.encoders import save_encoder
from hemogat.runtime.bundle import Bundle
from hemogat.runtime.golden import read_golden
from hemogat.training.head_names import FULL
from hemogat.training.run_directory import (
    RECORD_FILE,
    Row,
    RunRecord,
    save_features,
    save_head,
    save_record,
)
from hemogat.training.tokenizer_training import train_tokenizer

DEMO = Path(__file__).parents[1] / "export" / "models" / "demo"
TARGETS: tuple[tuple[Engine, Precision], ...] = (("onnx", "fp32"), ("openvino", "int8"))
BANK_ROWS = 4_407
COMPARED_ROWS = 16
CALIBRATION_SAMPLES = 64


def main() -> None:
    """Make the run, export it, write what it took."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--result", type=Path, default=None)
    arguments = parser.parse_args()
    out, before = arguments.out.resolve(), load_average()
    out.mkdir(parents=True, exist_ok=True)
    write_run(out)
    exports = [export_alone(out, *target) for target in TARGETS]
    report = {
        "created_utc": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        "environment": describe_environment().model_dump(mode="json"),
        "load_average_before": before,
        "load_average_after": load_average(),
        "bank_rows": BANK_ROWS,
        "compared_utterances": COMPARED_ROWS,
        "calibration_samples": CALIBRATION_SAMPLES,
        "exports": exports,
        "total_s": round(sum(export["wall_s"] for export in exports), 1),
    }
    print(json.dumps(exports, indent=1))
    if arguments.result is not None:
        write_atomic(arguments.result, json.dumps(report, indent=1) + "\n")


def write_run(out: Path) -> None:
    """Write ``run`` and the manifest of what its exports are compared on."""
    labels = Bundle.open(DEMO).manifest.labels
    recipe = Recipe(name="base", labels=labels, seeds=1)
    corpus = write_corpus(out, labels)
    models = build_base_models(BANK_ROWS)
    with folder_written_whole(out / "run", replace_if_has=RECORD_FILE) as folder:
        texts = [u.text for u in corpus.utterances if u.text is not None]
        tokenizer = train_tokenizer(texts, vocab_size=1000)
        tokenizer.save(str(folder / "tokenizer.json"))
        save_encoder(models.audio_encoder, folder / "audio_encoder")
        save_encoder(models.text_encoder, folder / "text_encoder")
        save_head(folder, FULL, 0, models.head.head)
        save_features(folder, with_test_rows(models.bank.embeddings))
        rows = tuple(Row(id=u.id, label=u.label, split=u.split) for u in corpus.utterances)
        record = RunRecord(
            recipe=recipe,
            manifest=str(corpus.path),
            rows=rows,
            heads={FULL: models.head.head.config},
            seeds=(0,),
            best_seed=0,
            random_weights=True,
            created_utc=datetime.now(timezone.utc).isoformat(timespec="seconds"),
            versions={},
        )
        save_record(folder, record)


def write_corpus(out: Path, labels: tuple[str, ...]) -> Manifest:
    """Write the run's manifest, and that of the few utterances that exports are compared on."""
    cases = read_golden(Bundle.open(DEMO)).cases

    def utterance(number: int, split: Split) -> Utterance:
        case = cases[number % len(cases)]
        audio = None if case.audio is None else DEMO / "golden" / case.audio
        return Utterance(
            id=f"{split}-{number}",
            audio=audio,
            text=case.text,
            label=labels[number % len(labels)],
            speaker=split,
            split=split,
        )

    test = [utterance(number, "test") for number in range(COMPARED_ROWS)]
    train = [utterance(number, "train") for number in range(BANK_ROWS)]
    write_manifest(out / "compared.csv", test)
    write_manifest(out / "manifest.csv", [*train, *test])
    return read_manifest(out / "manifest.csv", labels)


def with_test_rows(bank: Embeddings) -> Embeddings:
    """Return the bank's embeddings and some more for the test split: the first ones again."""
    rows = torch.cat([torch.arange(BANK_ROWS), torch.arange(COMPARED_ROWS)])
    return bank[rows]


def export_alone(out: Path, engine: Engine, precision: Precision) -> dict[str, Any]:
    """Export one target in a fresh process; return its wall time and peak memory."""
    context = multiprocessing.get_context("spawn")
    peak = context.SimpleQueue()
    started = time.perf_counter()
    process = context.Process(target=_export, args=(out, engine, precision, peak))
    process.start()
    process.join()
    if process.exitcode:
        raise SystemExit(process.exitcode)
    return {
        "target": f"{engine}-{precision}",
        "wall_s": round(time.perf_counter() - started, 1),
        "peak_memory_gib": round(peak.get(), 2),
    }


def _export(out: Path, engine: Engine, precision: Precision, peak: Any) -> None:
    config = ExportConfig(
        engine=engine, precision=precision, calibration_utterances=CALIBRATION_SAMPLES
    )
    export_run(out / "run", out / "bundle", config, inputs=out / "compared.csv")
    peak.put(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20)


if __name__ == "__main__":
    main()
