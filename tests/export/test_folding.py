from __future__ import annotations

import warnings
from collections import Counter
from typing import Any

import onnx
import pytest
import torch
from torch import nn
from torch.nn.utils import parametrize

from hemogat.config import AudioEncoderConfig, HeadConfig, Wav2Vec2Size
from hemogat.export.folding import (
    FlatConvolution,
    FoldedCrossAttention,
    flatten_convolutions,
    fold_head,
    fold_weight_norm,
)
from hemogat.model.cmt import CrossAttentionBlock
from hemogat.model.encoders import AudioEncoder, build_audio_encoder
from hemogat.model.head import FusionHead


def randomise(module: nn.Module) -> None:
    for name, value in (*module.named_parameters(), *module.named_buffers()):
        if value.is_floating_point():
            nn.init.uniform_(value, *((0.5, 1.5) if "var" in name else (-0.5, 0.5)))


@torch.no_grad()
def test_folded_cross_attention_equals_the_block() -> None:
    torch.manual_seed(0)
    block = CrossAttentionBlock(32, heads=4, dropout=0.3).eval()
    randomise(block)
    query, key_value = torch.randn(64, 32), torch.randn(64, 32)
    folded = FoldedCrossAttention(block)
    torch.testing.assert_close(folded(query, key_value), block(query, key_value), atol=1e-5, rtol=0)


@torch.no_grad()
@pytest.mark.parametrize("modalities", ["both", "audio", "text"])
def test_a_folded_head_equals_the_head_and_leaves_it_alone(modalities: str) -> None:
    torch.manual_seed(0)
    config = HeadConfig.model_validate({"hidden": 16, "heads": 4, "modalities": modalities})
    head = FusionHead(7, 9, 3, config)
    randomise(head)
    head.eval()
    before = {name: value.clone() for name, value in head.state_dict().items()}
    e = (torch.randn(6, 7), torch.randn(6, 9), torch.ones(6, 2, dtype=torch.bool))
    slots = torch.tensor([[1, 2], [0, -1], [-1, -1], [5, 4], [0, 1], [2, 3]])

    folded = fold_head(head)

    torch.testing.assert_close(folded(*e, slots).logits, head(*e, slots).logits, atol=1e-5, rtol=0)
    assert not [m for m in folded.modules() if isinstance(m, nn.MultiheadAttention)]
    assert not folded.training
    assert {n: v.shape for n, v in head.state_dict().items()} == {
        n: v.shape for n, v in before.items()
    }
    for name, value in head.state_dict().items():
        torch.testing.assert_close(value, before[name], atol=0, rtol=0)


@pytest.fixture(scope="module")
def audio_encoder() -> AudioEncoder:
    torch.manual_seed(0)
    size = Wav2Vec2Size(width=16, layers=1, heads=2, conv_width=8)
    encoder = build_audio_encoder(AudioEncoderConfig(scratch=size)).eval()
    for name, parameter in encoder.named_parameters():
        if "parametrizations" in name:  # the norm and the direction, as training moves them
            nn.init.uniform_(parameter, 0.1, 0.9)
    return encoder


def parametrised(encoder: AudioEncoder) -> list[str]:
    return [n for n, m in encoder.named_modules() if parametrize.is_parametrized(m)]


def test_folding_the_weight_norm_equals_it_and_leaves_the_original_alone(
    audio_encoder: AudioEncoder,
) -> None:
    windows = torch.randn(2, 16_000)
    with torch.no_grad():
        expected = audio_encoder(windows)
        before = {name: value.clone() for name, value in audio_encoder.state_dict().items()}
        assert parametrised(audio_encoder)

        folded = fold_weight_norm(audio_encoder)

        assert parametrised(folded) == []
        torch.testing.assert_close(folded(windows), expected, atol=1e-6, rtol=0)
        torch.testing.assert_close(audio_encoder(windows), expected, atol=0, rtol=0)
        again = fold_weight_norm(audio_encoder)
        torch.testing.assert_close(again(windows), expected, atol=1e-6, rtol=0)
    assert set(before) == set(audio_encoder.state_dict())
    for name, value in audio_encoder.state_dict().items():
        torch.testing.assert_close(value, before[name], atol=0, rtol=0)


@torch.no_grad()
@pytest.mark.parametrize(
    "settings",
    [
        {"stride": 5, "bias": False},
        {"stride": 2, "padding": 3},
        {"padding": "same", "groups": 2, "kernel_size": 3},
        {"padding": "valid", "dilation": 2},
    ],
)
def test_a_flat_convolution_equals_the_one_of_one_dimension(settings: dict[str, Any]) -> None:
    torch.manual_seed(0)
    conv = nn.Conv1d(4, 6, **({"kernel_size": 4} | settings))
    values = torch.randn(2, 4, 50)
    torch.testing.assert_close(FlatConvolution(conv)(values), conv(values))


@torch.no_grad()
def test_an_encoder_with_flat_convolutions_equals_it(audio_encoder: AudioEncoder) -> None:
    windows = torch.randn(2, 16_000)
    flat = flatten_convolutions(fold_weight_norm(audio_encoder))
    kinds = Counter(type(module) for module in flat.modules())
    assert (kinds[FlatConvolution], kinds[nn.Conv1d]) == (8, 0)
    torch.testing.assert_close(flat(windows), audio_encoder(windows), atol=1e-6, rtol=0)


def test_an_encoder_can_be_trained_on_after_its_export(audio_encoder: AudioEncoder) -> None:
    fold_weight_norm(audio_encoder)
    audio_encoder.zero_grad()
    audio_encoder(torch.randn(1, 16_000)).square().sum().backward()
    norms = [p for n, p in audio_encoder.named_parameters() if "parametrizations" in n]
    assert norms
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in norms)


def test_folding_removes_the_query_and_key_products() -> None:
    """Query, key, value, output and linear, and both attention products, become one product."""
    block = CrossAttentionBlock(8, heads=2, dropout=0.0).eval()
    counts = [
        Counter(node.op_type for node in _exported(module).graph.node)
        for module in (block, FoldedCrossAttention(block))
    ]
    products = [count["MatMul"] + count["Gemm"] for count in counts]
    assert products[0] >= 5
    assert products[1] == 1
    assert [count["Softmax"] for count in counts] == [1, 0]


def _exported(module: nn.Module) -> onnx.ModelProto:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        program = torch.onnx.export(
            module, (torch.randn(2, 8), torch.randn(2, 8)), dynamo=True, verbose=False
        )
    assert program is not None
    return program.model_proto
