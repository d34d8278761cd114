"""Audio encoders of ``torchaudio.pipelines``, converted by parameter name.

torchaudio and transformers build the same networks under different names. What leaves this module
is the transformers model, so that training, saving and export know one kind of encoder.
"""

from __future__ import annotations

from pickle import UnpicklingError
from typing import Any

from torch import Tensor, nn
from transformers import (
    HubertConfig,
    HubertModel,
    PreTrainedModel,
    Wav2Vec2Config,
    Wav2Vec2Model,
    WavLMConfig,
    WavLMModel,
)

from hemogat.errors import ConfigError, HemogatError
from hemogat.optional import require

_KINDS = {
    "wav2vec2": (Wav2Vec2Config, Wav2Vec2Model),
    "hubert": (HubertConfig, HubertModel),
    "wavlm": (WavLMConfig, WavLMModel),
}
# torchaudio's prefix: transformers' prefix; the first that fits.
_PREFIXES = {
    "feature_extractor.": "feature_extractor.",
    "encoder.feature_projection.": "feature_projection.",
    "encoder.transformer.": "encoder.",
}


def load_bundle(name: str) -> PreTrainedModel:
    """Fetch a bundle such as ``WAV2VEC2_BASE`` (torchaudio caches it) and convert it.

    Raises:
        ConfigError: its weights cannot be fetched or read.
        IncompleteError: torchaudio is not installed.
    """
    bundle = getattr(require("torchaudio.pipelines", extra="train"), name)
    try:
        source = bundle.get_model(dl_kwargs={"progress": False, "weights_only": True})
    except (OSError, RuntimeError, EOFError, UnpicklingError) as error:
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise ConfigError(
            f"audio_encoder.torchaudio: the weights of {name} cannot be fetched or read ({reason})"
        ) from error
    return convert(source, name.removesuffix("_BASE").lower())


def convert(source: Any, model_type: str) -> PreTrainedModel:
    """Return the transformers model that equals ``source``, with eager attention.

    ``source`` is a ``torchaudio.models.Wav2Vec2Model``, which is torchaudio's class for wav2vec2,
    HuBERT and WavLM alike; ``model_type`` is transformers' name of which one it is.

    Raises:
        HemogatError: a parameter of either model has no counterpart in the other.
    """
    config_class, model_class = _KINDS[model_type]
    sizes = _sizes(source)
    if model_type == "wavlm":
        attention = source.encoder.transformer.layers[0].attention
        sizes["num_buckets"] = attention.num_buckets
        sizes["max_bucket_distance"] = attention.max_distance
    model: PreTrainedModel = model_class(config_class(**sizes))
    model.set_attn_implementation("eager")
    state = _renamed(source.state_dict())
    found = model.load_state_dict(state, strict=False)
    unmatched = sorted((*found.unexpected_keys, *found.missing_keys))
    if unmatched:
        raise HemogatError(
            f"torchaudio's {model_type} does not fit transformers': no counterpart for "
            f"{', '.join(unmatched)}"
        )
    model.eval()
    return model


def _sizes(source: Any) -> dict[str, Any]:
    """Return transformers' configuration of the network that ``source`` is."""
    blocks = source.feature_extractor.conv_layers
    convolutions = [block.conv for block in blocks]
    transformer = source.encoder.transformer
    positions = transformer.pos_conv_embed.conv
    layer = transformer.layers[0]
    return {
        "conv_dim": tuple(c.out_channels for c in convolutions),
        "conv_kernel": tuple(c.kernel_size[0] for c in convolutions),
        "conv_stride": tuple(c.stride[0] for c in convolutions),
        "conv_bias": convolutions[0].bias is not None,
        "feat_extract_norm": "group" if isinstance(blocks[0].layer_norm, nn.GroupNorm) else "layer",
        "feat_proj_dropout": source.encoder.feature_projection.dropout.p,
        "num_conv_pos_embeddings": positions.kernel_size[0],
        "num_conv_pos_embedding_groups": positions.groups,
        "hidden_size": positions.out_channels,
        "num_hidden_layers": len(transformer.layers),
        "num_attention_heads": layer.attention.num_heads,
        "intermediate_size": layer.feed_forward.intermediate_dense.out_features,
        "hidden_dropout": layer.dropout.p,
        "attention_dropout": layer.attention.dropout,
        "activation_dropout": layer.feed_forward.intermediate_dropout.p,
        "layerdrop": transformer.layer_drop,
        "do_stable_layer_norm": layer.layer_norm_first,
        "layer_norm_eps": layer.layer_norm.eps,
        # torchaudio has no masking, and transformers no parameter for it at these rates.
        "mask_time_prob": 0.0,
        "mask_feature_prob": 0.0,
        "apply_spec_augment": False,
    }


def _renamed(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """Return ``state`` under transformers' names; names that fit nothing stay as they are."""
    renamed: dict[str, Tensor] = {}
    for name, value in state.items():
        for old, new in _PREFIXES.items():
            if name.startswith(old):
                name = new + name.removeprefix(old)
                break
        # WavLM: torchaudio keeps a MultiheadAttention, with the three projections in one tensor.
        owner, joined, kind = name.partition("attention.attention.in_proj_")
        if joined:
            for projection, part in zip("qkv", value.chunk(3), strict=True):
                renamed[f"{owner}attention.{projection}_proj.{kind}"] = part
        else:
            renamed[name.replace("attention.attention.", "attention.")] = value
    return renamed
