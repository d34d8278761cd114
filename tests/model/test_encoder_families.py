"""Every family of encoders that a name can stand for, in small, saved as a folder."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoConfig, Wav2Vec2ForCTC

from hemogat.config import AudioEncoderConfig, TextConfig, TextEncoderConfig
from hemogat.errors import ConfigError
from hemogat.model.encoders import (
    TextEncoder,
    build_audio_encoder,
    build_text_encoder,
    load_audio_encoder,
    save_encoder,
)

TEXT = TextConfig(max_tokens=32, token_buckets=(16, 32))
LARGE = {"feat_extract_norm": "layer", "do_stable_layer_norm": True, "conv_bias": True}
Saved = Callable[..., tuple[str, Any]]


@pytest.fixture
def saved(tiny_backbone: Callable[..., Any], tmp_path: Path) -> Saved:
    """Return what writes a tiny model into a folder, and returns its name and the model."""

    def save(model_type: str, **settings: Any) -> tuple[str, Any]:
        model = tiny_backbone(model_type, **settings)
        model.save_pretrained(tmp_path / model_type)
        return str(tmp_path / model_type), model

    return save


def build_text(name: str, **settings: Any) -> TextEncoder:
    text = TEXT.model_copy(update=settings)
    return build_text_encoder(TextEncoderConfig(pretrained=name), text, vocab_size=50).eval()


@torch.no_grad()
@pytest.mark.parametrize("model_type", ["wav2vec2", "hubert", "wavlm"])
@pytest.mark.parametrize("architecture", [{}, LARGE], ids=["base", "large"])
def test_an_audio_model_is_loaded_by_its_folder(
    model_type: str, architecture: dict[str, Any], saved: Saved, tmp_path: Path
) -> None:
    name, model = saved(model_type, **architecture)
    encoder = build_audio_encoder(AudioEncoderConfig(pretrained=name)).eval()
    windows = torch.randn(2, 16_000)
    normal = (windows - windows.mean(1, keepdim=True)) / windows.std(1, keepdim=True, correction=0)
    expected = model(normal).last_hidden_state.mean(dim=1)
    torch.testing.assert_close(encoder(windows), expected, atol=1e-5, rtol=0)
    assert encoder.dim == 16
    save_encoder(encoder, tmp_path / "saved")
    again = load_audio_encoder(tmp_path / "saved").eval()
    torch.testing.assert_close(again(windows), encoder(windows), atol=1e-6, rtol=0)


@torch.no_grad()
def test_an_adapter_gives_the_embedding_its_size(saved: Saved) -> None:
    adapter = {"add_adapter": True, "output_hidden_size": 12, "num_adapter_layers": 1}
    name, _ = saved("wav2vec2", **adapter)
    encoder = build_audio_encoder(AudioEncoderConfig(pretrained=name)).eval()
    assert encoder(torch.randn(1, 16_000)).shape == (1, encoder.dim) == (1, 12)


@torch.no_grad()
@pytest.mark.parametrize(
    "model_type", ["bert", "roberta", "xlm-roberta", "camembert", "distilbert", "electra"]
)
def test_a_text_model_is_loaded_by_its_folder(model_type: str, saved: Saved) -> None:
    name, model = saved(model_type)
    encoder = build_text(name)
    ids = torch.randint(5, 50, (3, 32))
    mask = (torch.arange(32) < torch.tensor([[7], [20], [32]])).long()
    ids[mask == 0] = model.config.pad_token_id
    states = model(input_ids=ids, attention_mask=mask).last_hidden_state
    expected = (states * mask[..., None]).sum(1) / mask.sum(1, keepdim=True)
    torch.testing.assert_close(encoder(ids, mask), expected, atol=1e-5, rtol=0)
    assert encoder.dim == 16


@pytest.mark.parametrize(
    ("builder", "model_type", "accepted"),
    [
        ("audio", "bert", "wav2vec2, hubert, wavlm"),
        ("text", "wav2vec2", "bert, roberta, xlm-roberta, camembert, distilbert, electra"),
    ],
)
def test_a_model_of_another_family_is_refused(
    builder: str, model_type: str, accepted: str, tmp_path: Path
) -> None:
    AutoConfig.for_model(model_type).save_pretrained(tmp_path)  # refused before any weight is read
    message = rf"{builder}_encoder\.pretrained: .* type '{model_type}', .* one of {accepted}$"
    name = str(tmp_path)
    build = {
        "audio": lambda: build_audio_encoder(AudioEncoderConfig(pretrained=name)),
        "text": lambda: build_text(name),
    }[builder]
    with pytest.raises(ConfigError, match=message):
        build()


def test_a_model_with_another_head_on_top_is_loaded_without_it(
    tiny_backbone: Callable[..., Any], tmp_path: Path
) -> None:
    model = Wav2Vec2ForCTC(tiny_backbone("wav2vec2").config)
    model.save_pretrained(tmp_path)
    encoder = build_audio_encoder(AudioEncoderConfig(pretrained=str(tmp_path)))
    state = encoder.backbone.state_dict()
    assert set(state) == set(model.wav2vec2.state_dict())
    for name, value in model.wav2vec2.state_dict().items():
        torch.testing.assert_close(state[name], value, atol=0, rtol=0)


@torch.no_grad()
def test_weights_of_older_files_are_read_by_their_older_names(saved: Saved, tmp_path: Path) -> None:
    """Hub files are often pickles, and call the weight norm's tensors weight_g and weight_v."""
    name, _ = saved("wavlm")
    old = tmp_path / "old"
    old.mkdir()
    shutil.copy(Path(name, "config.json"), old)
    state = load_file(Path(name, "model.safetensors"))
    for number, letter in enumerate("gv"):
        for known in [n for n in state if n.endswith(f"parametrizations.weight.original{number}")]:
            renamed = known.replace(f"parametrizations.weight.original{number}", f"weight_{letter}")
            state[renamed] = state.pop(known)
    assert [n for n in state if n.endswith("weight_g")]
    del state["masked_spec_embed"]  # used in pretraining only
    torch.save(state, old / "pytorch_model.bin")
    windows = torch.randn(1, 16_000)
    new, again = (
        build_audio_encoder(AudioEncoderConfig(pretrained=str(folder))).eval()(windows)
        for folder in (name, old)
    )
    torch.testing.assert_close(again, new, atol=1e-6, rtol=0)


@torch.no_grad()
def test_half_precision_weights_become_float32(saved: Saved) -> None:
    name, model = saved("bert")
    model.half().save_pretrained(name)
    assert {p.dtype for p in build_text(name).parameters()} == {torch.float32}


def test_a_lacking_weight_is_an_error_and_no_random_number(saved: Saved) -> None:
    name, _ = saved("bert")
    weights = Path(name, "model.safetensors")
    state = load_file(weights)
    state = {n: v for n, v in state.items() if not n.startswith("pooler.")}
    save_file(state, weights, metadata={"format": "pt"})
    build_text(name, pooling="mean")  # does not use it
    with pytest.raises(ConfigError, match=r"lacks the weight pooler\.dense\.bias"):
        build_text(name, pooling="pooler")
    del state["encoder.layer.1.output.dense.weight"]
    save_file(state, weights, metadata={"format": "pt"})
    with pytest.raises(ConfigError, match=r"lacks the weight encoder\.layer\.1\.output"):
        build_text(name, pooling="mean")


def test_damaged_weights_are_an_error(saved: Saved) -> None:
    name, _ = saved("bert")
    Path(name, "model.safetensors").write_bytes(b"not weights")
    with pytest.raises(ConfigError, match=r"text_encoder\.pretrained: ") as caught:
        build_text(name)
    assert "\n" not in str(caught.value)


def test_a_text_model_must_fit_the_text_settings(saved: Saved) -> None:
    name, _ = saved("distilbert")
    with pytest.raises(ConfigError, match=r"text\.pooling: .*'distilbert' has no pooler"):
        build_text(name, pooling="pooler")
    name, _ = saved("roberta", max_position_embeddings=33)
    with pytest.raises(ConfigError, match=r"token_buckets reach 32, .* at most 31 tokens"):
        build_text(name)
