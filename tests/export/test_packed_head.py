from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal
from safetensors.numpy import load_file

from hemogat.config import GraphConfig, HeadConfig
from hemogat.export import packed_head
from hemogat.export.bank_rows import prune
from hemogat.export.export_run import export_run
from hemogat.export.onnx_graphs import export_fusion
from hemogat.export.packed_head import is_worth_packing, pack_head, packed
from hemogat.export.targets import FUSION_FOLDER
from hemogat.export_config import ExportConfig
from hemogat.model.bank import Embeddings, freeze_bank
from hemogat.model.head import FusionHead
from hemogat.runtime.bundle import Bundle
from hemogat.runtime.engine_session import Arrays
from hemogat.runtime.golden import check_golden
from hemogat.runtime.onnx_session import OnnxSession
from hemogat.runtime.pipeline import Pipeline

DIM = 128


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the fp32 fusion graph of a head whose layers are as wide as a block."""
    torch.manual_seed(0)
    head = FusionHead(DIM, DIM, 3, HeadConfig(hidden=DIM, heads=2)).eval()
    present = torch.ones(40, 2, dtype=torch.bool)
    rows = Embeddings(torch.randn(40, DIM), torch.randn(40, DIM), present)
    graph = GraphConfig(k_audio=2, k_text=3)
    folder = tmp_path_factory.mktemp("fp32")
    return export_fusion(head, freeze_bank(head, rows, graph), graph, folder, 20)


def asked(rows: int) -> Arrays:
    random = np.random.default_rng(1)
    embeddings = random.standard_normal((2, rows, DIM), np.float32)
    present = np.ones((rows, 2), np.bool_)
    return {"audio_embedding": embeddings[0], "text_embedding": embeddings[1], "present": present}


def test_a_packed_head_decides_as_the_fp32_one(source: Path, tmp_path: Path) -> None:
    path = pack_head(source, tmp_path / "packed")
    feeds = asked(16)
    expected, session = OnnxSession(str(source)).run(feeds), OnnxSession(str(path))
    found = session.run(feeds)
    for name in ("neighbours", "similarities"):
        assert_array_equal(found[name], expected[name])
    assert_allclose(found["probabilities"], expected["probabilities"], atol=0.02)
    assert not np.array_equal(found["logits"], expected["logits"])
    for row in range(16):
        alone = session.run({name: value[row : row + 1] for name, value in feeds.items()})
        assert_allclose(alone["probabilities"][0], found["probabilities"][row], atol=0.01)

    layers = [Counter(n.op_type for n in onnx.load(p).graph.node) for p in (source, path)]
    assert (layers[0]["Gemm"], layers[1]["Gemm"]) == (layers[1]["MatMulNBits"] + 1, 1)
    assert set(load_file(source.parent / "bank.safetensors")) > {"audio", "text", "present"}
    assert set(load_file(path.parent / "bank.safetensors")) == {
        *("audio_table", "audio_rows", "text_table", "text_rows"),
        *("states_0", "states_1", "states_2"),
    }


@given(st.integers(1, 3), st.floats(0, 1e3), st.integers(0, 99))
def test_codes_are_the_nearest_steps(blocks: int, scale: float, seed: int) -> None:
    weight = np.random.default_rng(seed).standard_normal((4, 128 * blocks)) * scale
    weight[0] = 0
    codes, steps = packed(weight.astype(np.float32))
    restored = (codes.astype(np.float32) - 128) * steps[:, :, None]
    difference = np.abs(restored.reshape(weight.shape) - weight).reshape(4, blocks, 128)
    assert (difference.max(axis=2) <= steps * 0.501 + 1e-6 * scale).all()
    assert codes.min() >= 1


@pytest.mark.usefixtures("quick_graphs")
def test_a_large_head_gets_a_graph_of_its_own(
    tiny_run: Path, tiny_bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fp32 = tiny_bundle / FUSION_FOLDER / "model.onnx"
    assert not is_worth_packing(fp32)
    monkeypatch.setattr(packed_head, "PACKED_FROM_BYTES", 0)
    assert is_worth_packing(fp32)
    config = ExportConfig(precision="int8", calibration_utterances=8)
    exported = Bundle.open(export_run(tiny_run, tmp_path / "bundle", config).bundle)
    assert (exported.path / FUSION_FOLDER / "model.onnx").is_file()
    pruned = prune(exported, 20, tmp_path / "pruned")
    for bundle in (exported, pruned):
        path = bundle.graph_path("fusion", "onnx", "int8")
        assert path.relative_to(bundle.path).as_posix() == "fusion/onnx-int8/model.onnx"
        check_golden(Pipeline(bundle))
    rows = load_file(pruned.path / "fusion" / "onnx-int8" / "bank.safetensors")["audio_rows"]
    assert len(rows) == 20
