"""CMT: the cross-modal transformer (paper Section 3.3, Eq. 11 to 13)."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from hemogat.model.dropout import Dropout


class CrossAttentionBlock(nn.Module):
    r"""One modality attends to the other, with residual and layer norm.

    .. math::
        CM = D(\mathrm{LN}(W\, \mathrm{MHA}(q, kv, kv) + q))

    Each modality is one vector, so there is a single key, the softmax over it is 1, and the
    attention equals ``out_proj(v_proj(kv))``: query and key weights get no gradient. They are kept,
    because the authors' checkpoints and parameter counts have them. Training leaves them out,
    export folds them away.

    Shapes:
        query, key_value: [N, width]
        result: [N, width]
    """

    def __init__(self, width: int, heads: int, dropout: float) -> None:
        super().__init__()
        self.attention = nn.MultiheadAttention(width, heads, dropout=dropout, batch_first=True)
        self.linear = nn.Linear(width, width)
        self.norm = nn.LayerNorm(width)
        self.dropout = Dropout(dropout, inplace=True)

    def forward(self, query: Tensor, key_value: Tensor) -> Tensor:
        """Return ``query`` informed by ``key_value``."""
        mixed = self._mix_in_training(key_value) if self.training else self._mix(query, key_value)
        out: Tensor = self.dropout(self.norm(mixed + query))
        return out

    def _mix(self, query: Tensor, key_value: Tensor) -> Tensor:
        key = key_value.unsqueeze(1)  # [N, 1, width]
        attended, _ = self.attention(query.unsqueeze(1), key, key, need_weights=False)
        mixed: Tensor = self.linear(attended.squeeze(1))
        return mixed

    def _mix_in_training(self, key_value: Tensor) -> Tensor:
        """Do as :meth:`_mix`, without what cancels out, in half of the products."""
        attention, width = self.attention, self.attention.embed_dim
        values = F.linear(
            key_value, attention.in_proj_weight[2 * width :], attention.in_proj_bias[2 * width :]
        )
        values = drop_heads(values, attention.num_heads, attention.dropout)
        # Two affine maps in a row are one, whose product does not grow with N.
        outer, inner = self.linear, attention.out_proj
        weight, bias = outer.weight @ inner.weight, outer.weight @ inner.bias + outer.bias
        return F.linear(values, weight, bias)


def drop_heads(values: Tensor, heads: int, rate: float) -> Tensor:
    """Do what dropout of attention weights does to ``values`` [N, width] of a single key.

    A head's one weight is dropped or scaled up, and all of the head's values with it.
    """
    kept = F.dropout(values.new_ones(len(values), heads, 1), rate)
    return (values.view(len(values), heads, -1) * kept).flatten(1)


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
