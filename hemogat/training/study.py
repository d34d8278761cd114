"""Studies: heads that differ in one thing, trained over seeds on a run's stored embeddings.

The encoders are not touched. Every head is one file under the study's folder, written when it is
done, so that an interrupted study goes on where it stopped.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from pathlib import Path

import torch
from pydantic import ValidationError

from hemogat import __version__
from hemogat.config import GraphConfig, HeadConfig, OptimiserConfig, Settings
from hemogat.data.manifest import SPLITS, Split
from hemogat.errors import ConfigError, InputError
from hemogat.files import write_atomic
from hemogat.model.bank import Embeddings, InductiveHead, freeze_bank, transductive
from hemogat.model.head import FusionHead
from hemogat.model.macs import head_macs, parameter_count
from hemogat.model.topk_graph import check_k
from hemogat.progress import Progress
from hemogat.training.head_training import HeadGraphs, train_head
from hemogat.training.metrics import measure
from hemogat.training.run_directory import Features, RunDirectory
from hemogat.training.study_plan import Plan, Variant, plan_study
from hemogat.training.study_record import (
    STUDY_FIGURES,
    Study,
    StudyKind,
    VariantFigures,
    summarise_study,
)

_ASKED: tuple[Split, ...] = ("val", "test")


class CellSettings(Settings):
    """What a trained head depends on: one with the same settings is never trained again.

    ``data_sha256`` is that of the utterances that the head reads.
    """

    hemogat: str
    head: HeadConfig
    graph: GraphConfig
    training: OptimiserConfig
    seed: int
    data_sha256: str


class Cell(Settings):
    """One trained head: its size and its figures, by row of the study, split and figure."""

    settings: CellSettings
    parameters: int
    macs_per_node: int
    figures: dict[str, dict[Split, dict[str, float]]]


def run_study(
    run: RunDirectory,
    kind: StudyKind,
    out: Path,
    *,
    seeds: int | None = None,
    max_k: int = 10,
    progress: Progress | None = None,
) -> Study:
    """Train what the study ``kind`` compares and summarise it; heads in ``out`` are taken over.

    Args:
        run: whose embeddings, recipe and seeds are used.
        kind: see :func:`hemogat.training.study_plan.plan_study`.
        out: the study's folder; every head is a file under ``out/cells``.
        seeds: how many, from the recipe's first; None: as many as the run has.
        max_k: largest ``k_audio`` and ``k_text`` of ``topk``.
        progress: where the bar is drawn.

    Raises:
        ConfigError: the recipe does not fit the study, or a graph needs more utterances.
        InputError: the run has no utterances to validate or to test on.
    """
    recipe = run.record.recipe
    plan = plan_study(kind, recipe, max_k)
    numbers = tuple(recipe.seed + n for n in range(seeds or len(run.record.seeds)))
    trainer = _CellTrainer(run, out / "cells")
    trainer.check(plan)
    cells = {(v.name, seed): trainer.done(v, seed) for v in plan.variants for seed in numbers}
    with (progress or Progress()).stage(f"Study {kind}", len(cells)) as stage:
        stage.advance(sum(cell is not None for cell in cells.values()), note="taken over")
        for variant in plan.variants:
            for seed in numbers:
                if cells[variant.name, seed] is None:
                    cells[variant.name, seed] = trainer.cell(variant, seed)
                    stage.advance(note=f"{variant.name}, seed {seed}")
    rows = tuple(_rows(plan, {key: cell for key, cell in cells.items() if cell}, numbers))
    return summarise_study(kind, recipe.name, numbers, rows, plan.reference, plan.pairs)


def _rows(
    plan: Plan, found: dict[tuple[str, int], Cell], seeds: Sequence[int]
) -> Iterator[VariantFigures]:
    for variant in plan.variants:
        cells = [found[variant.name, seed] for seed in seeds]
        for row in variant.rows:
            yield VariantFigures(
                name=row,
                k_audio=variant.graph.k_audio,
                k_text=variant.graph.k_text,
                parameters=cells[0].parameters,
                macs_per_node=cells[0].macs_per_node,
                by_seed=tuple(cell.figures[row] for cell in cells),
            )


class _CellTrainer:
    """Trains cells or finds them done."""

    def __init__(self, run: RunDirectory, folder: Path) -> None:
        self._folder = folder
        self._recipe = run.record.recipe
        device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        self._splits = {split: _on(run.features(split), device) for split in SPLITS}
        for split in _ASKED:
            if not len(self._splits[split].labels):
                raise InputError(
                    f"{run.path}: has no utterances in split {split!r}, a study needs some"
                )
        self._graphs = HeadGraphs(self._splits["train"], self._splits["val"])
        self._sha256_of: dict[str, str] = {}  # by the modalities that a head reads

    def check(self, plan: Plan) -> None:
        """Refuse, before anything is trained, a row that needs more utterances than there are.

        Raises:
            ConfigError: its head reads a modality that none of a split has, or its graph has more
                neighbours than there are; it says in which split.
        """
        for variant in plan.variants:
            used = variant.graph.used_by(variant.head)
            for split in SPLITS:
                where = f"split {split!r}, row {variant.name}"
                features = self._splits[split].for_head(variant.head)
                if not len(features.labels):
                    raise ConfigError(f"{where}: no utterance has {variant.head.modalities}")
                # The bank, of which every head is trained, and where the split itself is one.
                if split == "train" or "transductive" in variant.rows.values():
                    audio, text = features.embeddings.present.sum(dim=0).tolist()
                    try:
                        check_k(used, audio, text, spare=1)
                    except ConfigError as error:
                        raise ConfigError(f"{where}: {error}") from error

    def done(self, variant: Variant, seed: int) -> Cell | None:
        """Return a head's figures from its file; None if it has to be trained."""
        done = _read(self._path(variant, seed))
        return done if done is not None and done.settings == self._settings(variant, seed) else None

    def cell(self, variant: Variant, seed: int) -> Cell:
        """Train a head, write its figures and return them."""
        cell = self._trained(variant, self._settings(variant, seed))
        write_atomic(self._path(variant, seed), cell.model_dump_json(indent=1) + "\n")
        return cell

    def _path(self, variant: Variant, seed: int) -> Path:
        return self._folder / f"{variant.name}-seed{seed}.json"

    def _settings(self, variant: Variant, seed: int) -> CellSettings:
        return CellSettings(
            hemogat=__version__,
            head=variant.head,
            graph=variant.graph,
            training=self._recipe.head_training,
            seed=seed,
            data_sha256=self._sha256(variant.head),
        )

    def _sha256(self, head: HeadConfig) -> str:
        if head.modalities not in self._sha256_of:
            read = [features.for_head(head) for features in self._splits.values()]
            self._sha256_of[head.modalities] = _sha256(read)
        return self._sha256_of[head.modalities]

    def _trained(self, variant: Variant, settings: CellSettings) -> Cell:
        torch.manual_seed(settings.seed)
        head = train_head(
            variant.name,
            self._splits["train"],
            self._splits["val"],
            len(self._recipe.labels),
            variant.head,
            variant.graph,
            settings.training,
            Progress(),
            graphs=self._graphs,
        ).head
        figures = {
            row: {split: self._figures(head, variant, kind, split) for split in _ASKED}
            for row, kind in variant.rows.items()
        }
        e = self._splits["train"].embeddings
        slots = variant.graph.used_by(variant.head).slots
        macs = head_macs(head.cpu(), e.audio.shape[1], e.text.shape[1], 1, slots)
        return Cell(
            settings=settings,
            parameters=parameter_count(head),
            macs_per_node=sum(macs.values()),
            figures=figures,
        )

    @torch.no_grad()
    def _figures(
        self, head: FusionHead, variant: Variant, kind: str, split: Split
    ) -> dict[str, float]:
        train = self._splits["train"].for_head(variant.head)
        features = self._splits[split].for_head(variant.head)
        e, graph = features.embeddings, variant.graph
        if kind == "transductive":
            logits = transductive(head, e, graph).logits
        else:
            bank = freeze_bank(head, train.embeddings, graph, labels=train.labels)
            logits = InductiveHead(head, bank, graph).eval()(e.audio, e.text, e.present).logits
        found = measure(features.labels.cpu().numpy(), logits.softmax(dim=1).cpu().numpy())
        return {name: found.figure(name) for name in STUDY_FIGURES}


def _on(features: Features, device: torch.device) -> Features:
    e = features.embeddings
    moved = Embeddings(e.audio.to(device), e.text.to(device), e.present.to(device))
    return Features(moved, features.labels.to(device))


def _read(path: Path) -> Cell | None:
    """Read a finished cell; what cannot be read is trained again."""
    if not path.exists():
        return None
    try:
        return Cell.model_validate_json(path.read_bytes())
    except ValidationError:
        return None


def _sha256(features: Sequence[Features]) -> str:
    digest = hashlib.sha256()
    for part in features:
        e = part.embeddings
        for tensor in (e.audio, e.text, e.present, part.labels):
            digest.update(tensor.cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()
