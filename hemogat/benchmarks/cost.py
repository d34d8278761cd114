"""Cost: parameters and multiply-accumulates (MACs) of encoders and head, counted, not estimated.

torch's counter sees matrix products and convolutions; models are on the ``meta`` device, so that
nothing is allocated or computed. Attention is eager, because the counter does not see fused
attention. Elementwise work is not counted, as nowhere in the field.
"""

from __future__ import annotations

from typing import Literal, get_args

import torch
from transformers import BertConfig, BertModel, Wav2Vec2Config, Wav2Vec2Model

from hemogat.config import GraphConfig, HeadConfig, Settings, TextConfig
from hemogat.contract import WINDOW_SAMPLES
from hemogat.model.encoders import AudioEncoder, TextEncoder
from hemogat.model.head import FusionHead
from hemogat.model.macs import count_macs, head_macs, parameter_count

Gnn = Literal["gat", "gcn", "sage"]
Preset = Literal["base"]
TOKENS = 128  # the paper's padding
LABELS = 4  # IEMOCAP's
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
    with torch.device("meta"):
        audio, text = _base_encoders()
        windows = torch.empty(1, WINDOW_SAMPLES)
        tokens = torch.empty(1, TOKENS, dtype=torch.int64)
        encoders = _sum(
            count_macs(lambda: audio(windows)), count_macs(lambda: text(tokens, tokens))
        )
        return [_variant(gnn, nodes, bank_rows, audio, text, encoders) for gnn in get_args(Gnn)]


def _variant(
    gnn: Gnn,
    nodes: int,
    bank_rows: int,
    audio: AudioEncoder,
    text: TextEncoder,
    encoders: dict[str, int],
) -> VariantCost:
    head = FusionHead(audio.dim, text.dim, LABELS, HeadConfig(gnn=gnn)).eval()
    slots = GraphConfig().slots

    def run(rows: int) -> dict[str, int]:
        return head_macs(head, audio.dim, text.dim, rows, slots)

    per_node, graph = run(1), run(nodes)
    everything = _sum(encoders, graph)
    search = bank_rows * (audio.dim + text.dim)
    return VariantCost(
        gnn=gnn,
        nodes=nodes,
        head_params=parameter_count(head),
        encoder_params=parameter_count(audio) + parameter_count(text),
        head_macs_per_node=sum(per_node.values()),
        encoder_macs=sum(encoders.values()),
        total_macs=sum(everything.values()),
        total_macs_without_attention_products=sum(
            macs for name, macs in everything.items() if name not in _ATTENTION_PRODUCTS
        ),
        bank_rows=bank_rows,
        inductive_macs=sum(encoders.values()) + sum(per_node.values()) + search,
    )


def _base_encoders() -> tuple[AudioEncoder, TextEncoder]:
    audio, text = Wav2Vec2Model(Wav2Vec2Config()), BertModel(BertConfig())
    for backbone in (audio, text):
        backbone.set_attn_implementation("eager")
    return AudioEncoder(audio).eval(), TextEncoder(text, TextConfig()).eval()


def _sum(*counts: dict[str, int]) -> dict[str, int]:
    names = {name for count in counts for name in count}
    return {name: sum(count.get(name, 0) for count in counts) for name in names}
