from __future__ import annotations

import pytest
import torch

from hemogat.config import GraphConfig, HeadConfig
from hemogat.model.head import FusionHead


def count(head: FusionHead) -> int:
    return sum(parameter.numel() for parameter in head.parameters())


def test_the_default_head_has_the_authors_number_of_parameters() -> None:
    head = FusionHead(768, 768, 4, HeadConfig())
    assert count(head) == 11_566_084


def test_modality_dropout_adds_one_learned_vector_per_modality() -> None:
    head = FusionHead(768, 768, 4, HeadConfig(modality_dropout=0.1))
    assert count(head) == 11_566_084 + 2 * 768


def test_one_layer_is_the_final_layer_alone() -> None:
    # In the authors' code num_layers=1 silently builds the same network as 2.
    one, two = (FusionHead(6, 6, 2, HeadConfig(hidden=8, heads=2, num_layers=n)) for n in (1, 2))
    assert one.gnn is not None
    assert two.gnn is not None
    assert len(one.gnn.layers) == 0
    assert one.gnn.batch_norm is None
    assert len(two.gnn.layers) == 1


@pytest.mark.parametrize("modalities", ["audio", "text"])
def test_the_modality_that_a_head_does_not_use_is_not_read(modalities: str) -> None:
    torch.manual_seed(0)
    config = HeadConfig.model_validate({"hidden": 8, "heads": 2, "modalities": modalities})
    head = FusionHead(4, 5, 3, config).eval()
    e = {"audio": torch.randn(2, 4), "text": torch.randn(2, 5)}
    other = {
        name: x if name == modalities else torch.full_like(x, torch.nan) for name, x in e.items()
    }
    present, slots = torch.ones(2, 2, dtype=torch.bool), torch.tensor([[1], [0]])
    with torch.no_grad():
        expected = head(e["audio"], e["text"], present, slots).logits
        found = head(other["audio"], other["text"], present, slots).logits
    torch.testing.assert_close(found, expected, rtol=0, atol=0)


def test_only_the_learned_vector_gets_the_gradient_of_an_absent_modality() -> None:
    head = FusionHead(4, 5, 3, HeadConfig(hidden=8, heads=2, modality_dropout=0.5)).eval()
    audio = torch.randn(1, 4, requires_grad=True)
    text = torch.randn(1, 5, requires_grad=True)
    present, nobody = torch.tensor([[False, True]]), torch.empty(1, 0, dtype=torch.int64)
    with torch.no_grad():
        head.missing["audio"].normal_()
    head(audio, text, present, nobody).logits.sum().backward()
    assert audio.grad is not None
    assert audio.grad.abs().sum() == 0
    assert head.missing["text"].grad.abs().sum() == 0
    for read in (text.grad, head.missing["audio"].grad):
        assert read is not None
        assert torch.isfinite(read).all()


@pytest.mark.parametrize(
    ("head", "expected"),
    [
        ({}, (2, 3)),
        ({"modalities": "audio"}, (2, 0)),
        ({"modalities": "text"}, (0, 3)),
        ({"modules": "no_gnn"}, (0, 0)),
    ],
)
def test_a_head_reads_the_neighbours_of_its_modalities(
    head: dict[str, str], expected: tuple[int, int]
) -> None:
    graph = GraphConfig(k_audio=2, k_text=3).used_by(HeadConfig.model_validate(head))
    assert (graph.k_audio, graph.k_text) == expected
