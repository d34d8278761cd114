"""Graphs without a bank inside: their neighbours are searched, and states gathered, outside.

``bank_states`` extends a bank without torch; ``fusion_gather`` classifies at the same cost
whatever the bank's size.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor, nn

from hemogat.config import GraphConfig
from hemogat.contract import bank_states_spec, fusion_gather_spec
from hemogat.export.folding import fold_head
from hemogat.export.onnx_graphs import SAMPLE_BATCH, Samples, save, to_onnx
from hemogat.model.bank import Bank
from hemogat.model.head import FusionHead, HeadOutput
from hemogat.model.topk_graph import MASKED


def export_fusion_gather(
    head: FusionHead, bank: Bank, graph: GraphConfig, folder: Path, opset: int
) -> Path:
    """Write the ``fusion_gather`` graph into ``folder``; return the model's path."""
    slots, widths = _sizes(head, bank, graph)
    spec = fusion_gather_spec(slots, widths, attention=head.config.gnn == "gat")
    module = _FusionGather(fold_head(head), len(spec.outputs)).eval()
    return save(to_onnx(module, spec, _samples(bank, slots, widths), opset), spec, folder)


def export_bank_states(
    head: FusionHead, bank: Bank, graph: GraphConfig, folder: Path, opset: int
) -> Path:
    """Write the ``bank_states`` graph into ``folder``; return the model's path."""
    slots, widths = _sizes(head, bank, graph)
    spec = bank_states_spec(slots, widths, labels=graph.used_by(head.config).labels)
    samples = _samples(bank, slots, widths)
    if len(spec.inputs) > len(_flat(samples)):
        samples = (*samples[:3], torch.zeros(SAMPLE_BATCH, dtype=torch.int64), *samples[3:])
        module: nn.Module = _LabelledStates(fold_head(head))
    else:
        module = _BankStates(fold_head(head))
    return save(to_onnx(module.eval(), spec, samples, opset), spec, folder)


def _sizes(head: FusionHead, bank: Bank, graph: GraphConfig) -> tuple[int, list[int]]:
    return graph.used_by(head.config).slots, [states.shape[1] for states in bank.states]


def _samples(bank: Bank, slots: int, widths: Sequence[int]) -> Samples:
    e = bank.embeddings
    return (
        torch.randn(SAMPLE_BATCH, e.audio.shape[1]),
        torch.randn(SAMPLE_BATCH, e.text.shape[1]),
        torch.ones(SAMPLE_BATCH, 2, dtype=torch.bool),
        torch.zeros(SAMPLE_BATCH, slots, dtype=torch.int64),
        tuple(torch.randn(SAMPLE_BATCH, slots, width) for width in widths),
    )


def _flat(samples: Samples) -> list[Tensor]:
    return [t for s in samples for t in (s if isinstance(s, tuple) else (s,))]


class _FusionGather(nn.Module):
    def __init__(self, head: FusionHead, outputs: int) -> None:
        super().__init__()
        self.head = head
        self.outputs = outputs

    def forward(
        self,
        audio: Tensor,
        text: Tensor,
        present: Tensor,
        neighbours: Tensor,
        received: tuple[Tensor, ...],
    ) -> tuple[Tensor | None, ...]:
        mask = neighbours != MASKED
        output: HeadOutput = self.head.forward_gathered(audio, text, present, mask, received)
        answers = (output.logits, output.logits.softmax(dim=1), output.attention)
        return answers[: self.outputs]


class _BankStates(nn.Module):
    def __init__(self, head: FusionHead) -> None:
        super().__init__()
        self.head = head

    def forward(
        self,
        audio: Tensor,
        text: Tensor,
        present: Tensor,
        neighbours: Tensor,
        received: tuple[Tensor, ...],
    ) -> tuple[Tensor, ...]:
        mask = neighbours != MASKED
        return self.head.forward_gathered(audio, text, present, mask, received).states


class _LabelledStates(nn.Module):
    def __init__(self, head: FusionHead) -> None:
        super().__init__()
        self.head = head

    def forward(
        self,
        audio: Tensor,
        text: Tensor,
        present: Tensor,
        label: Tensor,
        neighbours: Tensor,
        received: tuple[Tensor, ...],
    ) -> tuple[Tensor, ...]:
        mask = neighbours != MASKED
        output = self.head.forward_gathered(
            audio, text, present, mask, received, visible_labels=label
        )
        return output.states
