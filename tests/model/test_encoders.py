from __future__ import annotations

from pathlib import Path
from typing import Literal

import numpy as np
import pytest
import torch
from transformers import Wav2Vec2FeatureExtractor

from hemogat.config import (
    AudioEncoderConfig,
    BertSize,
    TextConfig,
    TextEncoderConfig,
    Wav2Vec2Size,
)
from hemogat.errors import ConfigError
from hemogat.model.encoders import (
    AudioEncoder,
    TextEncoder,
    build_audio_encoder,
    build_text_encoder,
    load_audio_encoder,
    load_text_encoder,
    save_encoder,
)

WINDOW = 16_000
Pooling = Literal["mean", "pooler"]


@pytest.fixture(scope="module")
def audio_encoder() -> AudioEncoder:
    torch.manual_seed(0)
    size = Wav2Vec2Size(width=16, layers=1, heads=2, conv_width=8)
    return build_audio_encoder(AudioEncoderConfig(scratch=size)).eval()


def text_encoder(pooling: Pooling) -> TextEncoder:
    torch.manual_seed(0)
    size = BertSize(width=16, layers=2, heads=2)
    config = TextConfig(pooling=pooling, max_tokens=32, token_buckets=(16, 32))
    encoder = build_text_encoder(TextEncoderConfig(scratch=size), config, vocab_size=50).eval()
    for parameter in encoder.parameters():  # at BERT's initial values, tokens hardly meet
        torch.nn.init.normal_(parameter, std=0.3)
    return encoder


@torch.no_grad()
def test_windows_are_normalised_as_transformers_does(audio_encoder: AudioEncoder) -> None:
    random = np.random.default_rng(0)
    windows = random.standard_normal((3, WINDOW)).astype(np.float32)
    windows *= np.array([[1e-4], [0.1], [30.0]], np.float32)
    windows += np.array([[0.0], [0.5], [-7.0]], np.float32)
    extract = Wav2Vec2FeatureExtractor(do_normalize=True)
    for window in windows:  # by itself each: padding to a batch would change the statistics
        normal = extract(window, sampling_rate=16_000, return_tensors="pt").input_values
        expected = audio_encoder.backbone(normal).last_hidden_state.mean(dim=1)
        found = audio_encoder(torch.from_numpy(window)[None])
        torch.testing.assert_close(found, expected, atol=1e-4, rtol=1e-4)


@torch.no_grad()
def test_loudness_and_offset_do_not_matter(audio_encoder: AudioEncoder) -> None:
    window = torch.randn(1, WINDOW)
    found = audio_encoder(torch.cat([window, 0.05 * window, window + 0.3]))
    torch.testing.assert_close(found, found[:1].expand(3, -1), atol=1e-4, rtol=0)


@torch.no_grad()
@pytest.mark.parametrize("level", [0.0, 0.7, 1e-30])
def test_silence_gives_a_finite_embedding(audio_encoder: AudioEncoder, level: float) -> None:
    assert torch.isfinite(audio_encoder(torch.full((2, WINDOW), level))).all()


@torch.no_grad()
def test_a_window_does_not_see_its_batch(audio_encoder: AudioEncoder) -> None:
    windows = torch.randn(4, WINDOW) * torch.tensor([[0.1], [1], [10], [0]])
    together = audio_encoder(windows)
    alone = torch.cat([audio_encoder(window[None]) for window in windows])
    torch.testing.assert_close(together, alone, atol=1e-5, rtol=0)


def tokens(length: int, padded: int) -> tuple[torch.Tensor, torch.Tensor]:
    ids = torch.zeros(1, padded, dtype=torch.int64)
    ids[0, :length] = torch.arange(5, 5 + length)
    return ids, (torch.arange(padded) < length).long()[None]


@torch.no_grad()
@pytest.mark.parametrize("pooling", ["mean", "pooler"])
def test_the_mask_works_as_transformers_own(pooling: Pooling) -> None:
    encoder = text_encoder(pooling)
    ids, mask = (torch.cat(parts) for parts in zip(tokens(4, 16), tokens(16, 16), strict=True))
    output = encoder.backbone(input_ids=ids, attention_mask=mask)
    expected = {
        "mean": torch.stack(
            [
                states[kept.bool()].mean(dim=0)
                for states, kept in zip(output.last_hidden_state, mask, strict=True)
            ]
        ),
        "pooler": output.pooler_output,
    }[pooling]
    torch.testing.assert_close(encoder(ids, mask), expected, atol=1e-5, rtol=0)


@torch.no_grad()
@pytest.mark.parametrize("pooling", ["mean", "pooler"])
def test_padding_does_not_change_an_embedding(pooling: Pooling) -> None:
    encoder = text_encoder(pooling)
    short = encoder(*tokens(6, 16))
    long = encoder(*tokens(6, 32))
    torch.testing.assert_close(short, long, atol=1e-5, rtol=0)
    other = encoder(*tokens(7, 16))
    assert (short - other).abs().max() > 1e-2  # but one more token does


@torch.no_grad()
def test_saved_encoders_load_as_they_were(audio_encoder: AudioEncoder, tmp_path: Path) -> None:
    encoder = text_encoder("mean")
    save_encoder(audio_encoder, tmp_path / "audio")
    save_encoder(encoder, tmp_path / "text")
    windows = torch.randn(2, WINDOW)
    again = load_audio_encoder(tmp_path / "audio").eval()
    torch.testing.assert_close(again(windows), audio_encoder(windows), atol=1e-6, rtol=0)
    config = TextConfig(pooling="mean", max_tokens=32, token_buckets=(16, 32))
    text_again = load_text_encoder(tmp_path / "text", config).eval()
    torch.testing.assert_close(text_again(*tokens(4, 16)), encoder(*tokens(4, 16)))
    assert again.dim == text_again.dim == 16
    assert {p.suffix for p in tmp_path.rglob("*") if p.is_file()} == {".json", ".safetensors"}


def test_a_name_that_stands_for_nothing_is_an_error(tmp_path: Path) -> None:
    nothing = str(tmp_path / "nothing")
    with pytest.raises(ConfigError, match=r"audio_encoder\.pretrained: .*nothing") as caught:
        build_audio_encoder(AudioEncoderConfig(pretrained=nothing))
    assert "\n" not in str(caught.value)
    with pytest.raises(ConfigError, match=r"text_encoder\.pretrained: .*nothing"):
        build_text_encoder(TextEncoderConfig(pretrained=nothing), TextConfig(), vocab_size=50)
