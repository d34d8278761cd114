"""GAT, GCN and GraphSAGE as they are compared: their sizes, and their accuracy where it is known.

Speed depends on sizes, not on weights, so what is timed always has random weights; a run gives its
sizes and its accuracy.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import get_args

from pydantic import ValidationError

from hemogat.benchmarks.cost import TOKENS, EncodersCost, Gnn, base_encoders_cost, encoders_cost
from hemogat.benchmarks.figures import Figure
from hemogat.benchmarks.targets import HeadShape, served_graph
from hemogat.benchmarks.work import Encoders
from hemogat.config import HeadConfig
from hemogat.errors import BundleError, ConfigError, InputError
from hemogat.runtime.bundle import Dims
from hemogat.training.evaluation import evaluate_run
from hemogat.training.head_names import FULL
from hemogat.training.intervals import Estimate
from hemogat.training.run_directory import RunDirectory
from hemogat.training.study_record import Study

GNNS: tuple[Gnn, ...] = get_args(Gnn)
STUDY_FILE = Path("studies", "gnn", "study.json")
ACCURACIES = ("accuracy", "weighted_f1", "unweighted_accuracy")


@dataclass(frozen=True)
class Variant:
    """One kind of graph layer.

    ``encoders``: None where a run has none. ``accuracy``: estimates over seeds on the test split,
    by figure; empty for random weights. ``origin``: the recipe's name.
    """

    shape: HeadShape
    encoders: EncodersCost | None
    accuracy: Mapping[str, Estimate]
    origin: str = "base sizes"

    @property
    def gnn(self) -> Gnn:
        """The kind of graph layer."""
        return self.shape.head.gnn

    def accuracy_figures(self) -> list[Figure]:
        """Return the accuracies in per cent, with their t-intervals over seeds."""
        return [
            Figure(
                target="model",
                metric=name,
                unit="%",
                value=100 * found.mean,
                low=None if found.low is None else 100 * found.low,
                high=None if found.high is None else 100 * found.high,
                better="higher",
                axes={"gnn": self.gnn},
            )
            for name, found in self.accuracy.items()
            if name in ACCURACIES
        ]


def base_variants(bank_rows: int = 4407) -> list[Variant]:
    """Return the three variants at the authors' sizes, with random weights."""
    encoders = base_encoders_cost()
    shapes = (HeadShape(head=HeadConfig(gnn=gnn), bank_rows=bank_rows) for gnn in GNNS)
    return [Variant(shape, encoders, {}) for shape in shapes]


def variants_of_runs(given: Sequence[str]) -> list[Variant]:
    """Return the variants that ``gat=RUN`` and the like name, or one RUN whose study is done.

    Raises:
        ConfigError: a run's layers are not what it is given for, one is given twice, or it has no
            graph.
        InputError: a RUN alone has no study of the three variants beside it, or one that lacks
            figures of the test split.
        BundleError: a run or its study cannot be read.
    """
    if len(given) == 1 and "=" not in given[0]:
        return _of_study(Path(given[0]))
    variants: list[Variant] = []
    for item in given:
        gnn, separator, path = item.partition("=")
        if not separator or gnn not in GNNS:
            raise ConfigError(
                f"--run {item}: expected {'|'.join(GNNS)}=RUN, or a single RUN with a study"
            )
        variants.append(_of_run(RunDirectory.open(path), gnn))
    if len({variant.gnn for variant in variants}) < len(variants):
        raise ConfigError(f"--run: expected each kind of layer once, found {', '.join(given)}")
    return sorted(variants, key=lambda variant: GNNS.index(variant.gnn))


def _of_run(run: RunDirectory, gnn: str) -> Variant:
    head = run.record.heads[FULL]
    if head.modules == "no_gnn" or head.gnn != gnn:
        found = "no graph" if head.modules == "no_gnn" else head.gnn
        raise ConfigError(f"{run.path}: expected a run with {gnn}, found one with {found}")
    figures = evaluate_run(run).served.figures
    return Variant(
        shape_of_run(run, head),
        _encoders_cost(run),
        {str(n): e for n, e in figures.items()},
        run.record.recipe.name,
    )


def _of_study(path: Path) -> list[Variant]:
    run, file = RunDirectory.open(path), path / STUDY_FILE
    try:
        study = Study.model_validate_json(file.read_bytes())
    except OSError as error:
        raise InputError(
            f"{file}: cannot be read ({error.strerror}); make it with: hemogat study gnn {path}"
        ) from error
    except ValidationError as error:
        raise BundleError(f"{file}: is no study; make it with: hemogat study gnn {path}") from error
    encoders = _encoders_cost(run)
    rows = {row.name: row.figures.get("test", {}) for row in study.rows}
    _check_figures(file, rows)
    return [
        Variant(
            shape_of_run(run, run.record.recipe.head.model_copy(update={"gnn": gnn})),
            encoders,
            rows[gnn],
            run.record.recipe.name,
        )
        for gnn in GNNS
        if gnn in rows
    ]


def _check_figures(file: Path, rows: Mapping[str, Mapping[str, Estimate]]) -> None:
    """Refuse a study that lacks what is read of it."""
    known = [gnn for gnn in GNNS if gnn in rows]
    missing = [f"{name} of {gnn}" for gnn in known for name in ACCURACIES if name not in rows[gnn]]
    if missing or not known:
        raise InputError(
            f"{file}: expected figures of {', '.join(known or GNNS)} on the test split, found none "
            f"for {', '.join(missing or GNNS)}; make it anew with: hemogat study gnn RUN"
        )


def shape_of_run(run: RunDirectory, head: HeadConfig) -> HeadShape:
    """Return the sizes of ``head`` on the run's embeddings and bank."""
    train, recipe = run.features("train"), run.record.recipe
    audio, text = train.embeddings.audio, train.embeddings.text
    return HeadShape(
        dims=Dims(audio=audio.shape[1], text=text.shape[1]),
        labels=len(recipe.labels),
        head=head,
        graph=served_graph(recipe.graph),
        bank_rows=len(train.labels),
    )


def encoders_of_run(run: RunDirectory) -> Encoders | None:
    """Return the encoders that the run's head reads; None where the run has not all of them.

    One imported from a checkpoint may have none. Their attention is eager, so that it is counted.
    """
    reads = run.record.heads[FULL].reads
    if not all((run.path / f"{modality}_encoder").is_dir() for modality in reads):
        return None
    found = Encoders(
        run.audio_encoder() if "audio" in reads else None,
        run.text_encoder() if "text" in reads else None,
    )
    for encoder in found:
        if encoder is not None:
            encoder.backbone.set_attn_implementation("eager")
    return found


def _encoders_cost(run: RunDirectory) -> EncodersCost | None:
    encoders = encoders_of_run(run)
    tokens = min(TOKENS, run.record.recipe.text.max_tokens)
    return None if encoders is None else encoders_cost(*encoders, tokens=tokens)
