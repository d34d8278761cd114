"""The graph and fusion step with its bank outside the graph, beside the one inside."""

from __future__ import annotations

from pathlib import Path

from hemogat.benchmarks.base_models import OPSET
from hemogat.benchmarks.entries import Entry
from hemogat.benchmarks.targets import GatherTarget, HeadShape
from hemogat.contract import Engine, Precision, SearchMode
from hemogat.export.gathered_graphs import export_fusion_gather
from hemogat.export.onnx_files import BANK_FILE
from hemogat.export.openvino_ir import compress_weights
from hemogat.model.bank import Bank
from hemogat.model.head import FusionHead

_MODE: SearchMode = "int8"


def outside_entries(
    head: FusionHead, bank: Bank, shape: HeadShape, fusion: Path, folder: Path
) -> list[Entry]:
    """Write the step for ONNX Runtime fp32 and OpenVINO int8, its bank searched by 8-bit codes.

    Args:
        head: the head.
        bank: its bank.
        shape: their sizes.
        fusion: the ONNX fusion graph, the bank's file beside it.
        folder: where the graphs without a bank are written.

    Raises:
        IncompleteError: OpenVINO, which compresses weights, is not installed.
    """
    gather = export_fusion_gather(head, bank, shape.graph, folder / "gather", OPSET)
    compressed = compress_weights(gather, folder / "gather-int8")

    def entry(engine: Engine, precision: Precision, path: Path) -> Entry:
        target = GatherTarget(
            path=path, bank=fusion.parent / BANK_FILE, mode=_MODE,
            engine=engine, precision=precision, shape=shape,
        )  # fmt: skip
        return Entry(f"{engine}-{precision}, bank searched outside ({_MODE})", target)

    return [entry("onnx", "fp32", gather), entry("openvino", "int8", compressed)]
