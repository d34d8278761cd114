"""The graph and fusion step with its bank outside the graph, beside the one inside."""

from __future__ import annotations

from pathlib import Path

from hemogat.benchmarks.base_models import OPSET, BaseModels
from hemogat.benchmarks.engine_candidates import Candidate
from hemogat.config import GraphConfig
from hemogat.contract import Engine, SearchMode
from hemogat.export.gathered_graphs import export_fusion_gather
from hemogat.export.onnx_files import BANK_FILE
from hemogat.export.openvino_ir import compress_weights
from hemogat.runtime.bank_search import BankSearch, gather_states
from hemogat.runtime.bank_tensors import map_tensors
from hemogat.runtime.engine_session import Arrays, EngineSession
from hemogat.runtime.sessions import open_graph

_MODE: SearchMode = "int8"


def outside_candidates(
    models: BaseModels, fusion: Path, folder: Path, threads: int | None
) -> list[Candidate]:
    """Return the step in ONNX Runtime fp32 and OpenVINO int8, its bank searched by 8-bit codes.

    Args:
        models: the head and its bank.
        fusion: the ONNX fusion graph, the bank's file beside it.
        folder: where the graphs without a bank are written.
        threads: of the graph; the search runs on one.

    Raises:
        IncompleteError: faiss, which searches codes, is not installed.
    """
    tensors = map_tensors(fusion.parent / BANK_FILE)
    search = BankSearch(tensors, GraphConfig(), mode=_MODE)
    layers = range(models.head.head.config.num_layers)
    gather = export_fusion_gather(
        models.head.head, models.bank, GraphConfig(), folder / "gather", OPSET
    )
    compressed = compress_weights(gather, folder / "gather-int8")

    def candidate(name: str, engine: Engine, path: Path) -> Candidate:
        graph: EngineSession = open_graph(str(path), engine, threads=threads)

        def run(feeds: Arrays) -> Arrays:
            asked = (feeds[n] for n in ("audio_embedding", "text_embedding", "present"))
            found = search(*asked)
            return graph.run({**feeds, **gather_states(tensors, layers, found.index)})

        return Candidate(f"{name}, bank searched outside the graph ({_MODE})", {"fusion": run})

    return [
        candidate("ONNX Runtime fp32", "onnx", gather),
        candidate("OpenVINO int8", "openvino", compressed),
    ]
