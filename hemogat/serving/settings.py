"""What a Triton model repository is generated with, and what its models are told through it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

from pydantic import Field, field_validator, model_validator

from hemogat.config import PositiveInt, Settings, load_settings, parse_settings
from hemogat.contract import Engine, Precision, SearchChoice
from hemogat.errors import ConfigError

Backend = Literal["python", "onnxruntime", "openvino", "tensorrt"]
ENGINE_OF_BACKEND: dict[Backend, Engine] = {
    "onnxruntime": "onnx",
    "openvino": "openvino",
    "tensorrt": "trt",
}
Device = Literal["cpu", "gpu"]
DEVICE_OF_ENGINE: dict[Engine, Device] = {"openvino": "cpu", "trt": "gpu"}  # onnx has both


class BatchingSettings(Settings):
    """How Triton's dynamic batcher merges the requests to an engine model.

    ``queue_delay_us`` is how long the first request of a batch waits for company when an instance
    is free; requests that arrive while all instances are busy merge without any delay, so that
    a single request need not wait.
    """

    max_batch_size: PositiveInt
    queue_delay_us: Annotated[int, Field(ge=0)] = 0


class RepositorySettings(Settings):
    """Settings of a generated model repository (defaults: a few CPU cores).

    ``backend`` is what Triton runs the exported graphs with; ``python`` does so in the process of
    a Python model, with any engine. ``engine`` and ``precision``: None for the first that the
    bundle lists and the backend runs. ``device``: None for a GPU with the engine trt, which runs on
    nothing else, and the CPU with others. ``bundle_path`` is where the server finds the bundle, if
    it is not where it is now: in a container.

    ``instances`` and ``threads`` hold for every model: that many processes, each with that many
    compute threads (default: the cores shared out among the instances). ``search``: how the Python
    backend searches the bank outside the fusion graph; None: the graph does. ``explain`` adds the
    neighbours, which are rows of the training data, to the answers.

    Each process of the entry model works on ``max_in_flight`` requests at a time, and lets others
    wait as long as, by the pace of its answers, their turn will come within ``max_wait_ms`` and
    they are no more than ``max_waiting``. Others are refused, and so is what has not been answered
    after ``timeout_ms``. A stream that its client leaves alone for ``stream_idle_s`` is forgotten;
    beyond ``max_streams`` open ones, further ones are refused.

    ``serving/settings.yaml`` has the limits with their defaults, for ``--settings``.
    """

    backend: Backend = "python"
    engine: Engine | None = None
    precision: Precision | None = None
    device: Device | None = None
    bundle_path: Path | None = None
    instances: PositiveInt = 1
    threads: PositiveInt | None = None
    search: SearchChoice | None = None
    explain: bool = False
    max_in_flight: PositiveInt = 16
    max_waiting: PositiveInt = 256
    max_wait_ms: PositiveInt = 500
    timeout_ms: PositiveInt = 30_000
    max_rows: PositiveInt = 16  # utterances in one request
    max_streams: PositiveInt = 256  # open at a time, for each process of the stream model
    stream_idle_s: PositiveInt = 60
    # A batch of windows occupies the encoder: long clips are sent in chunks of this many, so that
    # the windows of other requests get in between.
    audio_encoder: BatchingSettings = BatchingSettings(max_batch_size=16)
    text_encoder: BatchingSettings = BatchingSettings(max_batch_size=32)
    fusion: BatchingSettings = BatchingSettings(max_batch_size=32)

    @model_validator(mode="after")
    def _backend_fits(self) -> RepositorySettings:
        engine = ENGINE_OF_BACKEND.get(self.backend)
        if engine is not None and self.engine not in (None, engine):
            raise ValueError(f"backend {self.backend} runs engine {engine}, not {self.engine}")
        if problem := self._misplaced(engine or self.engine):
            raise ValueError(problem)
        if self.search is not None and self.backend != "python":
            raise ValueError(
                f"search: backend python searches outside the graph, not {self.backend}"
            )
        return self

    @model_validator(mode="after")
    def _rows_fit(self) -> RepositorySettings:
        if self.fusion.max_batch_size < self.max_rows:
            raise ValueError(
                f"fusion.max_batch_size ({self.fusion.max_batch_size}) must reach "
                f"max_rows ({self.max_rows})"
            )
        return self

    def device_for(self, engine: Engine) -> Device:
        """Return where the networks run: where it was asked for, else where ``engine`` does.

        Raises:
            ConfigError: the engine does not run where it was asked for.
        """
        if problem := self._misplaced(engine):
            raise ConfigError(problem)
        return self.device or DEVICE_OF_ENGINE.get(engine, "cpu")

    def _misplaced(self, engine: Engine | None) -> str | None:
        runs_on = None if engine is None else DEVICE_OF_ENGINE.get(engine)
        if runs_on is None or self.device in (None, runs_on):
            return None
        return f"engine {engine}: expected device {runs_on}, found {self.device}; leave it out"


def repository_settings(
    file: Path | None, given: Mapping[str, Any], *, source: str
) -> RepositorySettings | None:
    """Return the settings in a YAML file, and over them what was given besides.

    Args:
        file: None: there is none.
        given: settings by name; None counts as not given.
        source: names ``given`` in errors.

    Returns:
        None where there is neither.

    Raises:
        ConfigError: the file cannot be read, or a setting is unknown or does not fit.
    """
    chosen = {name: value for name, value in given.items() if value is not None}
    if file is None:
        return parse_settings(RepositorySettings, chosen, source=source) if chosen else None
    settings = load_settings(RepositorySettings, file)
    if not chosen:
        return settings
    raw = settings.model_dump(exclude_unset=True) | chosen
    return parse_settings(RepositorySettings, raw, source=f"{source} over {file}")


ParametersT = TypeVar("ParametersT", bound="ModelParameters")


class ModelParameters(Settings):
    """What every generated model is told through the parameters of its configuration."""

    bundle: Path  # absolute

    def to_strings(self) -> dict[str, str]:
        """Return the parameters as Triton keeps them: strings."""
        values = self.model_dump(mode="json", exclude_none=True)
        return {
            key: value if isinstance(value, str) else json.dumps(value)
            for key, value in values.items()
        }

    @classmethod
    def from_model_config(cls: type[ParametersT], config: Mapping[str, Any]) -> ParametersT:
        """Read the parameters of a model configuration as the server hands it out."""
        return cls.model_validate(
            {key: value["string_value"] for key, value in config["parameters"].items()}
        )


class RequestParameters(ModelParameters):
    """Parameters of the models that clients call.

    ``bundle_sums`` is the SHA-256 of the bundle's list of hashes, and so stands for the bundle;
    ``labels`` are in the order of ``PROBABILITIES``.
    """

    bundle_sums: str
    labels: tuple[str, ...]
    max_in_flight: PositiveInt
    max_waiting: PositiveInt
    max_wait_ms: PositiveInt
    timeout_ms: PositiveInt
    max_windows: PositiveInt  # sent to the audio encoder at a time

    @field_validator("labels", mode="before")
    @classmethod
    def _labels_from_json(cls, value: object) -> object:
        return json.loads(value) if isinstance(value, str) else value


class EntryParameters(RequestParameters):
    """Parameters of the entry model; ``max_audio_bytes`` of a file, which clients ask for."""

    explain: bool
    max_audio_bytes: PositiveInt | None = None  # repositories of earlier versions lack it


class StreamParameters(RequestParameters):
    """Parameters of the stream model."""

    stream_idle_s: PositiveInt
    max_streams: PositiveInt


class EngineParameters(ModelParameters):
    """Parameters of a model that runs one exported graph."""

    graph: Literal["audio_encoder", "text_encoder", "fusion"]
    engine: Engine
    precision: Precision
    device: str = "cpu"
    threads: PositiveInt | None = None
    search: SearchChoice | None = None  # of the fusion step; None: inside its graph
