from __future__ import annotations

import json
import shutil
from itertools import combinations
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from hemogat.errors import InputError
from hemogat.model.bank import InductiveHead, freeze_bank, self_loops_only, transductive
from hemogat.training.evaluation import evaluate_run, mean_pairwise_cosine
from hemogat.training.metrics import Metrics, measure
from hemogat.training.run_directory import RunDirectory


@pytest.fixture(scope="module")
def run(tiny_run: Path, tmp_path_factory: pytest.TempPathFactory) -> RunDirectory:
    """Return the tiny run with random weights and embeddings, so that no two heads agree."""
    copy = Path(shutil.copytree(tiny_run, tmp_path_factory.mktemp("random") / "run"))
    torch.manual_seed(0)
    for path in (copy / "features.safetensors", *(copy / "heads").iterdir()):
        tensors = load_file(path)
        for name, value in tensors.items():
            if value.is_floating_point():
                tensors[name] = value + (torch.rand if "var" in name else torch.randn)(value.shape)
        save_file(tensors, path)
    return RunDirectory.open(copy)


@torch.no_grad()
def test_each_graph_and_each_control_is_there(run: RunDirectory) -> None:
    found = evaluate_run(run)
    assert list(found.graphs) == ["inductive", "transductive", "self_loop"]
    assert list(found.controls) == ["no_gnn", "audio_only", "text_only"]
    assert list(found.accuracies()) == [*found.graphs, *found.controls]
    assert (found.split, found.labels) == ("test", ("angry", "calm", "sad"))
    assert len(found.layer_cosine) == 3

    test, bank = run.features("test"), run.features("train").embeddings
    e, graph = test.embeddings, run.record.recipe.graph

    def metrics(logits: torch.Tensor) -> Metrics:
        return measure(test.labels.numpy(), logits.argmax(dim=1).numpy(), labels=3)

    def inductive(name: str) -> Metrics:
        head = run.head(name)
        module = InductiveHead(head, freeze_bank(head, bank, graph), graph).eval()
        return metrics(module(e.audio, e.text, e.present).logits)

    full = run.head()
    assert found.graphs == {
        "inductive": inductive("full"),
        "transductive": metrics(transductive(full, e, graph).logits),
        "self_loop": metrics(self_loops_only(full, e).logits),
    }
    assert found.controls == {name: inductive(name) for name in found.controls}
    rows = (*found.graphs.values(), *found.controls.values())
    assert len({metrics.confusion for metrics in rows}) >= 5
    for row in rows:
        assert row.utterances == sum(map(sum, row.confusion)) == 12


def test_other_splits_can_be_evaluated(run: RunDirectory) -> None:
    assert evaluate_run(run, "val").graphs["inductive"].utterances == 6
    assert evaluate_run(run, "train").graphs["inductive"].utterances == 24


def with_test_rows(run: RunDirectory, count: int, place: Path) -> RunDirectory:
    """Return a copy of the run of which only the first test utterances are left."""
    copy = Path(shutil.copytree(run.path, place / "run"))
    raw = json.loads((copy / "run.json").read_text())
    for row in [row for row in raw["rows"] if row["split"] == "test"][count:]:
        row["split"] = "val"
    (copy / "run.json").write_text(json.dumps(raw))
    return RunDirectory.open(copy)


@pytest.mark.parametrize(("count", "linked"), [(1, False), (3, False), (4, True)])
def test_a_split_too_small_for_a_graph_of_its_own_has_the_rest(
    run: RunDirectory, count: int, linked: bool, tmp_path: Path
) -> None:
    found = evaluate_run(with_test_rows(run, count, tmp_path))  # k_text is 3
    assert ("transductive" in found.graphs) == linked
    assert bool(found.layer_cosine) == linked
    assert {"inductive", "self_loop"} <= set(found.graphs)
    assert found.graphs["inductive"].utterances == count


def test_an_empty_split_is_refused(run: RunDirectory, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="has no utterances in split 'test'"):
        evaluate_run(with_test_rows(run, 0, tmp_path))


def test_the_pairwise_cosine_is_the_mean_over_all_pairs() -> None:
    nodes = torch.randn(7, 4, generator=torch.Generator().manual_seed(0))
    pairs = [
        torch.cosine_similarity(nodes[i], nodes[j], dim=0).item()
        for i, j in combinations(range(7), 2)
    ]
    assert mean_pairwise_cosine(nodes) == pytest.approx(sum(pairs) / len(pairs), abs=1e-6)
    assert mean_pairwise_cosine(nodes[:1].expand(3, -1)) == pytest.approx(1.0)  # all smoothed away
