from __future__ import annotations

import torch
from torch import Tensor, nn

from hemogat.model.cmt import CrossAttentionBlock, CrossModalTransformer, drop_heads

WIDTH, HEADS = 8, 4


def randomise(module: nn.Module) -> None:
    for parameter in module.parameters():
        nn.init.uniform_(parameter, -0.5, 0.5)


def by_hand(block: CrossAttentionBlock, query: Tensor, key_value: Tensor) -> Tensor:
    """Eq. 11 with the softmax written out: over the one key that there is."""
    wq, wk, wv = block.attention.in_proj_weight.chunk(3)
    bq, bk, bv = block.attention.in_proj_bias.chunk(3)
    per_head = (len(query), 1, HEADS, WIDTH // HEADS)
    q = (query @ wq.T + bq).reshape(per_head).transpose(1, 2)
    k = (key_value @ wk.T + bk).reshape(per_head).transpose(1, 2)
    v = (key_value @ wv.T + bv).reshape(per_head).transpose(1, 2)
    weights = (q @ k.transpose(2, 3) / (WIDTH // HEADS) ** 0.5).softmax(-1)
    attended = block.attention.out_proj((weights @ v).transpose(1, 2).reshape(len(query), WIDTH))
    out: Tensor = block.norm(block.linear(attended) + query)
    return out


def test_a_block_is_attention_residual_and_norm() -> None:
    torch.manual_seed(0)
    block = CrossAttentionBlock(WIDTH, HEADS, dropout=0.3).eval()
    randomise(block)
    query, key_value = torch.randn(5, WIDTH), torch.randn(5, WIDTH)
    with torch.no_grad():
        torch.testing.assert_close(
            block(query, key_value), by_hand(block, query, key_value), atol=1e-5, rtol=0
        )


def test_each_modality_asks_the_other() -> None:
    torch.manual_seed(0)
    cmt = CrossModalTransformer(WIDTH, HEADS, dropout=0.3).eval()
    randomise(cmt)
    audio, text = torch.randn(5, WIDTH), torch.randn(5, WIDTH)
    with torch.no_grad():
        expected = [
            by_hand(cmt.audio_to_text, audio, text),  # Eq. 11: Q from audio, K and V from text
            by_hand(cmt.text_to_audio, text, audio),
        ]
        torch.testing.assert_close(cmt(audio, text), torch.cat(expected, 1), atol=1e-5, rtol=0)


def test_training_without_query_and_key_is_training_with_them() -> None:
    torch.manual_seed(0)
    block = CrossAttentionBlock(WIDTH, HEADS, dropout=0.0)
    randomise(block)
    query, key_value = torch.randn(5, WIDTH), torch.randn(5, WIDTH)
    direction = torch.randn(5, WIDTH)
    outputs, gradients = [], []
    for training in (True, False):
        block.train(training)
        block.zero_grad()
        one, other = query.clone().requires_grad_(), key_value.clone().requires_grad_()
        out = block(one, other)
        (out * direction).sum().backward()
        outputs.append(out.detach())
        named = {name: p.grad for name, p in block.named_parameters()}
        gradients.append(named | {"query": one.grad, "key_value": other.grad})
    torch.testing.assert_close(outputs[0], outputs[1], atol=1e-5, rtol=1e-5)
    for name, expected in gradients[1].items():
        torch.testing.assert_close(gradients[0][name], expected, atol=1e-5, rtol=1e-5)


def test_dropout_of_attention_drops_whole_heads() -> None:
    torch.manual_seed(0)
    values = torch.rand(3000, WIDTH) + 1
    factors = (drop_heads(values, HEADS, 0.25) / values).view(3000, HEADS, -1)
    assert (factors == factors[..., :1]).float().mean() > 0.9  # but for rounding
    kept = factors[..., 0] != 0
    assert abs(float(kept.float().mean()) - 0.75) < 0.02
    torch.testing.assert_close(factors[kept], torch.full_like(factors[kept], 4 / 3))
