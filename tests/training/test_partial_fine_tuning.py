from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from hemogat.config import (
    AudioEncoderConfig,
    BertSize,
    EncoderTraining,
    TextConfig,
    TextEncoderConfig,
    Wav2Vec2Size,
)
from hemogat.data.text import TokenizedText
from hemogat.errors import ConfigError
from hemogat.export.folding import fold_weight_norm
from hemogat.model.encoders import (
    AudioEncoder,
    TextEncoder,
    build_audio_encoder,
    build_text_encoder,
)
from hemogat.progress import Progress
from hemogat.training.encoder_training import train_audio_encoder, train_text_encoder
from hemogat.training.preparation import PreparedRow

TEXT = TextConfig(max_tokens=16, token_buckets=(16,))
TRAINING = EncoderTraining(epochs=2, batch_size=4, learning_rate=1e-2, weight_decay=0.1)
KEY_BIASES = ("k_proj.bias", "key.bias", "k_lin.bias")
Pretrained = Callable[..., str]


@pytest.fixture
def pretrained(tiny_backbone: Callable[..., Any], tmp_path: Path) -> Pretrained:
    """Return what writes a tiny model of three layers into a folder, and returns its name."""

    def save(model_type: str, **settings: Any) -> str:
        tiny_backbone(model_type, num_hidden_layers=3, **settings).save_pretrained(tmp_path)
        return str(tmp_path)

    return save


def rows(count: int) -> list[PreparedRow]:
    random = np.random.default_rng(0)
    return [
        PreparedRow(
            random.standard_normal(16_000).astype(np.float32),
            TokenizedText(random.integers(5, 20, 16), np.ones(16, np.int64)),
            number % 2,
        )
        for number in range(count)
    ]


def changed_by_training(encoder: AudioEncoder | TextEncoder) -> set[str]:
    """Train; return the names of the parameters and buffers that are no longer bit-identical."""
    before = {name: value.clone() for name, value in encoder.state_dict().items()}
    if isinstance(encoder, AudioEncoder):
        train_audio_encoder(encoder, rows(8), rows(4), 2, TRAINING, 16_000, Progress())
    else:
        train_text_encoder(encoder, rows(8), rows(4), 2, TRAINING, Progress())
    after = encoder.state_dict()
    return {name for name, value in before.items() if not torch.equal(after[name], value)}


def assert_trained(encoder: AudioEncoder | TextEncoder, *prefixes: str) -> None:
    trained = {name for name, _ in encoder.named_parameters() if name.startswith(prefixes)}
    changed = changed_by_training(encoder)
    assert changed <= trained
    # What is added to all keys changes no softmax: the bias has no gradient but for rounding.
    assert {name for name in trained - changed if not name.endswith(KEY_BIASES)} == set()


@pytest.mark.parametrize("model_type", ["wav2vec2", "wavlm"])
@pytest.mark.parametrize("stable", [False, True])
def test_only_the_last_audio_layers_change(
    model_type: str, stable: bool, pretrained: Pretrained
) -> None:
    name = pretrained(model_type, do_stable_layer_norm=stable)
    encoder = build_audio_encoder(AudioEncoderConfig(pretrained=name, train_last_layers=2))
    final_norm = ("backbone.encoder.layer_norm.",) if stable else ()
    assert_trained(encoder, "backbone.encoder.layers.1.", "backbone.encoder.layers.2.", *final_norm)


def test_a_pretrained_feature_extractor_is_frozen_by_default(pretrained: Pretrained) -> None:
    name = pretrained("wav2vec2")
    encoder = build_audio_encoder(AudioEncoderConfig(pretrained=name))
    assert_trained(encoder, "backbone.feature_projection.", "backbone.encoder.")


def test_a_pretrained_feature_extractor_can_be_trained(pretrained: Pretrained) -> None:
    name = pretrained("wav2vec2")
    config = AudioEncoderConfig(pretrained=name, freeze_feature_extractor=False)
    parts = ("feature_extractor", "feature_projection", "encoder")
    assert_trained(build_audio_encoder(config), *(f"backbone.{part}." for part in parts))


@pytest.mark.parametrize(
    ("model_type", "prefixes"),
    [
        ("bert", ("backbone.encoder.layer.2.", "backbone.pooler.")),
        ("roberta", ("backbone.encoder.layer.2.", "backbone.pooler.")),
        ("distilbert", ("backbone.transformer.layer.2.",)),
        ("electra", ("backbone.encoder.layer.2.",)),
    ],
)
def test_only_the_last_text_layers_change(
    model_type: str, prefixes: tuple[str, ...], pretrained: Pretrained
) -> None:
    name = pretrained(model_type)
    pooling = "pooler" if "backbone.pooler." in prefixes else "mean"
    text = TEXT.model_copy(update={"pooling": pooling})
    config = TextEncoderConfig(pretrained=name, train_last_layers=1)
    assert_trained(build_text_encoder(config, text, vocab_size=50), *prefixes)


def test_encoders_from_scratch_train_as_a_whole() -> None:
    size = Wav2Vec2Size(width=16, layers=1, heads=2, conv_width=8)
    audio = build_audio_encoder(AudioEncoderConfig(scratch=size))
    text = build_text_encoder(TextEncoderConfig(scratch=BertSize(width=16)), TEXT, vocab_size=20)
    for encoder in (audio, text):
        assert all(parameter.requires_grad for parameter in encoder.parameters())
        assert all(module.training for module in encoder.train().modules())


def test_frozen_parts_stay_in_evaluation_mode(pretrained: Pretrained) -> None:
    name = pretrained("wav2vec2")
    encoder = build_audio_encoder(AudioEncoderConfig(pretrained=name, train_last_layers=1))
    encoder.train()
    layers = encoder.backbone.get_submodule("encoder.layers")
    trained = {id(module) for module in list(layers.children())[-1].modules()}
    for module in encoder.modules():
        assert module.training == (id(module) in trained or module is encoder)
    folded = fold_weight_norm(encoder)  # a copy freezes its own parts, not the original's
    folded.train()
    assert not any(module.training for module in encoder.eval().modules())
    assert sum(module.training for module in folded.modules()) == 1 + len(trained)


@torch.no_grad()
def test_what_enters_the_trained_layers_has_no_dropout(pretrained: Pretrained) -> None:
    name = pretrained("wav2vec2", layerdrop=0.5)
    encoder = build_audio_encoder(AudioEncoderConfig(pretrained=name, train_last_layers=1))
    entering: list[torch.Tensor] = []
    layers = encoder.backbone.get_submodule("encoder.layers")
    list(layers.children())[-1].register_forward_pre_hook(lambda _, args: entering.append(args[0]))
    windows = torch.randn(1, 16_000)
    embeddings = [encoder.train(mode)(windows) for mode in (True, True, False)]
    torch.testing.assert_close(entering[0], entering[2], atol=0, rtol=0)
    torch.testing.assert_close(entering[1], entering[2], atol=0, rtol=0)
    assert not torch.equal(embeddings[0], embeddings[1])  # the trained layer has its dropout


def test_more_layers_than_there_are_is_an_error(pretrained: Pretrained) -> None:
    message = r"{}_encoder\.train_last_layers is 4, but the encoder has 3 layers"
    audio = AudioEncoderConfig(pretrained=pretrained("wav2vec2"), train_last_layers=4)
    with pytest.raises(ConfigError, match=message.format("audio")):
        build_audio_encoder(audio)
    text = TextEncoderConfig(pretrained=pretrained("bert"), train_last_layers=4)
    with pytest.raises(ConfigError, match=message.format("text")):
        build_text_encoder(text, TEXT, vocab_size=20)


def test_layers_from_scratch_are_not_frozen() -> None:
    message = r"{0}_encoder\.train_last_layers is 1, .* from scratch, .* {0}_encoder\.pretrained"
    with pytest.raises(ConfigError, match=message.format("audio")):
        build_audio_encoder(AudioEncoderConfig(train_last_layers=1))
    with pytest.raises(ConfigError, match=message.format("text")):
        build_text_encoder(TextEncoderConfig(train_last_layers=1), TEXT, vocab_size=20)
