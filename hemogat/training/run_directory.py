"""The run directory: all that training leaves, and all that export and evaluation read."""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import Annotated

import torch
from pydantic import Field, ValidationError, model_validator
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file

from hemogat.config import HeadConfig, Recipe, Settings, first_problem
from hemogat.contract import MODALITIES
from hemogat.data.manifest import Split
from hemogat.errors import BundleError
from hemogat.files import replace_synced, write_atomic
from hemogat.model.bank import Embeddings
from hemogat.model.encoders import (
    AudioEncoder,
    TextEncoder,
    load_audio_encoder,
    load_text_encoder,
)
from hemogat.model.head import FusionHead
from hemogat.model.writing import writing
from hemogat.training.head_names import FULL
from hemogat.training.preparation import SkippedRow

RECORD_FILE = "run.json"
_FEATURES = ("audio", "text", "present")
_VALIDATION_F1 = "validation_weighted_f1"


class Row(Settings):
    """One utterance that was trained or evaluated on."""

    id: str
    label: str
    split: Split


class RunRecord(Settings):
    """``run.json``: what was trained, from what, with what.

    A run imported from a checkpoint has no ``manifest``: nobody said what its rows were made of.
    ``seeds``: what each kind of head was trained with; ``best_seed``: the one whose full head
    validated best, which is exported. ``skipped``: utterances left out, unreadable.
    ``random_weights``: nobody trained it, so its exports are compared but not judged.
    """

    recipe: Recipe
    manifest: str | None
    rows: tuple[Row, ...]
    heads: dict[Annotated[str, Field(pattern=r"^[a-z0-9_]+$")], HeadConfig]  # parts of file names
    seeds: tuple[int, ...]
    best_seed: int
    skipped: tuple[SkippedRow, ...] = ()
    random_weights: bool = False
    created_utc: str
    versions: dict[str, str]

    @model_validator(mode="after")
    def _consistent(self) -> RunRecord:
        unknown = {row.label for row in self.rows} - set(self.recipe.labels)
        if unknown:
            raise ValueError(f"rows have the label {min(unknown)!r}, which the recipe lacks")
        if FULL not in self.heads:
            raise ValueError(f"heads lack {FULL!r}, which is exported")
        if self.best_seed not in self.seeds:
            raise ValueError(f"best_seed {self.best_seed} is none of seeds {list(self.seeds)}")
        return self


@dataclass(frozen=True)
class Features:
    """Embeddings and label numbers of one split, rows in the record's order."""

    embeddings: Embeddings
    labels: torch.Tensor  # int64 [N]

    def for_head(self, head: HeadConfig) -> Features:
        """Return the utterances that have what ``head`` reads, if that is one modality.

        Such a head has no vector for what is missing: the rest would be zeros to it. A head that
        reads both gets all.
        """
        if head.modalities == "both":
            return self
        has = self.embeddings.present[:, MODALITIES.index(head.modalities)]
        return self if has.all() else Features(self.embeddings[has], self.labels[has])


@dataclass(frozen=True)
class RunDirectory:
    """A finished run on disk."""

    path: Path
    record: RunRecord

    @classmethod
    def open(cls, path: str | Path) -> RunDirectory:
        """Read a run directory.

        Raises:
            BundleError: not a run directory, or damaged.
        """
        file = Path(path) / RECORD_FILE
        if not file.is_file():
            raise BundleError(
                f"{path}: is not a run directory (no {RECORD_FILE} in it); make one with: "
                f"hemogat train"
            )
        try:
            return cls(Path(path), RunRecord.model_validate_json(file.read_bytes()))
        except ValidationError as error:
            raise BundleError(f"{file}: {first_problem(error)}; train again") from error

    @property
    def tokenizer_path(self) -> Path:
        """The ``tokenizers`` file."""
        return self.path / "tokenizer.json"

    def audio_encoder(self) -> AudioEncoder:
        """Load the fine-tuned audio encoder, in evaluation mode."""
        return load_audio_encoder(self.path / "audio_encoder").eval()

    def text_encoder(self) -> TextEncoder:
        """Load the fine-tuned text encoder, in evaluation mode."""
        return load_text_encoder(self.path / "text_encoder", self.record.recipe.text).eval()

    def head(self, name: str = FULL, seed: int | None = None) -> FusionHead:
        """Load the head called ``name``, in evaluation mode; ``seed``: None for the best one."""
        audio_dim, text_dim = self._tensors["audio"].shape[1], self._tensors["text"].shape[1]
        recipe, config = self.record.recipe, self.record.heads[name]
        make = partial(
            FusionHead,
            audio_dim,
            text_dim,
            len(recipe.labels),
            config,
            label_messages=recipe.graph.used_by(config).labels,
        )
        path = head_path(self.path, name, self.record.best_seed if seed is None else seed)
        state = _load(path)
        with torch.device("meta"):  # what the record promises may take more memory than there is
            promised = {key: value.shape for key, value in make().state_dict().items()}
        if promised != {key: value.shape for key, value in state.items()}:
            raise BundleError(f"{path}: does not fit {RECORD_FILE}; train again")
        head = make()
        head.load_state_dict(state)
        return head.eval()

    def features(self, split: Split) -> Features:
        """Return the embeddings and labels of one split."""
        rows = [i for i, row in enumerate(self.record.rows) if row.split == split]
        numbers = {label: n for n, label in enumerate(self.record.recipe.labels)}
        labels = torch.tensor([numbers[self.record.rows[i].label] for i in rows])
        everything = Embeddings(
            self._tensors["audio"], self._tensors["text"], self._tensors["present"]
        )
        return Features(everything[torch.tensor(rows, dtype=torch.int64)], labels)

    @cached_property
    def _tensors(self) -> dict[str, torch.Tensor]:
        path = self.path / "features.safetensors"
        tensors = _load(path)
        shapes = [tuple(tensors[name].shape) for name in _FEATURES if name in tensors]
        rows = len(self.record.rows)
        if [len(shape) for shape in shapes] != [2] * 3 or {s[0] for s in shapes} != {rows}:
            raise BundleError(
                f"{path}: does not hold the {rows} rows of {RECORD_FILE}; train again"
            )
        return tensors


def save_features(folder: Path, embeddings: Embeddings) -> None:
    """Write the embeddings of all rows into a run directory that is being made."""
    tensors = {
        "audio": embeddings.audio.contiguous(),
        "text": embeddings.text.contiguous(),
        "present": embeddings.present.contiguous(),
    }
    _save(tensors, folder / "features.safetensors")


def save_head(
    folder: Path, name: str, seed: int, head: FusionHead, validation_f1: float | None = None
) -> None:
    """Write a head's weights, and how well it validated, into a run directory being made."""
    path = head_path(folder, name, seed)
    path.parent.mkdir(exist_ok=True)
    state = {key: value.contiguous() for key, value in head.state_dict().items()}
    metadata = None if validation_f1 is None else {_VALIDATION_F1: repr(validation_f1)}
    _save(state, path, metadata)


def _save(
    tensors: dict[str, torch.Tensor], path: Path, metadata: dict[str, str] | None = None
) -> None:
    temporary = path.with_suffix(".new")
    with writing(temporary):
        save_file(tensors, temporary, metadata)
    replace_synced(temporary, path)


def validation_f1(folder: Path, name: str, seed: int) -> float:
    """Return how well a head validated that was saved with that.

    Raises:
        BundleError: it cannot be read.
    """
    path = head_path(folder, name, seed)
    try:
        with safe_open(path, framework="pt") as file:
            return float(file.metadata()[_VALIDATION_F1])
    except (OSError, SafetensorError, TypeError, KeyError) as error:
        raise BundleError(f"{path}: cannot be read ({error}); train again") from error


def save_record(folder: Path, record: RunRecord) -> None:
    """Write ``run.json``, the last file of a run."""
    text = json.dumps(record.model_dump(mode="json"), indent=1, ensure_ascii=False)
    write_atomic(folder / RECORD_FILE, text + "\n")


def head_path(folder: Path, name: str, seed: int) -> Path:
    """Return the file of a head's weights."""
    return folder / "heads" / f"{name}-seed{seed}.safetensors"


def _load(path: Path) -> dict[str, torch.Tensor]:
    try:
        return load_file(path)
    except (OSError, SafetensorError) as error:
        raise BundleError(f"{path}: cannot be read ({error}); train again") from error
