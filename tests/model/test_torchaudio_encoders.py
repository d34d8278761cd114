from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn
from torchaudio.models import wav2vec2_model, wavlm_model
from torchaudio.models.wav2vec2.utils import import_huggingface_model
from transformers import (
    HubertConfig,
    HubertModel,
    PreTrainedModel,
    Wav2Vec2Config,
    Wav2Vec2Model,
    WavLMConfig,
    WavLMModel,
)

from hemogat.config import AudioEncoderConfig
from hemogat.errors import ConfigError, HemogatError
from hemogat.model.encoders import build_audio_encoder
from hemogat.model.torchaudio_encoders import convert

CONVOLUTIONS = [(8, 10, 5), (12, 3, 2), (8, 2, 2)]
BASE = {"extractor_mode": "group_norm", "bias": False, "norm_first": False}
LARGE = {"extractor_mode": "layer_norm", "bias": True, "norm_first": True}
ARCHITECTURES = pytest.mark.parametrize("architecture", [BASE, LARGE], ids=["base", "large"])
MODEL_TYPES = pytest.mark.parametrize("model_type", ["wav2vec2", "hubert", "wavlm"])


def randomise(model: nn.Module) -> nn.Module:
    for parameter in model.parameters():
        nn.init.normal_(parameter, std=0.3)
    return model.eval()


def torchaudio_model(
    model_type: str, architecture: dict[str, Any], aux_num_out: int | None = None
) -> nn.Module:
    """Build what torchaudio's bundles build, in small, each size unlike the others."""
    torch.manual_seed(0)
    sizes = {
        "extractor_mode": architecture["extractor_mode"],
        "extractor_conv_layer_config": CONVOLUTIONS,
        "extractor_conv_bias": architecture["bias"],
        "encoder_embed_dim": 16,
        "encoder_projection_dropout": 0.11,
        "encoder_pos_conv_kernel": 6,
        "encoder_pos_conv_groups": 4,
        "encoder_num_layers": 3,
        "encoder_num_heads": 2,
        "encoder_attention_dropout": 0.12,
        "encoder_ff_interm_features": 24,
        "encoder_ff_interm_dropout": 0.13,
        "encoder_dropout": 0.14,
        "encoder_layer_norm_first": architecture["norm_first"],
        "encoder_layer_drop": 0.15,
        "aux_num_out": aux_num_out,
    }
    if model_type == "wavlm":
        return randomise(wavlm_model(**sizes, encoder_num_buckets=20, encoder_max_distance=40))
    return randomise(wav2vec2_model(**sizes))


def transformers_model(model_type: str, architecture: dict[str, Any]) -> PreTrainedModel:
    torch.manual_seed(0)
    kinds = {
        "wav2vec2": (Wav2Vec2Config, Wav2Vec2Model),
        "hubert": (HubertConfig, HubertModel),
        "wavlm": (WavLMConfig, WavLMModel),
    }
    config, model = kinds[model_type]
    sizes = {
        "conv_dim": [width for width, _, _ in CONVOLUTIONS],
        "conv_kernel": [kernel for _, kernel, _ in CONVOLUTIONS],
        "conv_stride": [stride for _, _, stride in CONVOLUTIONS],
        "conv_bias": architecture["bias"],
        "feat_extract_norm": architecture["extractor_mode"].removesuffix("_norm"),
        "do_stable_layer_norm": architecture["norm_first"],
        "hidden_size": 16,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "intermediate_size": 24,
        "num_conv_pos_embeddings": 6,
        "num_conv_pos_embedding_groups": 4,
        "mask_time_prob": 0.0,
    }
    return randomise(model(config(**sizes)))


@torch.no_grad()
@MODEL_TYPES
@ARCHITECTURES
def test_a_converted_model_equals_torchaudios(
    model_type: str, architecture: dict[str, Any]
) -> None:
    source = torchaudio_model(model_type, architecture)
    converted = convert(source, model_type)
    waveforms = torch.randn(2, 2_000)
    expected, _ = source(waveforms)
    assert expected.std() > 0.01
    found = converted(waveforms).last_hidden_state
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=0)
    assert converted.config.model_type == model_type
    assert converted.config._attn_implementation == "eager"
    assert not [m for m in converted.modules() if type(m).__module__.startswith("torchaudio")]
    back, _ = import_huggingface_model(converted).eval()(waveforms)
    torch.testing.assert_close(back, expected, atol=1e-5, rtol=0)


@torch.no_grad()
@MODEL_TYPES
@ARCHITECTURES
def test_a_model_that_torchaudio_imported_comes_back_as_it_was(
    model_type: str, architecture: dict[str, Any]
) -> None:
    original = transformers_model(model_type, architecture)
    again = convert(import_huggingface_model(original), model_type)
    assert type(again) is type(original)
    state = again.state_dict()
    assert set(state) == set(original.state_dict())
    for name, value in original.state_dict().items():
        torch.testing.assert_close(state[name], value, atol=0, rtol=0)
    waveforms = torch.randn(2, 2_000)
    torch.testing.assert_close(
        again(waveforms).last_hidden_state, original(waveforms).last_hidden_state, atol=1e-5, rtol=0
    )


def test_dropout_and_layer_drop_are_kept() -> None:
    config = convert(torchaudio_model("hubert", BASE), "hubert").config
    assert config.feat_proj_dropout == 0.11
    assert config.attention_dropout == 0.12
    assert config.activation_dropout == 0.13
    assert config.hidden_dropout == 0.14
    assert config.layerdrop == 0.15


def test_parameters_without_a_counterpart_are_named() -> None:
    with pytest.raises(HemogatError, match=r"no counterpart for aux\.bias, aux\.weight$"):
        convert(torchaudio_model("wav2vec2", BASE, aux_num_out=5), "wav2vec2")
    with pytest.raises(HemogatError, match=r"encoder\.layers\.0\.attention\.gru_rel_pos_const"):
        convert(torchaudio_model("wavlm", BASE), "wav2vec2")


@pytest.mark.parametrize(
    ("bundle", "file"),
    [
        ("WAV2VEC2_BASE", "wav2vec2_fairseq_base_ls960.pth"),
        ("WAVLM_BASE", "wavlm_base.pth"),
    ],
)
@pytest.mark.parametrize("content", [b"", b"not weights"])
def test_weights_that_cannot_be_read_are_an_error(
    bundle: Any, file: str, content: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    cached = tmp_path / "hub" / "checkpoints" / file
    cached.parent.mkdir(parents=True)
    cached.write_bytes(content)
    with pytest.raises(ConfigError, match=rf"audio_encoder\.torchaudio: .* {bundle} ") as caught:
        build_audio_encoder(AudioEncoderConfig(torchaudio=bundle))
    assert "\n" not in str(caught.value)
