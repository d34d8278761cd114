"""Rewrites of the torch modules before export: same outputs, fewer operators."""

from __future__ import annotations

import copy
from typing import Any

from torch import Tensor, nn
from torch.nn.utils import parametrize
from transformers import AttentionInterface
from transformers.models.wav2vec2.modeling_wav2vec2 import eager_attention_forward

from hemogat.model.cmt import CrossAttentionBlock
from hemogat.model.encoders import AudioEncoder
from hemogat.model.head import FusionHead

_UNMASKED = "hemogat_unmasked"


class FoldedCrossAttention(nn.Module):
    r"""A :class:`CrossAttentionBlock` with a single key, as one matrix.

    The softmax over one key is 1, so query and key products cancel out of the result:

    .. math:: CM = \mathrm{LN}(W (W_O (W_V\, kv + b_V) + b_O) + b + q)

    and the three matrices are multiplied once, in double precision.

    Shapes:
        query, key_value: [N, width]
        result: [N, width]
    """

    def __init__(self, block: CrossAttentionBlock) -> None:
        super().__init__()
        attention = block.attention
        width = attention.embed_dim
        value = _layer(attention.in_proj_weight[2 * width :], attention.in_proj_bias[2 * width :])
        weight, bias = value
        for outer in (attention.out_proj, block.linear):
            weight, bias = _after(outer, weight, bias)
        self.linear = nn.Linear(width, width)
        self.linear.load_state_dict({"weight": weight.float(), "bias": bias.float()})
        self.norm = copy.deepcopy(block.norm)

    def forward(self, query: Tensor, key_value: Tensor) -> Tensor:
        """Return ``query`` informed by ``key_value``."""
        out: Tensor = self.norm(self.linear(key_value) + query)
        return out


def fold_head(head: FusionHead) -> FusionHead:
    """Return a copy of ``head`` for evaluation with its single-key attention folded away."""
    folded = copy.deepcopy(head).eval()
    for parent in (folded, folded.cmt):
        for name, child in list(parent.named_children()) if parent is not None else ():
            if isinstance(child, CrossAttentionBlock):
                setattr(parent, name, FoldedCrossAttention(child))
    return folded


def fold_weight_norm(encoder: AudioEncoder) -> AudioEncoder:
    """Return a copy for evaluation with a plain convolution where wav2vec2 has a weight norm."""
    folded = copy.deepcopy(encoder).eval()
    for parent in list(folded.modules()):
        for name, child in list(parent.named_children()):
            if isinstance(child, nn.Conv1d) and parametrize.is_parametrized(child, "weight"):
                setattr(parent, name, _plain(child))
    return folded


class FlatConvolution(nn.Module):
    """A :class:`nn.Conv1d` as a convolution over a picture of one row: the same sums.

    ONNX Runtime has its fast convolutions, blocked by channels, for two dimensions alone.

    Shapes:
        values: [N, in_channels, T]
        result: [N, out_channels, T']
    """

    def __init__(self, conv: nn.Conv1d) -> None:
        super().__init__()
        self.weight = nn.Parameter(conv.weight.detach().unsqueeze(2))
        self.bias = conv.bias
        self.settings: dict[str, Any] = {
            "stride": (1, conv.stride[0]),
            "padding": conv.padding if isinstance(conv.padding, str) else (0, conv.padding[0]),
            "dilation": (1, conv.dilation[0]),
            "groups": conv.groups,
        }

    def forward(self, values: Tensor) -> Tensor:
        """Convolve along the last axis."""
        row = values.unsqueeze(2)
        convolved = nn.functional.conv2d(row, self.weight, self.bias, **self.settings)
        return convolved.squeeze(2)


def flatten_convolutions(encoder: AudioEncoder) -> AudioEncoder:
    """Make all convolutions of ``encoder`` :class:`FlatConvolution`; return it."""
    for parent in list(encoder.modules()):
        for name, child in list(parent.named_children()):
            if isinstance(child, nn.Conv1d):
                setattr(parent, name, FlatConvolution(child))
    return encoder


def leave_mask_out(encoder: AudioEncoder) -> AudioEncoder:
    """Make ``encoder`` attend without the mask that transformers builds of ones; return it.

    Windows are never padded. An attention function that transformers knows no mask for gets none;
    WavLM has attention of its own, without one.
    """
    if encoder.backbone.config.model_type in ("wav2vec2", "hubert"):
        AttentionInterface.register(_UNMASKED, eager_attention_forward)
        encoder.backbone.set_attn_implementation(_UNMASKED)
    return encoder


def _plain(conv: nn.Conv1d) -> nn.Conv1d:
    # Not torch's remove_parametrizations: it edits the class, which the original shares.
    plain = nn.Conv1d(
        conv.in_channels,
        conv.out_channels,
        conv.kernel_size[0],
        stride=conv.stride[0],
        padding=conv.padding if isinstance(conv.padding, str) else conv.padding[0],
        dilation=conv.dilation[0],
        groups=conv.groups,
        bias=conv.bias is not None,
    )
    state = {"weight": conv.weight.detach()}
    if conv.bias is not None:
        state["bias"] = conv.bias.detach()
    plain.load_state_dict(state)
    return plain.eval()


def _layer(weight: Tensor, bias: Tensor) -> tuple[Tensor, Tensor]:
    return weight.detach().double(), bias.detach().double()


def _after(outer: nn.Linear, weight: Tensor, bias: Tensor) -> tuple[Tensor, Tensor]:
    """Return the one affine map that equals ``outer`` after (weight, bias)."""
    outer_weight, outer_bias = _layer(outer.weight, outer.bias)
    return outer_weight @ weight, outer_weight @ bias + outer_bias
