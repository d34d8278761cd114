"""Cost: parameters and multiply-accumulates (MACs) of encoders and head, counted, not estimated.

torch's counter sees matrix products and convolutions; models are on the ``meta`` device, so that
nothing is allocated or computed. Attention is eager, because the counter does not see fused
attention. Elementwise work is not counted, as nowhere in the field.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

import torch
from torch import nn
from transformers import BertConfig, BertModel, Wav2Vec2Config, Wav2Vec2Model

from hemogat.benchmarks.targets import HeadShape
from hemogat.config import HeadConfig, Settings, TextConfig
from hemogat.contract import WINDOW_SAMPLES
from hemogat.model.encoders import AudioEncoder, TextEncoder
from hemogat.model.head import FusionHead
from hemogat.model.macs import count_macs, head_macs, parameter_count

Gnn = Literal["gat", "gcn", "sage"]
Preset = Literal["base"]
TOKENS = 128  # the paper's padding
# Batched products, of two computed tensors: attention scores, attention-weighted sums.
_ATTENTION_PRODUCTS = ("aten.bmm", "aten.baddbmm")


class VariantCost(Settings):
    """What one graph variant costs, with the encoders of the preset.

    ``total_macs`` is the paper's way to count (Table 5): the encoders once, the head for every
    node of a transductive graph. ``total_macs_without_attention_products`` leaves out the batched
    products, as the paper seems to have. ``inductive_macs``: one utterance of one window and
    128 tokens against a bank of ``bank_rows``, similarity search included; the neighbours' states
    come from the bank, so of the network's share nothing grows with it.
    """

    gnn: Gnn
    nodes: int
    head_params: int
    encoder_params: int
    head_macs_per_node: int
    encoder_macs: int
    total_macs: int
    total_macs_without_attention_products: int
    bank_rows: int
    inductive_macs: int


def variant_costs(
    *, preset: Preset = "base", nodes: int = 551, bank_rows: int = 4407
) -> list[VariantCost]:
    """Count GAT, GCN and GraphSAGE at the authors' sizes.

    Args:
        preset: ``base``: wav2vec2-base and bert-base-uncased.
        nodes: of the transductive graph (the paper's test splits: 551 and 2,610).
        bank_rows: of the inductive path (IEMOCAP's training split).
    """
    assert preset in get_args(Preset)
    encoders = base_encoders_cost()
    return [
        variant_cost(HeadShape(head=HeadConfig(gnn=gnn), bank_rows=bank_rows), encoders, nodes)
        for gnn in get_args(Gnn)
    ]


@dataclass(frozen=True)
class EncodersCost:
    """Encoders, one window and 128 tokens: parameters, and MACs by operator.

    ``audio_macs`` and ``text_macs``: empty where the head does not read that modality.
    """

    params: int
    audio_macs: dict[str, int]
    text_macs: dict[str, int]


def base_encoders_cost() -> EncodersCost:
    """Count wav2vec2-base and bert-base-uncased."""
    with torch.device("meta"):
        encoders = base_encoders()
    return encoders_cost(*encoders)


def encoders_cost(
    audio: AudioEncoder | None, text: TextEncoder | None, *, windows: int = 1, tokens: int = TOKENS
) -> EncodersCost:
    """Count encoders whose attention is eager; each runs once, on the device that it is on.

    None: the head does not read that modality.
    """
    params, audio_macs, text_macs = 0, {}, {}
    if audio is not None:
        params += parameter_count(audio)
        heard = torch.zeros(windows, WINDOW_SAMPLES, device=_device(audio))
        audio_macs = count_macs(lambda: audio(heard))
    if text is not None:
        params += parameter_count(text)
        ids = torch.ones(1, tokens, dtype=torch.int64, device=_device(text))
        text_macs = count_macs(lambda: text(ids, ids))
    return EncodersCost(params, audio_macs, text_macs)


def _device(encoder: nn.Module) -> torch.device:
    """Return where a module is; not by its first parameter, which may be one on the CPU unused."""
    return list(encoder.parameters())[-1].device


def variant_cost(shape: HeadShape, encoders: EncodersCost, nodes: int) -> VariantCost:
    """Count a head of ``shape`` behind encoders."""
    with torch.device("meta"):
        head = FusionHead(shape.dims.audio, shape.dims.text, shape.labels, shape.head).eval()
        slots = shape.graph.used_by(shape.head).slots

        def run(rows: int) -> dict[str, int]:
            return head_macs(head, shape.dims.audio, shape.dims.text, rows, slots)

        per_node, graph = run(1), run(nodes)
    both = _sum(encoders.audio_macs, encoders.text_macs)
    everything = _sum(both, graph)
    return VariantCost(
        gnn=shape.head.gnn,
        nodes=nodes,
        head_params=parameter_count(head),
        encoder_params=encoders.params,
        head_macs_per_node=sum(per_node.values()),
        encoder_macs=sum(both.values()),
        total_macs=sum(everything.values()),
        total_macs_without_attention_products=sum(
            macs for name, macs in everything.items() if name not in _ATTENTION_PRODUCTS
        ),
        bank_rows=shape.bank_rows,
        inductive_macs=sum(both.values()) + sum(per_node.values()) + search_macs(shape),
    )


def search_macs(shape: HeadShape) -> int:
    """Return what comparing one utterance with the whole bank takes."""
    return shape.bank_rows * (shape.dims.audio + shape.dims.text)


def base_encoders() -> tuple[AudioEncoder, TextEncoder]:
    """Return the preset's encoders with random weights and eager attention, for evaluation."""
    audio, text = Wav2Vec2Model(Wav2Vec2Config()), BertModel(BertConfig())
    for backbone in (audio, text):
        backbone.set_attn_implementation("eager")
    return AudioEncoder(audio).eval(), TextEncoder(text, TextConfig()).eval()


def _sum(*counts: dict[str, int]) -> dict[str, int]:
    names = {name for count in counts for name in count}
    return {name: sum(count.get(name, 0) for count in counts) for name in names}
