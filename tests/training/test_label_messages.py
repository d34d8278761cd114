"""Messages that carry the neighbours' labels, from training through the bank to the export."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor

from hemogat.config import GraphConfig, HeadConfig, OptimiserConfig
from hemogat.errors import ConfigError
from hemogat.export.onnx_graphs import export_fusion
from hemogat.model.bank import Embeddings, InductiveHead, freeze_bank, transductive
from hemogat.model.head import HIDDEN, FusionHead
from hemogat.model.topk_graph import link_together
from hemogat.progress import Progress
from hemogat.runtime.onnx_session import OnnxSession
from hemogat.training.head_training import _hide_labels, train_head
from hemogat.training.run_directory import Features

LABELS, GRAPH = 3, GraphConfig(k_audio=2, k_text=2, labels=True)
HEAD = HeadConfig(hidden=16, heads=2, num_layers=3)


def features(rows: int, seed: int) -> Features:
    """Thirty places, whose labels follow no rule: only who stands near by gives them away."""
    random = torch.Generator().manual_seed(99)
    places = 3 * torch.randn(30, 10, generator=random)
    label_of = torch.randint(LABELS, (30,), generator=random)
    here = torch.arange(rows) % 30
    noise = torch.randn(rows, 10, generator=torch.Generator().manual_seed(seed))
    x = places[here] + 0.3 * noise
    present = torch.ones(rows, 2, dtype=torch.bool)
    return Features(Embeddings(x[:, :4], x[:, 4:], present), label_of[here])


TRAIN, TEST = features(120, 0), features(60, 1)


def make_head() -> FusionHead:
    torch.manual_seed(0)
    return FusionHead(4, 6, LABELS, HEAD, label_messages=True)


def training_logits(labels: Tensor) -> tuple[Tensor, Tensor]:
    """Return logits in training mode, and which rows were asked about."""
    head, e = make_head().train(), TRAIN.embeddings
    torch.manual_seed(1)  # dropout and the choice of rows
    asked, visible = _hide_labels(labels)
    neighbours = link_together(e.audio, e.text, e.present, GRAPH).index
    return head(e.audio, e.text, e.present, neighbours, visible_labels=visible).logits, asked


def test_a_label_that_is_asked_for_reaches_no_logits() -> None:
    before, asked = training_logits(TRAIN.labels)
    changed = TRAIN.labels.clone()
    changed[asked] = (changed[asked] + 1) % LABELS
    after, again = training_logits(changed)
    assert asked.equal(again)
    assert after.equal(before)


def test_a_visible_label_reaches_others() -> None:
    before, asked = training_logits(TRAIN.labels)
    changed = (TRAIN.labels + 1) % LABELS
    changed[asked] = TRAIN.labels[asked]
    after, _ = training_logits(changed)
    assert (after[asked] - before[asked]).abs().max() > 1e-3


def test_half_of_the_labels_are_hidden_anew_each_time() -> None:
    torch.manual_seed(0)
    asked, visible = _hide_labels(TRAIN.labels[:7])
    assert len(asked) == 4
    assert (visible == HIDDEN).nonzero()[:, 0].tolist() == sorted(asked.tolist())
    others = visible != HIDDEN
    assert visible[others].equal(TRAIN.labels[:7][others])


def test_without_labels_nothing_is_added() -> None:
    head, e = make_head().eval(), TEST.embeddings
    hidden = torch.full((len(e),), HIDDEN)
    nobody = torch.empty(len(e), 0, dtype=torch.int64)
    alone = head(e.audio, e.text, e.present, nobody).logits
    assert head(e.audio, e.text, e.present, nobody, visible_labels=hidden).logits.equal(alone)


def test_a_bank_without_labels_and_a_graph_without_bank_are_refused() -> None:
    with pytest.raises(ConfigError, match="bank was given without labels"):
        freeze_bank(make_head(), TRAIN.embeddings, GRAPH)
    with pytest.raises(ConfigError, match="which only a bank knows"):
        transductive(make_head().eval(), TEST.embeddings, GRAPH)


def test_a_head_without_a_graph_takes_no_labels() -> None:
    config = HEAD.model_copy(update={"modules": "no_gnn"})
    training = OptimiserConfig(epochs=2, learning_rate=1e-2)
    head = train_head("x", TRAIN, TEST, LABELS, config, GRAPH, training, Progress()).head
    assert head.label_embedding is None
    assert freeze_bank(head, TRAIN.embeddings, GRAPH).states == ()


def test_trains_exports_and_answers_alike(tmp_path: Path) -> None:
    torch.manual_seed(0)
    training = OptimiserConfig(epochs=40, learning_rate=1e-2, patience=40)
    head = train_head("full", TRAIN, TEST, LABELS, HEAD, GRAPH, training, Progress()).head
    bank = freeze_bank(head, TRAIN.embeddings, GRAPH, labels=TRAIN.labels)
    e = TEST.embeddings
    with torch.no_grad():
        expected = InductiveHead(head, bank, GRAPH).eval()(e.audio, e.text, e.present).logits
        other = freeze_bank(head, TRAIN.embeddings, GRAPH, labels=(TRAIN.labels + 1) % LABELS)
        turned = InductiveHead(head, other, GRAPH).eval()(e.audio, e.text, e.present).logits
    assert (expected.argmax(1) == TEST.labels).float().mean() > 0.9
    assert (turned - expected).abs().max() > 0.1  # the bank's labels matter

    session = OnnxSession(str(export_fusion(head, bank, GRAPH, tmp_path, 20)), threads=1)
    inputs = {"audio_embedding": e.audio, "text_embedding": e.text, "present": e.present}
    found = session.run({name: tensor.numpy() for name, tensor in inputs.items()})
    torch.testing.assert_close(torch.from_numpy(found["logits"]), expected, atol=1e-5, rtol=0)
