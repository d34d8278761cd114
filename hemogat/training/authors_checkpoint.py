"""The authors' checkpoints (state dicts of ``MultiModalGNN``) as run directories."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path

import torch
from torch import Tensor

from hemogat.config import GraphConfig, HeadConfig, Recipe, parse_settings
from hemogat.data.manifest import Split
from hemogat.errors import InputError
from hemogat.files import folder_written_whole
from hemogat.model.bank import Embeddings
from hemogat.model.head import FusionHead
from hemogat.model.topk_graph import check_k
from hemogat.training.authors_features import read_authors_features
from hemogat.training.evaluation import evaluate_run
from hemogat.training.evaluation_record import Evaluation
from hemogat.training.run_directory import (
    FULL,
    RECORD_FILE,
    Features,
    Row,
    RunDirectory,
    RunRecord,
    save_features,
    save_head,
    save_record,
)
from hemogat.versions import installed_versions

_PACKAGES = ("hemogat", "torch", "torch-geometric", "numpy")
# Ours: theirs. Their text_attention is asked by the audio, their audio_attention by the text.
_NAMES = {
    "projections.text.": "text_projection.",
    "projections.audio.": "audio_projection.",
    "cmt.audio_to_text.attention.": "cross_fusion.text_attention.",
    "cmt.audio_to_text.linear.": "cross_fusion.text_linear.",
    "cmt.audio_to_text.norm.": "cross_fusion.text_layer_norm.",
    "cmt.text_to_audio.attention.": "cross_fusion.audio_attention.",
    "cmt.text_to_audio.linear.": "cross_fusion.audio_linear.",
    "cmt.text_to_audio.norm.": "cross_fusion.audio_layer_norm.",
    "gnn.layers.0.": "gnn.conv1.",
    "gnn.last.": "gnn.conv_last.",
}
_MIDDLE_LAYER = re.compile(r"gnn\.convs\.(\d{1,3})\.")


@dataclass(frozen=True)
class Checkpoint:
    """A head with the authors' weights, in evaluation mode, and the sizes it was made for."""

    head: FusionHead
    audio_dim: int
    text_dim: int
    labels: int


@dataclass(frozen=True)
class ImportReport:
    """What an import made, and how well it does on the test split.

    ``outgoing``: as the authors measure, one graph over the split, messages from a node to its
    neighbours. ``incoming``: measured again as the run will be used, if it was imported so.
    """

    run: RunDirectory
    outgoing: Evaluation
    incoming: Evaluation | None


def import_checkpoint(
    checkpoint: Path,
    splits: Mapping[Split, Path],
    labels: Sequence[str],
    graph: GraphConfig,
    out: Path,
) -> ImportReport:
    """Make a run directory from a checkpoint and feature files; measure it on the test split.

    The run has one head, no encoders and no manifest; of its recipe only the name, the labels,
    the graph and the head mean something. Writes ``out`` whole or not at all; a run that stands
    there is replaced.

    Args:
        checkpoint: the state dict that ``torch.save`` wrote.
        splits: the feature file of each split; ``train`` and ``test`` are needed.
        labels: their names, in the order of the label numbers.
        graph: neighbours, and which way messages flow from now on.
        out: the run directory.

    Raises:
        InputError: the checkpoint or a feature file cannot be used, or ``out`` is something else.
        ConfigError: k is larger than a split allows, or a size is out of range.
    """
    made = read_checkpoint(checkpoint)
    if len(labels) != made.labels:
        raise InputError(
            f"{checkpoint}: tells {made.labels} labels apart (mlp.4.weight), but {len(labels)} "
            f"names were given: {', '.join(labels)}"
        )
    recipe = _recipe(checkpoint, labels, graph, made.head.config)
    features = _read_splits(splits, made, graph)
    with folder_written_whole(out, replace_if_has=RECORD_FILE) as folder:
        save_head(folder, FULL, recipe.seed, made.head)
        save_features(folder, _joined([part.embeddings for part in features.values()]))
        save_record(folder, _record(recipe, features))
    run = RunDirectory.open(out)
    incoming = evaluate_run(run) if graph.direction == "incoming" else None
    return ImportReport(run, evaluate_run(run, direction="outgoing"), incoming)


def read_checkpoint(path: Path) -> Checkpoint:
    """Read a state dict of the authors' ``MultiModalGNN``; its shapes give every size.

    Raises:
        InputError: not a state dict of that network; names the first key that is missing, not
            expected, or of another shape.
        ConfigError: a size that the head does not have, such as five layers.
    """
    state = _load_state(path)
    hidden, text_dim = _shape(path, state, "text_projection.0.weight", 2)
    audio_dim = _shape(path, state, "audio_projection.0.weight", 2)[1]
    labels = _shape(path, state, "mlp.4.weight", 2)[0]
    middle = [int(found[1]) for key in state if (found := _MIDDLE_LAYER.match(key))]
    sizes = {
        "hidden": hidden,
        "heads": _shape(path, state, "gnn.conv1.att_src", 3)[1],
        "final_heads": _shape(path, state, "gnn.conv_last.att_src", 3)[1],
        "num_layers": 3 + max(middle, default=-1),
    }
    config = parse_settings(HeadConfig, sizes, source=str(path))
    with torch.device("meta"):  # every weight is about to come from the file
        head = FusionHead(audio_dim, text_dim, labels, config)
    expected = {_their_name(key): (key, value) for key, value in head.state_dict().items()}
    _check_keys(path, state, expected)
    ours = {
        expected[key][0]: _checked(path, key, value, expected[key][1])
        for key, value in state.items()
    }
    head.load_state_dict(ours, assign=True)
    return Checkpoint(head.eval().requires_grad_(False), audio_dim, text_dim, labels)


def _load_state(path: Path) -> dict[str, Tensor]:
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror or error})") from error
    except Exception as error:  # torch names none, and a damaged file can raise anything
        found = re.search(r"GLOBAL (\S+)", str(error))
        reason = f"it calls for {found[1]}" if found else "torch cannot load it"
        raise InputError(
            f"{path}: expected a state dict saved by torch.save, tensors only; refused, because "
            f"{reason}"
        ) from error
    if not isinstance(state, dict) or not state:
        raise InputError(f"{path}: expected a state dict, found {type(state).__name__}")
    for key, value in state.items():
        if not isinstance(key, str) or not isinstance(value, Tensor):
            raise InputError(
                f"{path}: expected a state dict of tensors, found {type(value).__name__} at "
                f"{key!r:.60}; save the network's state_dict() alone"
            )
    return _newer_names(state)


def _newer_names(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """Rename what PyTorch Geometric before 2.5 called lin_src, and stored again as lin_dst."""
    renamed = {}
    for key, value in state.items():
        twin = state.get(key.replace(".lin_dst.", ".lin_src."))
        if ".lin_dst." in key and twin is not None and torch.equal(twin, value):
            continue
        renamed[key.replace(".lin_src.", ".lin.")] = value
    return renamed


def _shape(path: Path, state: Mapping[str, Tensor], key: str, axes: int) -> tuple[int, ...]:
    if key not in state:
        raise InputError(f"{path}: is not a MultiModalGNN: {key} is missing")
    if state[key].ndim != axes:
        raise InputError(f"{path}: {key}: expected {axes} axes, found {list(state[key].shape)}")
    return tuple(state[key].shape)


def _their_name(key: str) -> str:
    for ours, theirs in _NAMES.items():
        if key.startswith(ours):
            return theirs + key.removeprefix(ours)
    layer = re.match(r"gnn\.layers\.(\d+)\.", key)
    if layer:
        return f"gnn.convs.{int(layer[1]) - 1}.{key[layer.end() :]}"
    return key  # gnn.batch_norm, mlp


def _check_keys(path: Path, state: Mapping[str, Tensor], expected: Mapping[str, object]) -> None:
    for keys, fault in (
        ([key for key in expected if key not in state], "is missing"),
        ([key for key in state if key not in expected], "is not expected"),
    ):
        if keys:
            more = f" (and {len(keys) - 1} more)" if len(keys) > 1 else ""
            key = " ".join(keys[0].split())  # on one line, whatever the file holds
            raise InputError(f"{path}: is not a MultiModalGNN: {key:.100} {fault}{more}")


def _checked(path: Path, key: str, value: Tensor, expected: Tensor) -> Tensor:
    if value.shape != expected.shape:
        raise InputError(
            f"{path}: {key}: expected {list(expected.shape)}, found {list(value.shape)}"
        )
    plain = value.layout == torch.strided and value.device.type == "cpu"
    if not plain or value.is_floating_point() != expected.is_floating_point():
        raise InputError(f"{path}: {key}: expected plain {expected.dtype}, found {value.dtype}")
    if not value.isfinite().all():
        raise InputError(f"{path}: {key}: holds values that are not finite")
    return value.to(expected.dtype).contiguous()


def _recipe(
    checkpoint: Path, labels: Sequence[str], graph: GraphConfig, head: HeadConfig
) -> Recipe:
    name = re.sub(r"[^A-Za-z0-9._-]+", "-", checkpoint.stem).lstrip("._-") or "imported"
    raw = {"name": name, "labels": tuple(labels), "graph": graph, "head": head}
    return parse_settings(Recipe, raw, source="--labels")


def _read_splits(
    splits: Mapping[Split, Path], made: Checkpoint, graph: GraphConfig
) -> dict[Split, Features]:
    features = {
        split: read_authors_features(
            path, audio_dim=made.audio_dim, text_dim=made.text_dim, labels=made.labels
        )
        for split, path in splits.items()
    }
    for split in ("train", "test"):  # the bank, and what is evaluated at once
        rows = len(features[split].labels)
        check_k(graph, rows, rows, spare=1)
    return features


def _joined(parts: Sequence[Embeddings]) -> Embeddings:
    return Embeddings(
        torch.cat([part.audio for part in parts]),
        torch.cat([part.text for part in parts]),
        torch.cat([part.present for part in parts]),
    )


def _record(recipe: Recipe, features: Mapping[Split, Features]) -> RunRecord:
    return RunRecord(
        recipe=recipe,
        manifest=None,
        rows=tuple(
            Row(id=f"{split}-{number:05}", label=recipe.labels[label], split=split)
            for split, part in features.items()
            for number, label in enumerate(part.labels.tolist())
        ),
        heads={FULL: recipe.head},
        seeds=(recipe.seed,),
        best_seed=recipe.seed,
        created_utc=datetime.now(timezone.utc).isoformat(timespec="seconds"),
        versions=installed_versions(_PACKAGES),
    )
