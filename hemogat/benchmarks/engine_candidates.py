"""What the base preset is measured in: torch, and every engine and precision that runs here."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import get_args

import torch

from hemogat.benchmarks.base_models import (
    PADDED_TOKENS,
    TOKENS,
    BaseModels,
    calibration_feeds,
    sample_feeds,
)
from hemogat.contract import Engine, Precision
from hemogat.export.openvino_ir import compress_weights, convert
from hemogat.export.packed_head import pack_head
from hemogat.export.quantisation import quantise
from hemogat.runtime.bundle import GraphName
from hemogat.runtime.engine_session import Arrays
from hemogat.runtime.sessions import open_graph

GRAPHS: tuple[GraphName, ...] = get_args(GraphName)
_ENCODERS: tuple[GraphName, ...] = ("audio_encoder", "text_encoder")
Paths = Mapping[GraphName, Path]
Run = Callable[[Arrays], Arrays]


@dataclass(frozen=True)
class Candidate:
    """One way to run the three graphs; ``tokens`` is what its text is padded to.

    ``paths`` is empty for torch.
    """

    name: str
    runs: Mapping[GraphName, Run]
    tokens: int = TOKENS
    paths: Paths | None = None
    engine: Engine | None = None

    @property
    def feeds(self) -> dict[GraphName, Arrays]:
        """Inputs of every graph."""
        return sample_feeds(self.tokens)

    @property
    def size_mib(self) -> float | None:
        """Size of the graphs on disk, external data included; None for torch."""
        if self.paths is None:
            return None
        folders = (path.parent for path in self.paths.values())
        files = (file for folder in folders for file in folder.iterdir())
        return sum(file.stat().st_size for file in files) / 2**20


def torch_candidates(models: BaseModels) -> list[Candidate]:
    """Return torch eager fp32, with the text as it is and padded as the authors train."""

    def embed(module: torch.nn.Module, *names: str, output: str) -> Run:
        @torch.inference_mode()
        def run(feeds: Arrays) -> Arrays:
            found = module(*(torch.from_numpy(feeds[name]) for name in names))
            return {output: found.numpy()}

        return run

    @torch.inference_mode()
    def fuse(feeds: Arrays) -> Arrays:
        names = ("audio_embedding", "text_embedding", "present")
        found = models.head(*(torch.from_numpy(feeds[name]) for name in names))
        return {"probabilities": found.probabilities.numpy()}

    runs: dict[GraphName, Run] = {
        "audio_encoder": embed(models.audio_encoder, "windows", output="audio_embedding"),
        "text_encoder": embed(
            models.text_encoder, "input_ids", "attention_mask", output="text_embedding"
        ),
        "fusion": fuse,
    }
    return [
        Candidate(f"torch eager fp32, {TOKENS} tokens", runs),
        Candidate(f"torch eager fp32, padded to {PADDED_TOKENS}", runs, PADDED_TOKENS),
    ]


def write_engines(
    onnx: Paths, folder: Path, calibration_samples: int
) -> Iterator[tuple[Engine, Precision, dict[GraphName, Path]]]:
    """Write the graphs for every engine and precision but ONNX fp32, which is given."""
    calibration = calibration_feeds(calibration_samples)
    place = folder / "onnx-int8"
    encoders = {g: quantise(onnx[g], place / g, calibration[g]) for g in _ENCODERS}
    yield "onnx", "int8", encoders | {"fusion": pack_head(onnx["fusion"], place / "fusion")}
    for precision in ("fp32", "bf16", "int8"):
        place = folder / f"openvino-{precision}"
        written = {g: convert(onnx[g], place / g, precision, calibration[g]) for g in _ENCODERS}
        if precision == "int8":
            written["fusion"] = compress_weights(onnx["fusion"], place / "fusion")
        else:
            written["fusion"] = convert(onnx["fusion"], place / "fusion", precision)
        yield "openvino", precision, written


def engine_candidate(
    engine: Engine, precision: Precision, paths: Paths, threads: int | None
) -> Candidate:
    """Open the graphs of one engine and precision.

    Raises:
        IncompleteError: the engine is not installed, or the processor lacks the precision.
        BundleError: the engine cannot load a graph.
    """
    runs: dict[GraphName, Run] = {
        graph: open_graph(str(path), engine, threads=threads).run for graph, path in paths.items()
    }
    name = {"onnx": "ONNX Runtime", "openvino": "OpenVINO", "trt": "TensorRT"}[engine]
    return Candidate(f"{name} {precision}", runs, paths=paths, engine=engine)
