from __future__ import annotations

import os
import sys
from pathlib import Path

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from hemogat.contract import Engine
from hemogat.errors import BundleError, ConfigError
from hemogat.export.openvino_ir import IR_FILE, compress_weights
from hemogat.runtime import gather_session
from hemogat.runtime.bundle import Bundle
from hemogat.runtime.fusion_inputs import fusion_feeds
from hemogat.runtime.gather_session import GatherSession, open_fusion, search_outside
from hemogat.runtime.sessions import open_session
from hemogat.training.run_directory import RunDirectory


def test_a_bank_outside_the_graph_answers_as_the_one_inside(
    tiny_bundle: Path, tiny_gathered_bundle: Path, tiny_run: Path
) -> None:
    bundle = Bundle.open(tiny_gathered_bundle)
    asked = RunDirectory.open(tiny_run).features("test").embeddings
    pairs = list(zip(asked.audio.numpy(), asked.text.numpy(), strict=True))
    feeds = fusion_feeds([*pairs, (pairs[0][0], None)], bundle.manifest.dims)
    expected = open_session(Bundle.open(tiny_bundle), "fusion").run(feeds)
    session = open_fusion(bundle, search="int8")
    found = session.run(feeds)
    assert session.inputs == tuple(feeds)
    assert session.outputs == tuple(expected)
    assert_array_equal(found["neighbours"] == -1, expected["neighbours"] == -1)
    for name in ("probabilities", "similarities", "attention"):
        assert_allclose(found[name], expected[name], atol=1e-5)
    assert np.isfinite(found["logits"]).all()


def test_int8_weights_are_read_where_there_are_some(
    tiny_gathered_bundle: Path, tiny_run: Path, tmp_path: Path
) -> None:
    bundle = Bundle.open(tiny_gathered_bundle)
    assert bundle.gather_path("openvino", "int8") == bundle.gather_path("onnx", "fp32")
    compress_weights(bundle.gather_path("onnx", "fp32"), tmp_path)
    relative = os.path.relpath(tmp_path / IR_FILE, bundle.path)
    bank = bundle.manifest.bank.model_copy(update={"gather_int8": relative})
    compressed = Bundle(bundle.path, bundle.manifest.model_copy(update={"bank": bank}))
    asked = RunDirectory.open(tiny_run).features("test").embeddings
    pairs = list(zip(asked.audio.numpy(), asked.text.numpy(), strict=True))
    feeds = fusion_feeds(pairs, bundle.manifest.dims)
    expected = open_fusion(bundle, search="int8").run(feeds)
    found = open_fusion(compressed, engine="openvino", precision="int8", search="int8").run(feeds)
    assert_array_equal(found["neighbours"], expected["neighbours"])
    assert 0 < np.abs(found["logits"] - expected["logits"]).max() < 0.1


def test_a_bundle_without_the_graph_says_how_to_add_it(tiny_bundle: Path) -> None:
    with pytest.raises(BundleError, match=r"has no fusion_gather graph .* --gather"):
        GatherSession(Bundle.open(tiny_bundle), mode="exact")


def test_a_plan_has_its_bank_inside(tiny_gathered_bundle: Path) -> None:
    with pytest.raises(ConfigError, match="search exact: engine trt has the bank inside"):
        open_fusion(Bundle.open(tiny_gathered_bundle), engine="trt", search="exact")


@pytest.mark.parametrize(
    ("rows", "expected"),
    [(19_999, None), (20_000, "int8"), (99_999, "int8"), (100_000, "ivf"), (10**7, "ivf")],
)
def test_the_size_of_the_bank_decides(
    tiny_gathered_bundle: Path, tiny_bundle: Path, rows: int, expected: str | None
) -> None:
    def chosen(path: Path, engine: Engine = "onnx") -> str | None:
        manifest = Bundle.open(path, verify=False).manifest
        bank = manifest.bank.model_copy(update={"rows": rows})
        sized = Bundle(path, manifest.model_copy(update={"bank": bank}))
        return search_outside(sized, engine, "fp32", "auto")

    assert chosen(tiny_gathered_bundle) == expected
    assert chosen(tiny_gathered_bundle, "trt") is None
    assert chosen(tiny_bundle) is None  # exported without the graph: nothing else could be done


def test_without_faiss_the_graph_searches_a_bank_of_any_size(
    tiny_gathered_bundle: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bundle = Bundle.open(tiny_gathered_bundle)
    monkeypatch.setattr(gather_session, "INSIDE_BELOW_ROWS", 0)
    assert search_outside(bundle, "onnx", "fp32", "auto") == "int8"
    monkeypatch.setitem(sys.modules, "faiss", None)
    assert search_outside(bundle, "onnx", "fp32", "auto") is None
    assert search_outside(bundle, "onnx", "fp32", "int8") == "int8"  # by name: says what it needs


def test_a_small_bank_stays_in_the_graph(tiny_gathered_bundle: Path) -> None:
    assert not isinstance(open_fusion(Bundle.open(tiny_gathered_bundle), search="auto"),
                          GatherSession)  # fmt: skip
