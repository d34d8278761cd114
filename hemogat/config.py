"""Typed, validated configuration, loaded from YAML recipes.

Every field has the authors' default where they have one. Unknown fields are refused, so a typing
error in a recipe never passes in silence.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal, TypeVar

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from hemogat.contract import MODALITIES, Direction, Modality
from hemogat.errors import ConfigError

PositiveInt = Annotated[int, Field(ge=1)]
NonNegativeInt = Annotated[int, Field(ge=0)]
PositiveFloat = Annotated[float, Field(gt=0, allow_inf_nan=False)]
TokenCount = Annotated[int, Field(ge=1, le=8192)]  # more than any encoder's positions
Rate = Annotated[float, Field(ge=0, lt=1)]
_POSITION_GROUPS = 16  # of the convolution that tells wav2vec2 where a frame stands


class Settings(BaseModel):
    """Base of all configuration: immutable, no unknown fields."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class AudioConfig(Settings):
    """How audio becomes windows (docs/architecture.md, "Audio and text")."""

    sample_rate_hz: Literal[16_000] = 16_000
    window_samples: Literal[16_000] = 16_000
    min_audio_s: PositiveFloat = 0.025
    max_audio_s: PositiveFloat = 60.0
    max_audio_bytes: PositiveInt = 32 * 2**20  # 60 s of 48 kHz stereo in float32 are 22 MiB
    max_channels: PositiveInt = 16
    max_rate_hz: PositiveInt = 384_000


class TextConfig(Settings):
    """How text becomes tokens and tokens one embedding."""

    max_tokens: TokenCount = 128
    token_buckets: tuple[TokenCount, ...] = Field((16, 32, 64, 128), min_length=1)
    pooling: Literal["mean", "pooler"] = "mean"
    max_text_bytes: PositiveInt = 64 * 2**10

    @model_validator(mode="after")
    def _buckets_reach_max_tokens(self) -> TextConfig:
        if list(self.token_buckets) != sorted(set(self.token_buckets)):
            raise ValueError("token_buckets must grow")
        if self.token_buckets[-1] < self.max_tokens:
            raise ValueError(
                f"the last of token_buckets ({self.token_buckets[-1]}) must reach "
                f"max_tokens ({self.max_tokens})"
            )
        return self


class Wav2Vec2Size(Settings):
    """Sizes of a wav2vec2 encoder trained from scratch."""

    width: PositiveInt = 96
    layers: PositiveInt = 2
    heads: PositiveInt = 4
    conv_width: PositiveInt = 48

    @model_validator(mode="after")
    def _width_can_be_divided(self) -> Wav2Vec2Size:
        _check_multiple(self.width, self.heads, "heads")
        _check_multiple(self.width, _POSITION_GROUPS, "the groups of wav2vec2's convolution")
        return self


class BertSize(Settings):
    """Sizes of a BERT encoder trained from scratch, and of its tokenizer."""

    width: PositiveInt = 96
    layers: PositiveInt = 2
    heads: PositiveInt = 4
    vocab_size: PositiveInt = 1000

    @model_validator(mode="after")
    def _width_can_be_divided(self) -> BertSize:
        _check_multiple(self.width, self.heads, "heads")
        return self


def _check_multiple(width: int, parts: int, name: str) -> None:
    if width % parts:
        raise ValueError(f"width ({width}) must be a multiple of {name} ({parts})")


class AudioEncoderConfig(Settings):
    """Which audio encoder, and which of its parts are trained.

    ``pretrained`` is a Hugging Face name or a local folder, ``torchaudio`` a bundle of
    ``torchaudio.pipelines``; without either, one is trained from scratch, as a whole.
    ``train_last_layers: n`` trains the last n transformer layers of a pretrained one and nothing
    below them. ``freeze_feature_extractor`` concerns the convolutions only; unset, they stay as
    they are if they were pretrained.
    """

    pretrained: str | None = None
    torchaudio: Literal["WAV2VEC2_BASE", "HUBERT_BASE", "WAVLM_BASE"] | None = None
    scratch: Wav2Vec2Size = Wav2Vec2Size()
    train_last_layers: PositiveInt | None = None
    freeze_feature_extractor: bool | None = None

    @model_validator(mode="after")
    def _consistent(self) -> AudioEncoderConfig:
        if self.pretrained is not None and self.torchaudio is not None:
            raise ValueError("give pretrained or torchaudio, not both")
        if self.train_last_layers is not None and self.freeze_feature_extractor is False:
            raise ValueError(
                "train_last_layers freezes the feature extractor; drop one of it and "
                "freeze_feature_extractor: false"
            )
        return self

    @property
    def feature_extractor_frozen(self) -> bool:
        """Whether the convolutions keep their weights in training."""
        if self.freeze_feature_extractor is None:
            return self.pretrained is not None or self.torchaudio is not None
        return self.freeze_feature_extractor


class TextEncoderConfig(Settings):
    """Which text encoder, and which of its parts are trained.

    ``pretrained`` is a Hugging Face name or a local folder; without it, one is trained from
    scratch, as a whole. ``train_last_layers: n`` trains the last n layers of a pretrained one and
    the pooler, nothing below them.
    """

    pretrained: str | None = None
    scratch: BertSize = BertSize()
    train_last_layers: PositiveInt | None = None


class HeadConfig(Settings):
    """The fusion head: HM-GAT, CMT and classifier (defaults: the authors')."""

    hidden: PositiveInt = 512
    heads: PositiveInt = 4
    final_heads: PositiveInt = 1
    num_layers: Annotated[int, Field(ge=1, le=4)] = 3
    gnn: Literal["gat", "gcn", "sage"] = "gat"
    modules: Literal["full", "no_gnn", "no_cmt"] = "full"
    modalities: Literal["both", "audio", "text"] = "both"
    dropout: Rate = 0.3
    modality_dropout: Rate = 0.0

    @model_validator(mode="after")
    def _consistent(self) -> HeadConfig:
        if self.hidden % self.heads:
            raise ValueError(f"hidden ({self.hidden}) must be a multiple of heads ({self.heads})")
        if self.modality_dropout and self.modalities != "both":
            raise ValueError("modality_dropout needs modalities: both")
        return self

    @property
    def reads(self) -> tuple[Modality, ...]:
        """The modalities that the head reads, whose encoders it needs."""
        return MODALITIES if self.modalities == "both" else (self.modalities,)


class GraphConfig(Settings):
    """How many neighbours each modality gives (paper Eq. 5, 6; defaults: best on IEMOCAP).

    ``labels``: messages carry the neighbours' labels, which only a bank knows (masked label
    prediction, Shi et al. 2021); an utterance's own label stays hidden from it.
    """

    k_audio: NonNegativeInt = 4
    k_text: NonNegativeInt = 5
    direction: Direction = "incoming"
    labels: bool = False

    @model_validator(mode="after")
    def _labels_come_from_a_bank(self) -> GraphConfig:
        if self.labels and self.direction == "outgoing":
            raise ValueError("labels: true needs direction: incoming, where messages come from")
        return self

    @property
    def slots(self) -> int:
        """Neighbour slots per utterance, audio slots first."""
        return self.k_audio + self.k_text

    def used_by(self, head: HeadConfig) -> GraphConfig:
        """Return the neighbours that ``head`` reads: none of a modality that it does not."""
        graph = head.modules != "no_gnn"
        return self.model_copy(
            update={
                "k_audio": self.k_audio if graph and "audio" in head.reads else 0,
                "k_text": self.k_text if graph and "text" in head.reads else 0,
                "labels": self.labels and graph,
            }
        )


class OptimiserConfig(Settings):
    """One training loop: optimiser, length and stopping rule.

    ``batch_size``: utterances of a batch, which is a step of the audio encoder. Texts are padded to
    one of few lengths (``text.token_buckets``), and those of a batch that got the same one are a
    step of the text encoder: a batch is as many steps as lengths. A head reads no batches.
    """

    epochs: PositiveInt = 20
    batch_size: PositiveInt = 32
    learning_rate: PositiveFloat = 1e-4
    weight_decay: Annotated[float, Field(ge=0)] = 0.01
    label_smoothing: Rate = 0.0
    patience: PositiveInt = 10


class EncoderTraining(OptimiserConfig):
    """Fine-tuning of one encoder.

    ``objective``: ``cross_entropy`` on the labels, or ``contrastive``, NT-Xent on pairs, scaled by
    ``temperature``. ``positives`` are its pairs: ``label``, all views of the utterances of one
    label, or ``utterance``, the two views of one, as the authors have it, without labels.
    """

    objective: Literal["cross_entropy", "contrastive"] = "cross_entropy"
    temperature: PositiveFloat = 0.07
    positives: Literal["label", "utterance"] = "label"


class AugmentationConfig(Settings):
    """What happens to the audio in encoder training, each to an utterance with ``probability``.

    ``speed``: factors to choose from. ``noise_snr_db`` and ``gain_db``: ranges to draw from.
    """

    probability: Annotated[float, Field(ge=0, le=1)] = 0.5
    speed: tuple[PositiveFloat, ...] = ()
    noise_snr_db: tuple[float, float] | None = None
    gain_db: tuple[float, float] | None = None

    @model_validator(mode="after")
    def _ranges_grow(self) -> AugmentationConfig:
        for name in ("noise_snr_db", "gain_db"):
            bounds = getattr(self, name)
            if bounds is not None and bounds[0] > bounds[1]:
                raise ValueError(f"{name}: expected [low, high], found {list(bounds)}")
        return self


class Recipe(Settings):
    """Everything that a training run needs besides the manifest.

    ``seeds``: how many heads of each kind are trained, from ``seed`` upwards; the one that
    validates best is exported. Encoders are trained once, with ``seed``.
    """

    name: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")
    labels: tuple[str, ...] = Field(min_length=2)
    seed: NonNegativeInt = 0
    seeds: PositiveInt = 5
    audio: AudioConfig = AudioConfig()
    text: TextConfig = TextConfig()
    audio_encoder: AudioEncoderConfig = AudioEncoderConfig()
    text_encoder: TextEncoderConfig = TextEncoderConfig()
    graph: GraphConfig = GraphConfig()
    head: HeadConfig = HeadConfig()
    audio_augmentation: AugmentationConfig = AugmentationConfig()
    audio_training: EncoderTraining = EncoderTraining()
    text_training: EncoderTraining = EncoderTraining()
    head_training: OptimiserConfig = OptimiserConfig(epochs=100, learning_rate=1e-3, patience=30)

    @property
    def head_seeds(self) -> tuple[int, ...]:
        """Every seed that heads are trained with."""
        return tuple(range(self.seed, self.seed + self.seeds))

    @model_validator(mode="after")
    def _labels_differ(self) -> Recipe:
        if len(set(self.labels)) != len(self.labels):
            raise ValueError(f"labels repeat: {', '.join(self.labels)}")
        return self


# PyYAML's own, and what its converters let through: 2001-13-45, !!int x, !!timestamp x, deep [[[[.
_YAML_ERRORS = (yaml.YAMLError, ValueError, TypeError, AttributeError, LookupError, RecursionError)

SettingsT = TypeVar("SettingsT", bound=Settings)


def load_settings(kind: type[SettingsT], path: str | Path) -> SettingsT:
    """Read ``kind`` from a YAML file.

    Raises:
        ConfigError: the file is missing, not YAML, or does not fit ``kind``; the message names
            the first field that does not and what was expected there.
    """
    path = Path(path)
    try:
        raw = yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read ({error.strerror})") from error
    except _YAML_ERRORS as error:
        reason = " ".join(str(error).split())
        raise ConfigError(f"{path}: is not YAML ({reason})") from error
    return parse_settings(kind, raw if raw is not None else {}, source=str(path))


def parse_settings(kind: type[SettingsT], raw: object, *, source: str) -> SettingsT:
    """Validate ``raw`` as ``kind``; ``source`` names it in the error.

    Raises:
        ConfigError: with the first field that does not fit.
    """
    try:
        return kind.model_validate(raw)
    except ValidationError as error:
        first = error.errors()[0]
        # What several fields do not fit together by says itself what was found.
        told = first["type"] == "value_error" and not first["loc"]
        found = "" if told else f", found {first['input']!r:.80}"
        more = f" (and {error.error_count() - 1} more)" if error.error_count() > 1 else ""
        raise ConfigError(f"{source}: {first_problem(error)}{found}{more}") from error


def first_problem(error: ValidationError) -> str:
    """Return the first field that does not fit and why, on one line and in our own words."""
    first = error.errors()[0]
    where = " ".join(".".join(map(str, first["loc"])).split())  # a key may hold line breaks
    reason = first["msg"].removeprefix("Value error, ")  # pydantic's, before what validators say
    if not where and first["type"] == "value_error":
        return reason
    return f"{where or 'the whole file'}: {reason}"
