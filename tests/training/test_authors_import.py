from __future__ import annotations

import json
from pathlib import Path
from types import ModuleType
from typing import Any, get_args

import pytest
import torch

from hemogat.config import GraphConfig
from hemogat.data.manifest import Split
from hemogat.errors import ConfigError, InputError
from hemogat.export.export_run import export_run
from hemogat.export_config import ExportConfig
from hemogat.model.bank import transductive
from hemogat.training.authors_import import ImportReport, import_checkpoint
from hemogat.training.evaluation import evaluate_run
from hemogat.training.run_directory import RunDirectory

LABELS = ("angry", "happy", "neutral", "sad")
OUTGOING = GraphConfig(direction="outgoing")


def imported(
    files: dict[str, Path], graph: GraphConfig = OUTGOING, labels: tuple[str, ...] = LABELS
) -> ImportReport:
    splits: dict[Split, Path] = {split: files[split] for split in get_args(Split)}
    out = files["checkpoint"].parent / "run"
    return import_checkpoint(files["checkpoint"], splits, labels, graph, out)


@pytest.mark.parametrize(
    "sizes",
    [
        {},
        {"layers": 2},
        {"layers": 4, "heads": 4},
        {"final_heads": 3, "labels": 7, "width": 8},
        {"dims": (10, 14)},
        {"width": 512, "heads": 4, "dims": (768, 768)},
    ],
    ids=str,
)
@torch.no_grad()
def test_the_logits_are_the_authors(
    authors: ModuleType, tmp_path: Path, sizes: dict[str, Any]
) -> None:
    torch.manual_seed(1)
    network = authors.MultiModalGNN(**sizes)
    audio_dim, text_dim = sizes.get("dims", (12, 12))
    labels = sizes.get("labels", 4)
    files = {"checkpoint": tmp_path / "theirs.pt"}
    torch.save(network.state_dict(), files["checkpoint"])
    parts = {}
    for split, count in (("train", 12), ("val", 8), ("test", 40)):
        parts[split] = torch.randn(count, audio_dim), torch.randn(count, text_dim)
        files[split] = tmp_path / f"{split}.pkl"
        authors.write_features(files[split], *parts[split], labels)

    graph = GraphConfig(k_audio=4, k_text=3, direction="outgoing")
    report = imported(files, graph, tuple("abcdefg"[:labels]))
    features = report.run.features("test")
    found = transductive(report.run.head(), features.embeddings, graph).logits

    audio, text = parts["test"]
    expected = network(text, audio, authors.authors_edges(audio, text, k_audio=4, k_text=3))
    assert expected.std() > 0.01  # nothing that a constant would match
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-5)
    correct = (expected.argmax(dim=1) == features.labels).double().mean()
    assert report.outgoing.served.figures["accuracy"].best == pytest.approx(float(correct))

    other_way = GraphConfig(k_audio=4, k_text=3, direction="incoming")
    incoming = transductive(report.run.head(), features.embeddings, other_way)
    assert (incoming.logits - expected).abs().max() > 1e-3  # the direction is no formality


def test_the_run_holds_the_splits_and_no_more(authors_files: dict[str, Path]) -> None:
    run = imported(authors_files).run
    assert run.record.manifest is None
    assert list(run.record.heads) == ["full"]
    assert run.record.recipe.name == "IEMOCAP_GNN_SER"
    assert run.record.recipe.labels == LABELS
    assert run.record.recipe.graph == OUTGOING
    sizes = {split: len(run.features(split).labels) for split in ("train", "val", "test")}
    assert sizes == {"train": 20, "val": 10, "test": 16}
    assert run.features("test").labels.tolist() == [0, 1, 2, 3] * 4


def test_outgoing_is_evaluated_transductively_alone(authors_files: dict[str, Path]) -> None:
    report = imported(authors_files)
    assert report.incoming is None
    found = evaluate_run(RunDirectory.open(report.run.path))
    assert found == report.outgoing
    assert (list(found.graphs), found.controls) == (["transductive"], {})
    assert len(found.served.layer_cosine) == 3


def test_incoming_is_measured_again(authors_files: dict[str, Path]) -> None:
    as_published = imported(authors_files).outgoing
    report = imported(authors_files, GraphConfig())
    assert report.outgoing == as_published
    assert report.incoming == evaluate_run(report.run)
    assert list(report.incoming.graphs) == ["inductive", "transductive", "self_loop"]
    assert report.incoming.graphs["transductive"] != report.outgoing.served


def test_export_says_what_is_missing(authors_files: dict[str, Path], tmp_path: Path) -> None:
    for graph, missing in ((OUTGOING, "--direction incoming"), (GraphConfig(), "has no encoders")):
        run = imported(authors_files, graph).run
        with pytest.raises(InputError, match=missing) as caught:
            export_run(run.path, tmp_path / "bundle", ExportConfig())
        assert "\n" not in str(caught.value)
        assert not (tmp_path / "bundle").exists()


@pytest.mark.parametrize(
    ("graph", "labels", "message"),
    [
        (OUTGOING, LABELS[:3], "tells 4 labels apart .* 3 names were given: angry, happy, neutral"),
        (OUTGOING, ("a", "a", "b", "c"), "labels repeat"),
        (GraphConfig(k_text=16, direction="outgoing"), LABELS, "k_text is 16, but only 15"),
        (GraphConfig(k_audio=17), LABELS, "k_audio is 17, but only 15"),
    ],
)
def test_what_does_not_fit_leaves_nothing_behind(
    authors_files: dict[str, Path], graph: GraphConfig, labels: tuple[str, ...], message: str
) -> None:
    before = set(authors_files["checkpoint"].parent.iterdir())
    with pytest.raises((InputError, ConfigError), match=message):
        imported(authors_files, graph, labels)
    assert set(authors_files["checkpoint"].parent.iterdir()) == before


def test_a_run_is_replaced_and_nothing_else_is(authors_files: dict[str, Path]) -> None:
    run = imported(authors_files).run.path
    assert imported(authors_files, GraphConfig()).run.record.recipe.graph.direction == "incoming"
    (run / "run.json").unlink()
    with pytest.raises(InputError, match="exists already"):
        imported(authors_files)


def test_a_record_without_a_manifest_stays_one(authors_files: dict[str, Path]) -> None:
    run = imported(authors_files).run
    assert json.loads((run.path / "run.json").read_text())["manifest"] is None
