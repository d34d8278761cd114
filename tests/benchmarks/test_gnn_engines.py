from __future__ import annotations

from itertools import product
from pathlib import Path

import pytest

from hemogat.benchmarks.gnn import GnnSettings, measure_gnn
from hemogat.benchmarks.gnn_tables import gnn_table
from hemogat.benchmarks.gnn_variants import GNNS, Variant
from hemogat.benchmarks.rounds import RoundSettings
from hemogat.benchmarks.targets import HeadShape
from hemogat.config import GraphConfig, HeadConfig
from hemogat.errors import IncompleteError
from hemogat.runtime.bundle import Dims

ENGINES = ("torch-eager", "onnx-fp32", "onnx-int8", "openvino-fp32", "openvino-int8")


@pytest.mark.slow
def test_every_kind_of_layer_runs_in_every_engine(tmp_path: Path) -> None:
    shapes = [
        HeadShape(
            dims=Dims(audio=16, text=16),
            head=HeadConfig(hidden=16, heads=2, gnn=gnn),
            graph=GraphConfig(k_audio=2, k_text=3),
            bank_rows=20,
        )
        for gnn in GNNS
    ]
    few = RoundSettings(epochs=1, rounds=1, limit_s=0, turn_runs=1, warm_up_limit_s=0.01)
    report = measure_gnn(
        [Variant(shape, None, {}) for shape in shapes],
        GnnSettings(engines=ENGINES, threads=1, rounds=few),
        tmp_path,
    )
    medians = {(f.axes["gnn"], f.target) for f in report.figures if f.metric == "p50"}
    assert medians == set(product(GNNS, ENGINES))
    over = {f.axes["over"] for f in report.figures if f.metric == "speed_up"}
    assert over == {"torch-eager"}
    table = gnn_table(report)
    assert [row[0] for row in table.rows] == list(GNNS)
    assert all(all(row) for row in table.rows)


def test_openvino_is_left_out_on_a_gpu(tmp_path: Path) -> None:
    shape = HeadShape(
        dims=Dims(audio=4, text=4),
        head=HeadConfig(hidden=8, heads=2),
        graph=GraphConfig(k_audio=2, k_text=3),
        bank_rows=20,
    )
    settings = GnnSettings(engines=("openvino-fp32",), device="cuda")
    with pytest.raises(IncompleteError, match="openvino-fp32: it runs on the CPU, not on cuda"):
        measure_gnn([Variant(shape, None, {})], settings, tmp_path)
