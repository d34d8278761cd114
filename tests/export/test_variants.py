"""Every variant of the paper's tables trains, exports and answers as torch does."""

from __future__ import annotations

from itertools import product
from pathlib import Path

import numpy as np
import pytest
import torch

from hemogat.config import GraphConfig, HeadConfig, OptimiserConfig
from hemogat.contract import fusion_spec
from hemogat.export.onnx_graphs import export_fusion
from hemogat.model.bank import Embeddings, InductiveHead, freeze_bank
from hemogat.progress import Progress
from hemogat.runtime.onnx_session import OnnxSession
from hemogat.training.head_training import train_head
from hemogat.training.run_directory import Features

ROWS, AUDIO_DIM, TEXT_DIM, LABELS = 24, 6, 5, 3
GRAPH = GraphConfig(k_audio=2, k_text=3)
# Depth and kind of the graph do not matter to a head without one.
VARIANTS = [
    {"gnn": gnn, "num_layers": layers, "modules": modules, "modalities": modalities}
    for gnn, layers, modules, modalities in product(
        ("gat", "gcn", "sage"), (1, 2, 3, 4), ("full", "no_cmt"), ("both", "audio", "text")
    )
] + [{"modules": "no_gnn", "modalities": m} for m in ("both", "audio", "text")]


def features(seed: int) -> Features:
    random = torch.Generator().manual_seed(seed)
    labels = torch.arange(ROWS) % LABELS
    audio = torch.randn(ROWS, AUDIO_DIM, generator=random) + labels.unsqueeze(1)
    text = torch.randn(ROWS, TEXT_DIM, generator=random) - labels.unsqueeze(1)
    return Features(Embeddings(audio, text, torch.ones(ROWS, 2, dtype=torch.bool)), labels)


@pytest.mark.slow
@pytest.mark.parametrize("variant", VARIANTS, ids=lambda v: "-".join(map(str, v.values())))
def test_trains_exports_and_answers_alike(variant: dict[str, object], tmp_path: Path) -> None:
    torch.manual_seed(0)
    config = HeadConfig.model_validate({"hidden": 8, "heads": 2, **variant})
    training = OptimiserConfig(epochs=3, learning_rate=1e-2)
    train, validation, new = (features(seed) for seed in range(3))
    head = train_head("full", train, validation, LABELS, config, GRAPH, training, Progress()).head
    bank = freeze_bank(head, train.embeddings, GRAPH)

    session = OnnxSession(str(export_fusion(head, bank, GRAPH, tmp_path, 20)), threads=1)
    e = new.embeddings
    found = session.run(
        {
            "audio_embedding": e.audio.numpy(),
            "text_embedding": e.text.numpy(),
            "present": e.present.numpy(),
        }
    )

    reference = InductiveHead(head, bank, GRAPH).eval()
    with torch.no_grad():
        expected = reference(e.audio, e.text, e.present)
    spec = fusion_spec(reference.graph.slots, attention=config.gnn == "gat")
    assert session.outputs == tuple(tensor.name for tensor in spec.outputs)
    for name, values in found.items():
        np.testing.assert_allclose(values, getattr(expected, name).numpy(), atol=1e-5, err_msg=name)
    assert (found["logits"].argmax(1) == expected.logits.argmax(1).numpy()).all()
