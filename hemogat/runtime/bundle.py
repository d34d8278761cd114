"""The bundle: what training hands to serving, checked before anything of it is used.

``SHA256SUMS`` covers every file, ``bundle.json`` included. It proves that nothing was damaged or
left out; it does not prove who made the bundle.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Literal

import pydantic_core
from pydantic import Field, ValidationError

from hemogat.config import (
    AudioConfig,
    GraphConfig,
    HeadConfig,
    PositiveInt,
    Settings,
    SettingsT,
    TextConfig,
    first_problem,
)
from hemogat.contract import (
    AUDIO_ENCODER,
    INT8_PRECISIONS,
    TEXT_ENCODER,
    GraphSpec,
    Modality,
    TensorSpec,
    fusion_spec,
)
from hemogat.contract import Engine as Engine  # named again: part of this module's interface
from hemogat.contract import Precision as Precision
from hemogat.errors import BundleError
from hemogat.runtime.bank_files import BankFiles as BankFiles
from hemogat.runtime.bundle_sums import SUMS_FILE as SUMS_FILE
from hemogat.runtime.bundle_sums import InnerPath, verify_files
from hemogat.runtime.bundle_sums import sha256_of as sha256_of
from hemogat.runtime.bundle_sums import write_sums as write_sums

SCHEMA_VERSION = 1
MANIFEST_FILE = "bundle.json"

GraphName = Literal["audio_encoder", "text_encoder", "fusion"]


class Dims(Settings):
    """Embedding sizes; of a modality that the head does not read, of what stands in its place."""

    audio: PositiveInt
    text: PositiveInt


class ModelFile(Settings):
    """One exported graph for one engine and precision."""

    graph: GraphName
    engine: Engine
    precision: Precision
    path: InnerPath


class Provenance(Settings):
    """Where the bundle comes from."""

    created_utc: str
    seed: int
    versions: dict[str, str]
    run_sha256: str | None = None  # of the run; exports of one run add up in a bundle
    bank_changes: tuple[str, ...] = ()  # what was done to the bank since the export


class BundleManifest(Settings):
    """``bundle.json``: everything that a reader needs to know; nobody guesses from file names."""

    schema_version: Literal[1] = 1
    name: str
    labels: tuple[str, ...] = Field(min_length=2)
    audio: AudioConfig
    text: TextConfig
    graph: GraphConfig  # the neighbours that the head reads
    head: HeadConfig
    dims: Dims
    bank: BankFiles
    tokenizer: InnerPath | None  # none for a head that reads no text
    golden: InnerPath
    models: tuple[ModelFile, ...]
    provenance: Provenance

    @property
    def slots(self) -> int:
        """Neighbour slots per utterance; 0 for a head without a graph."""
        return self.graph.slots

    @property
    def modalities(self) -> tuple[Modality, ...]:
        """The modalities that the head reads."""
        return self.head.reads

    @property
    def graphs(self) -> tuple[GraphSpec, ...]:
        """The graphs that the model is made of, with their tensors."""
        encoders = {"audio": AUDIO_ENCODER, "text": TEXT_ENCODER}
        attends = self.head.gnn == "gat"
        return (
            *(encoders[modality] for modality in self.modalities),
            fusion_spec(self.slots, attention=attends),
        )

    def shape(self, tensor: TensorSpec) -> tuple[str | int, ...]:
        """Return a tensor's axes with this model's sizes; a name where calls differ."""
        sizes: dict[str | int, int] = {
            "audio_dim": self.dims.audio,
            "text_dim": self.dims.text,
            "label": len(self.labels),
            "slot": self.slots,
            "slot_and_self": self.slots + 1,
        }
        return tuple(sizes.get(axis, axis) for axis in tensor.axes)

    @property
    def accepts_missing_modality(self) -> bool:
        """Whether an utterance may come without one of the modalities."""
        return self.head.modality_dropout > 0


class BankIndex(Settings):
    """Label and opaque id of every bank row."""

    ids: tuple[str, ...]
    labels: tuple[str, ...]


@dataclass(frozen=True)
class Bundle:
    """A bundle on disk, opened and checked."""

    path: Path
    manifest: BundleManifest

    @classmethod
    def open(cls, path: str | os.PathLike[str], *, verify: bool = True) -> Bundle:
        """Read the bundle at ``path``.

        With ``verify`` every file is hashed; without, only the manifest is read (for a process
        that opens what its parent has verified).

        Raises:
            BundleError: not a bundle, of an unknown version, or a file missing, altered or added.
        """
        folder = Path(path)
        try:
            manifest = _read_manifest(folder)
            if verify:
                verify_files(folder, _referenced(manifest))
        except OSError as error:
            raise BundleError(f"{error.filename}: cannot be read ({error.strerror})") from error
        return cls(folder, manifest)

    def graph_path(self, graph: GraphName, engine: Engine, precision: Precision) -> Path:
        """Return the file of one graph.

        Raises:
            BundleError: the bundle has no such graph; the message lists what it has.
        """
        for model in self.manifest.models:
            if (model.graph, model.engine, model.precision) == (graph, engine, precision):
                return self.path / model.path
        found = ", ".join(f"{m.graph} {m.engine}-{m.precision}" for m in self.manifest.models)
        raise BundleError(
            f"{self.path}: has no {graph} for {engine}-{precision}, only {found}; "
            f"add it with: hemogat export --engine {engine} --precision {precision}"
        )

    def select(
        self, engine: Engine | None = None, precision: Precision | None = None
    ) -> tuple[Engine, Precision]:
        """Return the first engine and precision that the bundle lists and that was not ruled out.

        Raises:
            BundleError: there is none; the message lists what there is.
        """
        listed = list(dict.fromkeys((m.engine, m.precision) for m in self.manifest.models))
        for found in listed:
            if engine in (None, found[0]) and precision in (None, found[1]):
                return found
        names = ", ".join(f"{e}-{p}" for e, p in listed) or "none"
        raise BundleError(
            f"{self.path}: expected an engine {engine or 'of any kind'} in "
            f"{precision or 'any precision'}, found {names}; "
            f"add it with: hemogat export --engine {engine or 'onnx'} "
            f"--precision {precision or 'fp32'}"
        )

    def gather_path(self, engine: Engine, precision: Precision) -> Path:
        """Return the graph ``fusion_gather`` for an engine and precision.

        Raises:
            BundleError: the bundle was exported without it.
        """
        bank = self.manifest.bank
        if engine == "openvino" and precision in INT8_PRECISIONS and bank.gather_int8 is not None:
            return self.path / bank.gather_int8
        if bank.gather is None:
            raise BundleError(
                f"{self.path}: has no fusion_gather graph to search its bank outside "
                f"the fusion graph; export it with: hemogat export --gather"
            )
        return self.path / bank.gather

    @property
    def tokenizer_path(self) -> Path:
        """The ``tokenizers`` file.

        Raises:
            BundleError: the head reads no text, so there is none.
        """
        if self.manifest.tokenizer is None:
            raise BundleError(f"{self.path}: has no tokenizer, as its model reads audio alone")
        return self.path / self.manifest.tokenizer

    @cached_property
    def bank_index(self) -> BankIndex:
        """Label and id of every bank row."""
        index = self.read(BankIndex, self.manifest.bank.index)
        rows = self.manifest.bank.rows
        if not len(index.ids) == len(index.labels) == rows:
            raise BundleError(
                f"{self.path / self.manifest.bank.index}: expected {rows} ids and labels, found "
                f"{len(index.ids)} and {len(index.labels)}; export the bundle again"
            )
        return index

    def read(self, kind: type[SettingsT], name: str) -> SettingsT:
        """Read one of the bundle's JSON files.

        Raises:
            BundleError: it cannot be read, or is not ``kind``.
        """
        path = self.path / name
        try:
            return kind.model_validate_json(path.read_bytes())
        except (OSError, ValidationError) as error:
            reason = " ".join(str(error).split())
            raise BundleError(f"{path}: {reason}; export the bundle again") from error


def _read_manifest(folder: Path) -> BundleManifest:
    path = folder / MANIFEST_FILE
    if not path.is_file():
        raise BundleError(
            f"{folder}: is not a bundle (no {MANIFEST_FILE} in it); make one with: hemogat export"
        )
    try:
        raw = pydantic_core.from_json(path.read_bytes())  # not json, which nesting overflows
    except ValueError as error:
        raise BundleError(f"{path}: is not JSON ({error}); export the bundle again") from error
    version = raw.get("schema_version") if isinstance(raw, dict) else None
    if version != SCHEMA_VERSION:
        raise BundleError(
            f"{path}: expected schema_version {SCHEMA_VERSION}, found {version!r}; use a matching "
            f"hemogat or export the bundle again"
        )
    try:
        return BundleManifest.model_validate(raw)
    except ValidationError as error:
        problem = first_problem(error)
        raise BundleError(f"{path}: {problem}; export the bundle again") from error


def _referenced(manifest: BundleManifest) -> tuple[str, ...]:
    bank = manifest.bank
    models = (model.path for model in manifest.models)
    index = None if bank.ivf is None else bank.ivf.tensors
    maybe = (bank.states, bank.gather, bank.gather_int8, index, manifest.tokenizer)
    there = (path for path in maybe if path is not None)
    return (*models, bank.tensors, bank.index, *there, manifest.golden)
