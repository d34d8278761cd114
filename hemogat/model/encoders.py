"""The encoders: wav2vec2 on windows, BERT on tokens, each giving one embedding."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor, nn
from transformers import BertConfig, BertModel, PreTrainedModel, Wav2Vec2Config, Wav2Vec2Model

from hemogat.config import (
    AudioEncoderConfig,
    BertSize,
    TextConfig,
    TextEncoderConfig,
    Wav2Vec2Size,
)
from hemogat.errors import ConfigError
from hemogat.model.partial_training import PartlyTrained, last_layers
from hemogat.model.pretrained import load_pretrained, load_saved, quiet_transformers
from hemogat.model.torchaudio_encoders import load_bundle
from hemogat.model.writing import writing

AUDIO_MODEL_TYPES = ("wav2vec2", "hubert", "wavlm")
_ROBERTA_LIKE = ("roberta", "xlm-roberta", "camembert")
TEXT_MODEL_TYPES = ("bert", *_ROBERTA_LIKE, "distilbert", "electra")
_NEVER_ATTENDED = -1e4  # its exponential is 0 in every precision, and it fits into fp16


class AudioEncoder(PartlyTrained):
    r"""wav2vec2, HuBERT or WavLM over one window, averaged over its frames.

    The window is normalised here, inside the graph, so that no caller can forget it:

    .. math:: \hat x = (x - \bar x) / \sqrt{\mathrm{var}(x) + 10^{-7}}

    (the same as transformers' ``Wav2Vec2FeatureExtractor``; silence gives zeros). No attention
    mask: windows are never padded but for utterances shorter than one.

    Shapes:
        windows: [W, window_samples], 16 kHz
        result: [W, dim]
    """

    def __init__(self, backbone: PreTrainedModel) -> None:
        super().__init__()
        self.backbone = backbone

    @property
    def dim(self) -> int:
        """Size of the embedding."""
        config = self.backbone.config
        adapted = getattr(config, "add_adapter", False)
        return int(config.output_hidden_size if adapted else config.hidden_size)

    def forward(self, windows: Tensor) -> Tensor:
        """Return one embedding per window."""
        centred = windows - windows.mean(dim=1, keepdim=True)
        scale = torch.rsqrt(centred.square().mean(dim=1, keepdim=True) + 1e-7)
        frames: Tensor = self.backbone(centred * scale).last_hidden_state  # [W, frames, dim]
        return frames.mean(dim=1)


class TextEncoder(PartlyTrained):
    """BERT or one of its family over tokens, pooled to one embedding.

    ``pooling: mean`` averages the tokens that are not padding; ``pooler`` takes BERT's pooled
    first token, as the authors do.

    Shapes:
        input_ids, attention_mask: int64 [B, T]
        result: [B, dim]
    """

    def __init__(self, backbone: PreTrainedModel, config: TextConfig) -> None:
        super().__init__()
        self.backbone = backbone
        self.pooling = config.pooling
        # RoBERTa counts positions from here, by a cumulative sum over the tokens that are not
        # padding. With padding at the end only, plain counting is the same, and exports.
        roberta = backbone.config.model_type in _ROBERTA_LIKE
        self.first_position = backbone.config.pad_token_id + 1 if roberta else None

    @property
    def dim(self) -> int:
        """Size of the embedding."""
        return int(self.backbone.config.hidden_size)

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        """Return one embedding per text."""
        # Added to the attention scores as it is: transformers would build the same from the plain
        # mask with index arithmetic, which exports to GatherND.
        bias = (1.0 - attention_mask.to(torch.float32)) * _NEVER_ATTENDED
        inputs = {"input_ids": input_ids, "attention_mask": bias[:, None, None, :]}
        if self.first_position is not None:
            counted = self.backbone.get_buffer("embeddings.position_ids")  # [1, most tokens]
            inputs["position_ids"] = counted[:, : input_ids.shape[1]] + self.first_position
        output = self.backbone(**inputs)
        if self.pooling == "pooler":
            pooled: Tensor = output.pooler_output
            return pooled
        weight = attention_mask.unsqueeze(2).to(output.last_hidden_state.dtype)  # [B, T, 1]
        total: Tensor = (output.last_hidden_state * weight).sum(dim=1)
        return total / weight.sum(dim=1)


def build_audio_encoder(config: AudioEncoderConfig) -> AudioEncoder:
    """Load the encoder that ``config`` names, or make a small one; freeze what it says.

    Raises:
        ConfigError: the name stands for nothing that can be fetched or read, or for no
            wav2vec2-like model, or fewer layers than ``train_last_layers`` are there, or none of
            them was trained before.
    """
    if config.pretrained is None and config.torchaudio is None:
        _check_trained_whole(config.train_last_layers, "audio_encoder")
    if config.pretrained is not None:
        backbone = load_pretrained(
            config.pretrained, "audio_encoder", AUDIO_MODEL_TYPES, may_lack=("masked_spec_embed",)
        )
        # Its masks would come from numpy's global generator, which no seed of ours decides.
        backbone.config.apply_spec_augment = False
    elif config.torchaudio is not None:
        backbone = load_bundle(config.torchaudio)
    else:
        backbone = _small_wav2vec2(config.scratch)
    encoder = AudioEncoder(backbone)
    if config.train_last_layers is not None:
        encoder.train_only(_last_audio_parts(backbone, config.train_last_layers))
    elif config.feature_extractor_frozen:
        parts = dict(backbone.named_children())
        del parts["feature_extractor"]
        encoder.train_only(parts.values())
    return encoder


def build_text_encoder(config: TextEncoderConfig, text: TextConfig, vocab_size: int) -> TextEncoder:
    """Load the encoder that ``config`` names, or make a small one; freeze what it says.

    Raises:
        ConfigError: the name stands for nothing that can be fetched or read, or for a model that
            is not BERT-like or does not fit ``text``, or fewer layers than ``train_last_layers``
            are there, or none of them was trained before.
    """
    if config.pretrained is None:
        _check_trained_whole(config.train_last_layers, "text_encoder")
    if config.pretrained is not None:
        unused = ("pooler.",) if text.pooling == "mean" else ()
        backbone = load_pretrained(config.pretrained, "text_encoder", TEXT_MODEL_TYPES, unused)
    else:
        backbone = _small_bert(config.scratch, text, vocab_size)
    encoder = TextEncoder(backbone, text)
    _check_fits(encoder, text)
    if config.train_last_layers is not None:
        encoder.train_only(_last_text_parts(backbone, config.train_last_layers))
    return encoder


def load_audio_encoder(folder: Path) -> AudioEncoder:
    """Read an audio encoder that :func:`save_encoder` wrote.

    Raises:
        BundleError: it is not there, damaged, or lacks a weight.
    """
    return AudioEncoder(load_saved(folder))


def load_text_encoder(folder: Path, text: TextConfig) -> TextEncoder:
    """Read a text encoder that :func:`save_encoder` wrote.

    Raises:
        BundleError: it is not there, damaged, or lacks a weight.
    """
    return TextEncoder(load_saved(folder), text)


def save_encoder(encoder: AudioEncoder | TextEncoder, folder: Path) -> None:
    """Write weights (safetensors) and configuration into ``folder``."""
    quiet_transformers()
    with writing(folder):
        encoder.backbone.save_pretrained(folder)


def _check_trained_whole(last_layers: int | None, setting: str) -> None:
    """Refuse to freeze random weights."""
    if last_layers is not None:
        raise ConfigError(
            f"{setting}.train_last_layers is {last_layers}, but the encoder is trained from "
            f"scratch, as a whole; drop it, or name an encoder in {setting}.pretrained"
        )


def _small_wav2vec2(size: Wav2Vec2Size) -> PreTrainedModel:
    backbone = Wav2Vec2Model(
        Wav2Vec2Config(
            hidden_size=size.width,
            num_hidden_layers=size.layers,
            num_attention_heads=size.heads,
            intermediate_size=2 * size.width,
            conv_dim=(size.conv_width,) * 7,
            apply_spec_augment=False,
            layerdrop=0.0,
        )
    )
    backbone.set_attn_implementation("eager")
    return backbone


def _small_bert(size: BertSize, text: TextConfig, vocab_size: int) -> PreTrainedModel:
    backbone = BertModel(
        BertConfig(
            vocab_size=vocab_size,
            hidden_size=size.width,
            num_hidden_layers=size.layers,
            num_attention_heads=size.heads,
            intermediate_size=2 * size.width,
            max_position_embeddings=text.token_buckets[-1],
        )
    )
    backbone.set_attn_implementation("eager")
    return backbone


def _check_fits(encoder: TextEncoder, text: TextConfig) -> None:
    settings = encoder.backbone.config
    if text.pooling == "pooler" and not _present(encoder.backbone, "pooler"):
        raise ConfigError(
            f"text.pooling: a model of type {settings.model_type!r} has no pooler; set it to mean"
        )
    positions = settings.max_position_embeddings - (encoder.first_position or 0)
    if positions < text.token_buckets[-1]:
        raise ConfigError(
            f"text.token_buckets reach {text.token_buckets[-1]}, but the text encoder takes at "
            f"most {positions} tokens; make them and text.max_tokens smaller"
        )


def _last_audio_parts(backbone: PreTrainedModel, count: int) -> list[nn.Module]:
    parts = last_layers(backbone.get_submodule("encoder.layers"), count, "audio_encoder")
    if backbone.config.do_stable_layer_norm:  # else the encoder's norm comes before its layers
        parts.append(backbone.get_submodule("encoder.layer_norm"))
    return parts + _present(backbone, "adapter")


def _last_text_parts(backbone: PreTrainedModel, count: int) -> list[nn.Module]:
    path = "transformer.layer" if backbone.config.model_type == "distilbert" else "encoder.layer"
    parts = last_layers(backbone.get_submodule(path), count, "text_encoder")
    return parts + _present(backbone, "pooler")


def _present(backbone: PreTrainedModel, name: str) -> list[nn.Module]:
    return [child for known, child in backbone.named_children() if known == name]
