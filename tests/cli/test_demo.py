from __future__ import annotations

import pytest

from hemogat.cli.demo import _print_summary
from hemogat.demo import DemoParity, DemoSummary, DemoTriton


def test_the_table_shows_every_kind_of_figure(capsys: pytest.CaptureFixture[str]) -> None:
    _print_summary(
        DemoSummary(
            utterances={"train": 280, "val": 40, "test": 80},
            accuracy={"inductive": 0.8875, "no_gnn": 0.85},
            parity=DemoParity(utterances=80, flips=0, max_abs_diff=2.5e-7),
            triton=DemoTriton(
                version="2.51.0",
                requests=162,
                flips=1,
                max_abs_diff=3e-6,
                without_text="sad",
                without_audio="happy",
            ),
            latency_ms={"decode": {"p50": 0.8, "p95": 1.25}, "triton_grpc": {"p50": 9, "p95": 12}},
            duration_s={"corpus": 4.2, "train": 120.04},
            paths={"bundle": "build/demo/bundle"},
            versions={},
        )
    )
    lines = [line.split() for line in capsys.readouterr().out.splitlines()]
    for expected in (
        "inductive 88.8",
        "no_gnn 85.0",
        "torch and ONNX 80 2.5e-07 0",
        "ONNX and Triton 2.51.0 162 3.0e-06 1",
        "latency, ms p50 p95",
        "decode 0.80 1.25",
        "triton_grpc 9.00 12.00",
        "train 120.0",
        "utterances 280 train, 40 val, 80 test",
        "bundle build/demo/bundle",
    ):
        assert expected.split() in lines
