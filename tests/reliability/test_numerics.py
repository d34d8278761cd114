"""Extreme but valid inputs: finite probabilities that sum to 1, whatever is heard or stored."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import torch
from numpy.typing import NDArray

from hemogat.config import GraphConfig, HeadConfig
from hemogat.export.onnx_graphs import export_fusion
from hemogat.model.bank import Bank, Embeddings, InductiveHead, freeze_bank
from hemogat.model.head import FusionHead
from hemogat.runtime.bundle import Bundle
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


@pytest.mark.parametrize("value", EMBEDDINGS.values(), ids=EMBEDDINGS)
@pytest.mark.parametrize("present", [(True, True), (True, False), (False, True), (False, False)])
def test_embeddings_without_a_direction(
    tiny_bundle: Path, value: float, present: tuple[bool, bool]
) -> None:
    bundle = Bundle.open(tiny_bundle)
    dims = bundle.manifest.dims
    fusion = OnnxSession(str(bundle.graph_path("fusion", "onnx", "fp32")))
    found = fusion.run(
        {
            "audio_embedding": np.full((2, dims.audio), value, np.float32),
            "text_embedding": np.full((2, dims.text), value, np.float32),
            "present": np.array([present] * 2),
        }
    )
    assert_probabilities(found["probabilities"])
    for output in found.values():
        assert np.isfinite(output).all()


def identical_bank(gnn: str, value: float) -> tuple[FusionHead, Bank, GraphConfig]:
    torch.manual_seed(0)
    head = FusionHead(5, 6, 3, HeadConfig(hidden=8, heads=2, gnn=gnn))  # type: ignore[arg-type]
    rows = Embeddings(
        torch.full((9, 5), value), torch.full((9, 6), value), torch.ones(9, 2, dtype=torch.bool)
    )
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
