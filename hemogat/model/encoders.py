"""The encoders: wav2vec2 on windows, BERT on tokens, each giving one embedding."""

from __future__ import annotations

from pathlib import Path

import torch
import transformers
from safetensors import SafetensorError
from torch import Tensor, nn
from transformers import (
    AutoModel,
    BertConfig,
    BertModel,
    PreTrainedModel,
    Wav2Vec2Config,
    Wav2Vec2Model,
)

from hemogat.config import AudioEncoderConfig, TextConfig, TextEncoderConfig
from hemogat.errors import BundleError, ConfigError

_NEVER_ATTENDED = -1e4  # its exponential is 0 in every precision, and it fits into fp16


class AudioEncoder(nn.Module):
    r"""wav2vec2 over one window, averaged over its frames.

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
        return int(self.backbone.config.hidden_size)

    def forward(self, windows: Tensor) -> Tensor:
        """Return one embedding per window."""
        centred = windows - windows.mean(dim=1, keepdim=True)
        scale = torch.rsqrt(centred.square().mean(dim=1, keepdim=True) + 1e-7)
        frames: Tensor = self.backbone(centred * scale).last_hidden_state  # [W, frames, dim]
        return frames.mean(dim=1)


class TextEncoder(nn.Module):
    """BERT over tokens, pooled to one embedding.

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

    @property
    def dim(self) -> int:
        """Size of the embedding."""
        return int(self.backbone.config.hidden_size)

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        """Return one embedding per text."""
        # Added to the attention scores as it is: transformers would build the same from the plain
        # mask with index arithmetic, which exports to GatherND.
        bias = (1.0 - attention_mask.to(torch.float32)) * _NEVER_ATTENDED
        output = self.backbone(input_ids=input_ids, attention_mask=bias[:, None, None, :])
        if self.pooling == "pooler":
            pooled: Tensor = output.pooler_output
            return pooled
        weight = attention_mask.unsqueeze(2).to(output.last_hidden_state.dtype)  # [B, T, 1]
        total: Tensor = (output.last_hidden_state * weight).sum(dim=1)
        return total / weight.sum(dim=1)


def build_audio_encoder(config: AudioEncoderConfig) -> AudioEncoder:
    """Load the pretrained encoder that ``config`` names, or make a small one to train.

    Raises:
        ConfigError: the name is neither cached nor a local folder, or is no wav2vec2-like model.
    """
    if config.pretrained is not None:
        return AudioEncoder(_pretrained(config.pretrained, "audio_encoder"))
    size = config.scratch
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
    return AudioEncoder(backbone)


def build_text_encoder(config: TextEncoderConfig, text: TextConfig, vocab_size: int) -> TextEncoder:
    """Load the pretrained encoder that ``config`` names, or make a small one to train.

    Raises:
        ConfigError: the name is neither cached nor a local folder.
    """
    if config.pretrained is not None:
        return TextEncoder(_pretrained(config.pretrained, "text_encoder"), text)
    size = config.scratch
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
    return TextEncoder(backbone, text)


def load_audio_encoder(folder: Path) -> AudioEncoder:
    """Read an audio encoder that :func:`save_encoder` wrote.

    Raises:
        BundleError: it is not there, damaged, or lacks a weight.
    """
    return AudioEncoder(_saved(folder))


def load_text_encoder(folder: Path, text: TextConfig) -> TextEncoder:
    """Read a text encoder that :func:`save_encoder` wrote.

    Raises:
        BundleError: it is not there, damaged, or lacks a weight.
    """
    return TextEncoder(_saved(folder), text)


def save_encoder(encoder: AudioEncoder | TextEncoder, folder: Path) -> None:
    """Write weights (safetensors) and configuration into ``folder``."""
    _quiet_transformers()
    encoder.backbone.save_pretrained(folder)


def _saved(folder: Path) -> PreTrainedModel:
    _quiet_transformers()
    try:
        model, found = AutoModel.from_pretrained(
            str(folder.absolute()),  # a relative path could be the name of a model on the hub
            attn_implementation="eager",
            use_safetensors=True,
            local_files_only=True,
            output_loading_info=True,
        )
    except (OSError, ValueError, RuntimeError, SafetensorError) as error:
        reason = str(error).strip().splitlines()[0]
        raise BundleError(f"{folder}: cannot be read ({reason}); train again") from error
    if found["missing_keys"]:  # transformers fills them with random numbers
        name = sorted(found["missing_keys"])[0]
        raise BundleError(f"{folder}: lacks the weight {name}; train again")
    encoder: PreTrainedModel = model
    return encoder


def _quiet_transformers() -> None:
    # Its progress bars and load reports would tear ours.
    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()


def _pretrained(name: str, setting: str) -> PreTrainedModel:
    _quiet_transformers()
    try:
        # Eager attention exports to plain operators and is what FLOP counters see.
        model: PreTrainedModel = AutoModel.from_pretrained(
            name, attn_implementation="eager", use_safetensors=True
        )
    except (OSError, ValueError) as error:
        reason = str(error).strip().splitlines()[0]
        raise ConfigError(
            f"{setting}.pretrained: {name!r} is neither a local folder nor a model that can be "
            f"fetched ({reason})"
        ) from error
    return model
