"""Extreme but valid inputs: finite probabilities that sum to 1, whatever is heard or stored."""

from __future__ import annotations

import io
import json
import shutil
from collections.abc import Mapping
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import soundfile
import torch
from numpy.typing import NDArray

from hemogat.config import GraphConfig, HeadConfig
from hemogat.contract import Engine, Precision, SearchChoice, SearchMode
from hemogat.export.gathered_graphs import export_fusion_gather
from hemogat.export.onnx_graphs import export_fusion
from hemogat.export.openvino_ir import compress_weights, convert
from hemogat.export.packed_head import pack_head
from hemogat.export.quantisation import quantise
from hemogat.model.bank import Bank, Embeddings, InductiveHead, freeze_bank
from hemogat.model.head import FusionHead
from hemogat.runtime.bank_search import BankSearch, gather_states, normalise
from hemogat.runtime.bundle import MANIFEST_FILE, Bundle, GraphName, write_sums
from hemogat.runtime.gather_session import open_fusion
from hemogat.runtime.onnx_session import OnnxSession
from hemogat.runtime.pipeline import Pipeline

RATE_HZ = 16_000
COUNT = 24_000  # one whole window and a half
TIME_S = np.arange(COUNT) / RATE_HZ
TONE = np.sin(2 * np.pi * 220 * TIME_S)
ONE_BIT = np.random.default_rng(0).integers(0, 2, COUNT) * 2 - 1
DENORMAL = float(np.float32(1e-40))

SIGNALS: dict[str, NDArray[Any]] = {
    "silence": np.zeros(COUNT),
    "one sample of silence's last bit": np.eye(1, COUNT, 5)[0] / 2**15,
    "clipped": np.clip(40 * TONE, -1, 1),
    "square wave": np.sign(TONE),
    "beyond full scale": 1000 * TONE,
    "largest admitted": 2.0**31 * np.sign(TONE),
    "DC alone": np.full(COUNT, 0.9),
    "tone on DC": 0.9 + 1e-4 * TONE,
    "1-bit noise, last bit": ONE_BIT / 2**15,
    "1-bit noise, full scale": ONE_BIT * (1 - 2**-15),
    "denormal": DENORMAL * ONE_BIT,
    "half silent": TONE * (TIME_S < 0.75),
}


def wav(samples: NDArray[Any]) -> bytes:
    file = io.BytesIO()
    soundfile.write(file, samples.astype(np.float32), RATE_HZ, format="WAV", subtype="FLOAT")
    return file.getvalue()


def assert_probabilities(values: NDArray[Any]) -> None:
    assert np.isfinite(values).all()
    assert (values >= 0).all()
    np.testing.assert_allclose(values.sum(axis=-1), 1, atol=1e-5)


@pytest.fixture(scope="module")
def pipeline(tiny_bundle: Path) -> Pipeline:
    return Pipeline.load(tiny_bundle)


@pytest.mark.parametrize("name", SIGNALS)
@pytest.mark.parametrize("text", ["stop that", None])
def test_any_signal_is_classified(pipeline: Pipeline, name: str, text: str | None) -> None:
    answer = pipeline(wav(SIGNALS[name]), text)
    assert_probabilities(np.array(list(answer.probabilities.values())))
    assert all(np.isfinite(neighbour.similarity) for neighbour in answer.neighbours)


@pytest.mark.parametrize("text", ["a", "😀", "\u202eabc", "word " * 5000, "ﷺ" * 1000, "e\u0301"])
def test_any_text_is_classified(pipeline: Pipeline, text: str) -> None:
    answer = pipeline(text=text)
    assert_probabilities(np.array(list(answer.probabilities.values())))


# An embedding without length has no direction: its cosine with anything is 0.
EMBEDDINGS = {"zero": 0.0, "constant": 1.0, "denormal": DENORMAL, "large": 1e6}


def alike(audio: int, text: int, value: float) -> dict[str, NDArray[Any]]:
    """Return queries of that value everywhere, with both, either and no modality present."""
    present = np.array([(True, True), (True, False), (False, True), (False, False)])
    return {
        "audio_embedding": np.full((4, audio), value, np.float32),
        "text_embedding": np.full((4, text), value, np.float32),
        "present": present,
    }


def assert_finite(found: Mapping[str, NDArray[Any]]) -> None:
    assert_probabilities(found["probabilities"])
    for output in found.values():
        assert np.isfinite(output).all()


@pytest.mark.parametrize("value", EMBEDDINGS.values(), ids=EMBEDDINGS)
def test_embeddings_without_a_direction(tiny_bundle: Path, value: float) -> None:
    bundle = Bundle.open(tiny_bundle)
    fusion = OnnxSession(str(bundle.graph_path("fusion", "onnx", "fp32")))
    dims = bundle.manifest.dims
    assert_finite(fusion.run(alike(dims.audio, dims.text, value)))


def identical_bank(
    gnn: str, value: float, width: int | None = None
) -> tuple[FusionHead, Bank, GraphConfig]:
    torch.manual_seed(0)
    audio, text, hidden = (width, width, width) if width else (5, 6, 8)
    config = HeadConfig(hidden=hidden, heads=2, gnn=gnn)  # type: ignore[arg-type]
    head = FusionHead(audio, text, 3, config)
    present = torch.ones(9, 2, dtype=torch.bool)
    rows = Embeddings(torch.full((9, audio), value), torch.full((9, text), value), present)
    graph = GraphConfig(k_audio=2, k_text=3)
    return head.eval(), freeze_bank(head, rows, graph), graph


@torch.no_grad()
@pytest.mark.parametrize("value", [0.0, 1.0, DENORMAL])
@pytest.mark.parametrize("gnn", ["gat", "gcn", "sage"])
def test_a_bank_of_one_utterance_repeated(gnn: str, value: float) -> None:
    head, bank, graph = identical_bank(gnn, value)
    inductive = InductiveHead(head, bank, graph).eval()
    present = torch.ones(2, 2, dtype=torch.bool)
    for query in (0.0, value, -1.0):
        found = inductive(torch.full((2, 5), query), torch.full((2, 6), query), present)
        assert_probabilities(found.probabilities.numpy())
        # All are equally near: the first rows are taken, and each counts once.
        assert found.neighbours.tolist() == [[0, 1, -1, -1, 2]] * 2


@torch.no_grad()
def test_the_exported_graph_takes_a_bank_of_zeros(tmp_path: Path) -> None:
    head, bank, graph = identical_bank("gat", 0.0)
    fusion = OnnxSession(str(export_fusion(head, bank, graph, tmp_path / "fusion", 20)))
    inductive = InductiveHead(head, bank, graph).eval()
    feeds = {
        "audio_embedding": np.array([[0.0] * 5, [1.0] * 5], np.float32),
        "text_embedding": np.array([[0.0] * 6, [1.0] * 6], np.float32),
        "present": np.ones((2, 2), np.bool_),
    }
    found = fusion.run(feeds)
    expected = inductive(*(torch.from_numpy(feed) for feed in feeds.values()))
    assert_probabilities(found["probabilities"])
    np.testing.assert_allclose(found["probabilities"], expected.probabilities, atol=1e-5)
    np.testing.assert_array_equal(found["neighbours"], expected.neighbours)


OTHERS: tuple[tuple[Engine, Precision], ...] = (
    ("onnx", "int8"),
    ("openvino", "fp32"),
    ("openvino", "int8"),
)
CALIBRATION: dict[GraphName, list[dict[str, NDArray[Any]]]] = {
    "audio_encoder": [{"windows": np.sin(np.arange(RATE_HZ) / n, dtype=np.float32)[None]}
                      for n in (3, 30)],
    "text_encoder": [{"input_ids": np.arange(5, 21)[None] + n,
                      "attention_mask": np.ones((1, 16), np.int64)} for n in (0, 9)],
}  # fmt: skip


def converted(
    graph: GraphName, source: Path, place: Path, target: tuple[Engine, Precision]
) -> Path:
    """Convert a graph as an export does."""
    if graph == "fusion" and target == ("onnx", "int8"):
        return source  # too small to be worth packing
    if graph == "fusion" and target == ("openvino", "int8"):
        return compress_weights(source, place)
    if target == ("onnx", "int8"):
        return quantise(source, place, CALIBRATION[graph])
    precision = "int8" if target == ("openvino", "int8") else "fp32"
    return convert(source, place, precision, CALIBRATION.get(graph, ()))


@pytest.fixture(scope="module", params=OTHERS, ids="-".join)
def other(
    request: pytest.FixtureRequest,
    tiny_gathered_bundle: Path,
    tmp_path_factory: pytest.TempPathFactory,
) -> Bundle:
    """Return the tiny bundle for another engine or precision, with a graph to search outside of."""
    engine, precision = request.param
    path = tmp_path_factory.mktemp("other") / "bundle"
    shutil.copytree(tiny_gathered_bundle, path)
    manifest = json.loads((path / MANIFEST_FILE).read_text())
    for model in manifest["models"]:
        place = path / model["graph"] / f"{engine}-{precision}"
        written = converted(model["graph"], path / model["path"], place, request.param)
        model |= {"engine": engine, "precision": precision}
        model["path"] = written.relative_to(path).as_posix()
    if request.param == ("openvino", "int8"):
        gather = compress_weights(path / manifest["bank"]["gather"], path / "bank" / "gather-int8")
        manifest["bank"]["gather_int8"] = gather.relative_to(path).as_posix()
    (path / MANIFEST_FILE).write_text(json.dumps(manifest))
    write_sums(path)
    return Bundle.open(path)


SEARCHES: tuple[SearchChoice | None, ...] = (None, "exact", "int8")


@pytest.mark.parametrize("search", SEARCHES)
def test_other_engines_classify_any_signal(other: Bundle, search: SearchChoice | None) -> None:
    pipeline = Pipeline(other, search=search)
    for signal in SIGNALS.values():
        answer = pipeline(wav(signal), "stop that")
        assert_probabilities(np.array(list(answer.probabilities.values())))
        assert all(np.isfinite(neighbour.similarity) for neighbour in answer.neighbours)


@pytest.mark.parametrize("search", SEARCHES)
def test_other_engines_take_embeddings_without_a_direction(
    other: Bundle, search: SearchChoice | None
) -> None:
    model, dims = other.manifest.models[0], other.manifest.dims
    fusion = open_fusion(other, engine=model.engine, precision=model.precision, search=search)
    for value in EMBEDDINGS.values():
        assert_finite(fusion.run(alike(dims.audio, dims.text, value)))


@torch.no_grad()
def test_a_bank_of_zeros_is_searched_outside_a_graph(tmp_path: Path) -> None:
    head, bank, graph = identical_bank("gat", 0.0)
    gather = OnnxSession(str(export_fusion_gather(head, bank, graph, tmp_path, 20)))
    rows = bank.embeddings
    tensors = {"audio": rows.audio, "text": rows.text, "present": rows.present}
    tensors |= {f"states_{layer}": states for layer, states in enumerate(bank.states)}
    arrays = {name: tensor.numpy() for name, tensor in tensors.items()}
    for modality in ("audio", "text"):
        arrays[f"{modality}_rows"] = np.arange(9)
        arrays[f"{modality}_table"] = np.ascontiguousarray(normalise(arrays[modality]).T)
    modes: tuple[SearchMode, ...] = ("exact", "int8")
    for mode, value in product(modes, EMBEDDINGS.values()):
        feeds = alike(5, 6, value)
        found = BankSearch(arrays, graph, mode=mode)(*feeds.values())
        states = gather_states(arrays, range(head.config.num_layers), found.index)
        assert np.isfinite(found.similarity).all()
        assert_finite(gather.run({**feeds, **states}))


@torch.no_grad()
def test_a_packed_head_takes_a_bank_of_zeros(tmp_path: Path) -> None:
    head, bank, graph = identical_bank("gat", 0.0, width=128)
    path = pack_head(export_fusion(head, bank, graph, tmp_path / "fp32", 20), tmp_path / "int8")
    assert "MatMulNBits" in {node.op_type for node in onnx.load(path).graph.node}
    for value in EMBEDDINGS.values():
        assert_finite(OnnxSession(str(path)).run(alike(128, 128, value)))
