"""What was tried to make the encoders faster on the CPU, measured side by side.

    python benchmarks/engine_variants.py build --folder build/variants
    python benchmarks/engine_variants.py measure --folder build/variants --out variants.json

``build`` writes the base preset's encoders (random weights) in every form; ``measure`` loads all
forms of one encoder in one process and lets them take turns, A B C A B C, on one window or one text
of 16 tokens. Slimmed forms need onnxslim (0.1.98 was measured). What gains 3 % end to end and
passes the gate of an export is kept.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timezone
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import onnx
import onnxruntime
import torch

from hemogat.benchmarks.base_models import (
    OPSET,
    build_base_models,
    calibration_feeds,
    sample_feeds,
)
from hemogat.benchmarks.environment import describe_environment, load_average
from hemogat.benchmarks.statistics import summarise
from hemogat.contract import AUDIO_ENCODER, WINDOW_SAMPLES
from hemogat.export.folding import fold_weight_norm, leave_mask_out
from hemogat.export.onnx_files import MODEL_FILE, WEIGHTS_FILE
from hemogat.export.onnx_graphs import export_audio_encoder, export_text_encoder, save, to_onnx
from hemogat.export.openvino_ir import IR_FILE, convert
from hemogat.export.quantisation import quantise
from hemogat.files import write_atomic
from hemogat.runtime.bundle import GraphName
from hemogat.runtime.engine_session import Arrays
from hemogat.runtime.onnx_session import session_options
from hemogat.runtime.sessions import open_graph

CALIBRATION_SAMPLES = 8
WARM_UP = 3
PAUSE_S = 0.02
ENCODERS: tuple[GraphName, ...] = ("audio_encoder", "text_encoder")
SPINNING = "session.intra_op.allow_spinning"
# Beside the settings of OnnxSession, whose threads do not spin.
SETTINGS: Mapping[str, Mapping[str, str]] = {
    "spinning for 50 us": {SPINNING: "1", "session.intra_op.spin_duration_us": "50"},
    "spinning until the run ends": {SPINNING: "1", "session.force_spinning_stop": "1"},
    "dynamic blocks": {"session.dynamic_block_base": "4"},
    "denormals as zero": {"session.set_denormal_as_zero": "1"},
}


@dataclass(frozen=True)
class Variant:
    """One form of a graph and, for ONNX Runtime, settings that differ from ours."""

    name: str
    path: Path
    settings: Mapping[str, str] = field(default_factory=dict)

    def run(self, feeds: Arrays, threads: int) -> Any:
        """Return what runs it on ``feeds``."""
        if self.path.name == IR_FILE:
            session = open_graph(str(self.path), "openvino", threads=threads)
            return lambda: session.run(feeds)
        options = session_options(onnxruntime, threads)
        for name, value in self.settings.items():
            options.add_session_config_entry(name, value)
        opened = onnxruntime.InferenceSession(
            str(self.path), options, providers=["CPUExecutionProvider"]
        )
        return lambda: opened.run(None, feeds)


def main() -> None:
    """Build or measure."""
    parser = argparse.ArgumentParser()
    parser.add_argument("step", choices=("build", "measure"))
    parser.add_argument("--folder", type=Path, required=True)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--out", type=Path, default=None)
    arguments = parser.parse_args()
    if arguments.step == "build":
        build(arguments.folder)
        return
    before, found = load_average(), []
    for graph in ENCODERS:
        for row in measure(graph, arguments.folder / graph, arguments.threads, arguments.rounds):
            print(row, flush=True)
            found.append(row)
    report = {
        "created_utc": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        "environment": describe_environment().model_dump(mode="json"),
        "load_average_before": before,
        "load_average_after": load_average(),
        "threads": arguments.threads,
        "rounds": arguments.rounds,
        "variants": found,
    }
    if arguments.out is not None:
        write_atomic(arguments.out, json.dumps(report, indent=1) + "\n")


def build(folder: Path) -> None:
    """Write every form of both encoders: as exported, before flat convolutions, slimmed."""
    models, calibration = build_base_models(bank_rows=64), calibration_feeds(CALIBRATION_SAMPLES)
    audio, text = (folder / graph for graph in ENCODERS)
    plain = leave_mask_out(fold_weight_norm(models.audio_encoder))
    samples = (torch.randn(2, WINDOW_SAMPLES),)
    save(to_onnx(plain, AUDIO_ENCODER, samples, OPSET), AUDIO_ENCODER, audio / "1-d/fp32")
    export_audio_encoder(models.audio_encoder, audio / "exported/fp32", OPSET)
    export_text_encoder(models.text_encoder, text / "exported/fp32", OPSET)
    for place in (audio / "1-d", audio / "exported", text / "exported"):
        feeds = calibration[ENCODERS[place.parent == text]]
        source = place / "fp32" / MODEL_FILE
        quantise(source, place / "int8", feeds)
        convert(source, place / "openvino-fp32", "fp32")
        convert(source, place / "openvino-int8", "int8", feeds)
    for place in (audio, text):
        slim(place / "exported/fp32" / MODEL_FILE, place / "slimmed/fp32" / MODEL_FILE)


def slim(source: Path, target: Path) -> None:
    """Write what onnxslim makes of a graph, where that is installed."""
    if find_spec("onnxslim") is None:
        return
    target.parent.mkdir(parents=True, exist_ok=True)
    model = import_module("onnxslim").slim(onnx.load(source))
    onnx.save(model, target, save_as_external_data=True, location=WEIGHTS_FILE)


def variants(folder: Path) -> Iterator[Variant]:
    """Return the forms that were built, and ours under other settings."""
    for path in sorted((*folder.glob(f"*/*/{MODEL_FILE}"), *folder.glob(f"*/*/{IR_FILE}"))):
        yield Variant(f"{path.parts[-3]} {path.parts[-2]}", path)
    for name, settings in SETTINGS.items():
        for precision in ("fp32", "int8"):
            path = folder / "exported" / precision / MODEL_FILE
            yield Variant(f"exported {precision}, {name}", path, settings)


def measure(graph: GraphName, folder: Path, threads: int, rounds: int) -> Sequence[dict[str, Any]]:
    """Time all forms of one encoder in turns."""
    feeds = sample_feeds()[graph]
    tried = list(variants(folder))
    runs = [variant.run(feeds, threads) for variant in tried]
    times_ms: list[list[float]] = [[] for _ in tried]
    for number in range(WARM_UP + rounds):
        for run, collected in zip(runs, times_ms, strict=True):
            run()  # brings back what the others took from the caches
            started = time.perf_counter()
            run()
            if number >= WARM_UP:
                collected.append(1e3 * (time.perf_counter() - started))
            time.sleep(PAUSE_S)
    return [
        {
            "graph": graph,
            "variant": variant.name,
            "nodes": nodes(variant.path),
            **summarise(collected).model_dump(mode="json"),
        }
        for variant, collected in zip(tried, times_ms, strict=True)
    ]


def nodes(path: Path) -> int | None:
    """Return how many nodes an ONNX graph has."""
    if path.name == IR_FILE:
        return None
    return len(onnx.load(path, load_external_data=False).graph.node)


if __name__ == "__main__":
    main()
