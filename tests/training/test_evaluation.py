from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from hemogat.errors import ConfigError, InputError
from hemogat.model.bank import InductiveHead, freeze_bank, self_loops_only, transductive
from hemogat.training.evaluation import evaluate_run
from hemogat.training.run_directory import RunDirectory


@pytest.fixture(scope="module")
def run(tiny_run: Path, tmp_path_factory: pytest.TempPathFactory) -> RunDirectory:
    """Return the tiny run with random weights and embeddings, so that every head has its own say."""
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

    test, bank = run.features("test"), run.features("train").embeddings
    e, graph = test.embeddings, run.record.recipe.graph

    def accuracy(logits: torch.Tensor) -> float:
        return float((logits.argmax(dim=1) == test.labels).double().mean())

    def inductive(name: str) -> float:
        head = run.head(name)
        module = InductiveHead(head, freeze_bank(head, bank, graph), graph).eval()
        return accuracy(module(e.audio, e.text, e.present).logits)

    full = run.head()
    assert found.accuracies() == {
        "inductive": inductive("full"),
        "transductive": accuracy(transductive(full, e, graph).logits),
        "self_loop": accuracy(self_loops_only(full, e).logits),
        **{name: inductive(name) for name in found.controls},
    }
    assert len(set(found.accuracies().values())) > 3
    for metrics in (*found.graphs.values(), *found.controls.values()):
        assert metrics.utterances == 12
        assert sum(map(sum, metrics.confusion)) == 12


def test_other_splits_can_be_evaluated(run: RunDirectory) -> None:
    assert evaluate_run(run, "val").graphs["inductive"].utterances == 6
    assert evaluate_run(run, "train").graphs["inductive"].utterances == 24


def test_what_cannot_be_evaluated_is_refused(tiny_run: Path, tmp_path: Path) -> None:
    copy = Path(shutil.copytree(tiny_run, tmp_path / "run"))
    raw = json.loads((copy / "run.json").read_text())
    for row in [row for row in raw["rows"] if row["split"] == "test"][3:]:
        row["split"] = "val"
    (copy / "run.json").write_text(json.dumps(raw))
    with pytest.raises(ConfigError, match=r"graph\.k_text is 3, but only 2 utterances"):
        evaluate_run(RunDirectory.open(copy))

    for row in raw["rows"]:
        row["split"] = "train"
    (copy / "run.json").write_text(json.dumps(raw))
    with pytest.raises(InputError, match="has no utterances in split 'test'"):
        evaluate_run(RunDirectory.open(copy))
