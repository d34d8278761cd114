"""CMT: the cross-modal transformer (paper Section 3.3, Eq. 11 to 13)."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class CrossAttentionBlock(nn.Module):
    r"""One modality attends to the other, with residual and layer norm.

    .. math::
        CM = D(\mathrm{LN}(W\, \mathrm{MHA}(q, kv, kv) + q))

    Each modality is one vector, so there is a single key, the softmax over it is 1, and the
    attention equals ``out_proj(v_proj(kv))`` in evaluation. The query and key weights are kept:
    the authors' checkpoints and parameter counts have them. Export folds them away.

    Shapes:
        query, key_value: [N, width]
        result: [N, width]
    """

    def __init__(self, width: int, heads: int, dropout: float) -> None:
        super().__init__()
        self.attention = nn.MultiheadAttention(width, heads, dropout=dropout, batch_first=True)
        self.linear = nn.Linear(width, width)
        self.norm = nn.LayerNorm(width)
        self.dropout = nn.Dropout(dropout)

    def forward(self, query: Tensor, key_value: Tensor) -> Tensor:
        """Return ``query`` informed by ``key_value``."""
        key = key_value.unsqueeze(1)  # [N, 1, width]
        attended, _ = self.attention(query.unsqueeze(1), key, key, need_weights=False)
        out: Tensor = self.dropout(self.norm(self.linear(attended.squeeze(1)) + query))
        return out


class CrossModalTransformer(nn.Module):
    r"""Cross-attention both ways, concatenated: [CM_{A→T} ‖ CM_{T→A}] (Eq. 13).

    Shapes:
        audio, text: [N, width]
        result: [N, 2 * width]
    """

    def __init__(self, width: int, heads: int, dropout: float) -> None:
        super().__init__()
        self.audio_to_text = CrossAttentionBlock(width, heads, dropout)  # Eq. 11: audio queries
        self.text_to_audio = CrossAttentionBlock(width, heads, dropout)  # Eq. 12: text queries

    def forward(self, audio: Tensor, text: Tensor) -> Tensor:
        """Return both directions side by side."""
        return torch.cat([self.audio_to_text(audio, text), self.text_to_audio(text, audio)], dim=1)
