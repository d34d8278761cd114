"""The search by 8-bit codes inside the graph against the one in fp32: the same neighbours."""

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal
from numpy.typing import NDArray
from onnx import TensorProto, helper

from hemogat.config import GraphConfig
from hemogat.contract import FUNCTION_DOMAIN, MODALITIES, TOPK_FUNCTION
from hemogat.export import coded_search
from hemogat.export.graph_step import topk_function
from hemogat.export.onnx_files import BANK_PREFIX, save_graph, write_bank
from hemogat.export.packed_head import pack_head
from hemogat.runtime.bank_search import normalise
from hemogat.runtime.engine_session import Arrays
from hemogat.runtime.onnx_session import OnnxSession

DIM, OPSET = 128, 20
TABLES = ("audio_table", "audio_rows", "text_table", "text_rows")
Floats = NDArray[np.float32]


@pytest.fixture(autouse=True)
def every_table_is_large(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(coded_search, "CODED_FROM_BYTES", 0)


def write_step(bank: Arrays, graph: GraphConfig, folder: Path) -> Path:
    """Write a graph of the graph step alone, with its bank."""
    rows = {m: np.flatnonzero(bank["present"][:, n]) for n, m in enumerate(MODALITIES)}
    tensors = dict(bank)
    for modality in MODALITIES:
        table = normalise(bank[modality][rows[modality]]).T
        tensors |= {f"{modality}_rows": rows[modality], f"{modality}_table": table}
    dim = bank["audio"].shape[1]
    given = {"audio": (TensorProto.FLOAT, dim), "text": (TensorProto.FLOAT, dim)}
    call = helper.make_node(
        TOPK_FUNCTION,
        [*given, "present", *(f"{BANK_PREFIX}{name}" for name in TABLES)],
        ["neighbours", "similarities"],
        domain=FUNCTION_DOMAIN,
        k_audio=[graph.k_audio],
        k_text=[graph.k_text],
    )
    made = helper.make_graph(
        [call],
        "step",
        [
            *(helper.make_tensor_value_info(n, t, ["b", d]) for n, (t, d) in given.items()),
            helper.make_tensor_value_info("present", TensorProto.BOOL, ["b", 2]),
        ],
        [
            helper.make_tensor_value_info(n, t, ["b", graph.slots])
            for n, t in (("neighbours", TensorProto.INT64), ("similarities", TensorProto.FLOAT))
        ],
        [onnx.numpy_helper.from_array(tensors[n], f"{BANK_PREFIX}{n}") for n in TABLES],
    )
    model = ir.from_proto(
        helper.make_model(
            made,
            functions=[ir.to_proto(topk_function(graph, OPSET))],
            opset_imports=[helper.make_opsetid("", OPSET), helper.make_opsetid(FUNCTION_DOMAIN, 1)],
            ir_version=10,
        )
    )
    write_bank(model, tensors, folder)
    return save_graph(model, folder)


def compare(bank: Arrays, graph: GraphConfig, queries: Floats, present: NDArray[np.bool_]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        source = write_step(bank, graph, Path(folder) / "fp32")
        feeds = {"audio": queries, "text": queries[::-1].copy(), "present": present}
        expected = OnnxSession(str(source)).run(feeds)
        found = OnnxSession(str(pack_head(source, Path(folder) / "coded"))).run(feeds)
    assert_array_equal(found["neighbours"], expected["neighbours"])
    assert_allclose(found["similarities"], expected["similarities"], atol=1e-6)


def told_apart(rows: Floats, queries: Floats, k: int) -> bool:
    """Say whether fp32 settles the order of the k nearest, in whatever order it sums.

    It does where cosines differ by more than sums are rounded by, or not at all: of equal ones
    the lower row comes first.
    """
    units = [
        x / np.maximum(np.linalg.norm(x, axis=1, keepdims=True), 1e-30)
        for x in (queries.astype(np.float64), rows.astype(np.float64))
    ]
    cosines = -np.sort(-(units[0] @ units[1].T))[:, : k + 1]
    gaps = -np.diff(cosines)
    return not ((gaps > 1e-12) & (gaps < 1e-6)).any()


@given(st.integers(1, 400), st.integers(1, 40), st.integers(0, 2**32 - 1), st.data())
@settings(max_examples=25, deadline=None)
def test_neighbours_are_those_of_fp32(
    rows: int, clusters: int, seed: int, data: st.DataObject
) -> None:
    """Clusters, rows that are equal or zero, and banks of fewer rows than candidates."""
    random = np.random.default_rng(seed)
    centres = random.standard_normal((clusters, DIM))
    spread = data.draw(st.sampled_from([0.0, 0.3, 0.5, 1.0]))  # 0: all of a cluster are equal
    scale = data.draw(st.sampled_from([0.0, 2.0**-10, 1.0, 2.0**13]))

    def drawn(count: int) -> Floats:
        found = centres[random.integers(clusters, size=count)]
        return (found + spread * random.standard_normal((count, DIM))).astype(np.float32)

    bank = {"audio": drawn(rows), "text": drawn(rows), "present": random.random((rows, 2)) < 0.8}
    bank["present"][0] = True
    bank["audio"][0] *= np.float32(scale)
    most = bank["present"].sum(axis=0)
    k = [data.draw(st.integers(1, min(9, int(count)))) for count in most]
    present = random.random((5, 2)) < 0.8
    queries = drawn(5)
    for modality, there, nearest in zip(MODALITIES, bank["present"].T, k, strict=True):
        assume(told_apart(bank[modality][there], queries, nearest))
    compare(bank, GraphConfig(k_audio=k[0], k_text=k[1]), queries, present)


def test_of_more_equal_rows_than_candidates_the_lower_ones_are_found() -> None:
    random = np.random.default_rng(0)
    pool = random.standard_normal((3, DIM)).astype(np.float32)
    bank = {m: pool[random.integers(3, size=700)] for m in MODALITIES}
    bank["present"] = np.ones((700, 2), np.bool_)
    compare(bank, GraphConfig(k_audio=9, k_text=4), pool, np.ones((3, 2), np.bool_))


@pytest.mark.parametrize(("least_bytes", "dim"), [(2**20, DIM), (0, DIM + 1)])
def test_a_table_that_gains_nothing_stays_fp32(
    least_bytes: int, dim: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(coded_search, "CODED_FROM_BYTES", least_bytes)
    random = np.random.default_rng(0)
    bank: Arrays = {m: random.standard_normal((9, dim)).astype(np.float32) for m in MODALITIES}
    bank["present"] = np.ones((9, 2), np.bool_)
    source = write_step(bank, GraphConfig(k_audio=2, k_text=2), tmp_path / "fp32")
    model = ir.load(source)
    assert not coded_search.search_in_two_stages(model, source.parent, DIM)
    packed = onnx.load(pack_head(source, tmp_path / "packed"), load_external_data=False)
    assert "MatMulNBits" not in {node.op_type for node in packed.graph.node}


def test_the_first_stage_reads_codes(tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    bank: Arrays = {m: random.standard_normal((90, DIM)).astype(np.float32) for m in MODALITIES}
    bank["present"] = np.ones((90, 2), np.bool_)
    source = write_step(bank, GraphConfig(k_audio=2, k_text=2), tmp_path / "fp32")
    packed = onnx.load(pack_head(source, tmp_path / "packed"), load_external_data=False)
    assert [n.op_type for n in packed.graph.node].count("MatMulNBits") == 2
    names = {tensor.name for tensor in packed.graph.initializer}
    assert not names & {"inductive.audio_table", "inductive.text_table"}
    assert {"inductive.audio", "inductive.audio_table_codes"} <= names
