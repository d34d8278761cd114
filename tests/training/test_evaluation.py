from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from scipy import stats
from torch import Tensor

from hemogat.errors import InputError
from hemogat.model.bank import (
    Embeddings,
    InductiveHead,
    freeze_bank,
    self_loops_only,
    transductive,
)
from hemogat.model.topk_graph import link_together
from hemogat.training.evaluation import answer_split, evaluate_run, mean_pairwise_cosine
from hemogat.training.evaluation_record import Answers, Evaluation, summarise_answers
from hemogat.training.intervals import estimate
from hemogat.training.metrics import FIGURES, measure
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


def test_each_graph_each_control_and_all_inputs_are_there(run: RunDirectory) -> None:
    found = evaluate_run(run)
    assert (found.schema_version, found.name, found.split) == (1, "tiny", "test")
    assert (found.labels, found.seeds) == (("angry", "calm", "sad"), (0, 1))
    assert found.best_seed == run.record.best_seed
    inputs = ("both", "audio", "text")
    assert [(row.head, row.graph, row.inputs) for row in found.rows] == [
        *(("full", g, i) for g in ("inductive", "transductive", "self_loop") for i in inputs),
        *(("no_gnn", "inductive", i) for i in inputs),
        ("audio_only", "inductive", "audio"),
        ("text_only", "inductive", "text"),
    ]
    assert list(found.graphs) == ["inductive", "transductive", "self_loop"]
    assert list(found.controls) == ["no_gnn", "audio_only", "text_only"]
    assert found.graphs["inductive"] == found.served == found.rows[0]
    assert [row.inputs for row in found.graphs.values()] == ["both"] * 3
    assert found.accuracies() == {
        name: row.figures["accuracy"].mean
        for name, row in (*found.graphs.items(), *found.controls.items())
    }
    for row in found.rows:
        layers = 0 if row.head == "no_gnn" else 3
        assert (row.utterances, len(row.layer_cosine)) == (12, layers)


@torch.no_grad()
def expected_probabilities(run: RunDirectory, row: Answers, seed: int) -> Tensor:
    """Ask one head as serving and as the paper do, each searching for itself."""
    head, graph = run.head(row.head, seed), run.record.recipe.graph
    e = run.features("test").embeddings
    keeps = torch.tensor([row.inputs in ("both", "audio"), row.inputs in ("both", "text")])
    e = Embeddings(e.audio, e.text, e.present & keeps)
    if row.graph == "inductive":
        bank = freeze_bank(head, run.features("train").embeddings, graph)
        return InductiveHead(head, bank, graph).eval()(e.audio, e.text, e.present).probabilities
    if row.graph == "self_loop":
        return self_loops_only(head, e).logits.softmax(dim=1)
    k = {f"k_{m}": 0 for m in ("audio", "text") if row.inputs not in ("both", m)}
    return transductive(head, e, graph.model_copy(update=k)).logits.softmax(dim=1)


def test_every_answer_is_what_the_head_gives_on_its_own(run: RunDirectory) -> None:
    answers = answer_split(run)
    assert len(answers.rows) == 14
    for row in answers.rows:
        assert row.true.tolist() == run.features("test").labels.tolist()
        for seed, probabilities in zip(answers.seeds, row.probabilities, strict=True):
            expected = expected_probabilities(run, row, seed)
            torch.testing.assert_close(torch.from_numpy(probabilities), expected)
    assert len({row.probabilities.tobytes() for row in answers.rows}) == 14
    assert len({row.probabilities[0].tobytes() for row in answers.rows}) == 14


def test_figures_over_seeds_and_what_the_graph_adds(run: RunDirectory) -> None:
    answers = answer_split(run)
    found = summarise_answers(answers)
    by_seed = {}
    for row, answer in zip(found.rows, answers.rows, strict=True):
        metrics = [measure(answer.true, probabilities) for probabilities in answer.probabilities]
        for name in FIGURES:
            values = [m.figure(name) for m in metrics]
            assert row.figures[name] == estimate(values, answers.best)
            by_seed[row.head, row.graph, row.inputs, name] = values
        assert row.confusion == metrics[answers.best].confusion
        assert [c.support for c in row.per_class] == [4, 4, 4]
        for number, label in enumerate(row.per_class):
            for name in ("precision", "recall", "f1"):
                values = [getattr(m.per_class[number], name) for m in metrics]
                assert getattr(label, name) == estimate(values, answers.best)
    assert found.graph_gain is not None
    for name in FIGURES:
        ours, theirs = (by_seed[h, "inductive", "both", name] for h in ("full", "no_gnn"))
        assert found.graph_gain[name].values == tuple(np.subtract(ours, theirs))
        if len(set(found.graph_gain[name].values)) > 1:
            expected = stats.ttest_rel(ours, theirs).confidence_interval(0.95)
            assert found.graph_gain[name].low == pytest.approx(expected.low)
            assert found.graph_gain[name].high == pytest.approx(expected.high)
    assert Evaluation.model_validate_json(found.model_dump_json()) == found


def test_the_features_are_what_the_exported_seeds_classifier_reads(run: RunDirectory) -> None:
    served, e = answer_split(run).rows[0], run.features("test").embeddings
    head = run.head()
    with torch.no_grad():
        logits = head.mlp(torch.from_numpy(served.features))
        bank = freeze_bank(head, run.features("train").embeddings, run.record.recipe.graph)
        module = InductiveHead(head, bank, run.record.recipe.graph).eval()
        expected = module(e.audio, e.text, e.present).logits
    torch.testing.assert_close(logits, expected)


def changed(run: RunDirectory, place: Path, change: Callable[[Any], object]) -> RunDirectory:
    """Return a copy of the run with its record changed."""
    copy = Path(shutil.copytree(run.path, place / "run"))
    raw = json.loads((copy / "run.json").read_text())
    change(raw)
    (copy / "run.json").write_text(json.dumps(raw))
    return RunDirectory.open(copy)


def test_messages_that_carry_labels_come_from_the_bank_alone(
    run: RunDirectory, tmp_path: Path
) -> None:
    labelled = changed(run, tmp_path, lambda raw: raw["recipe"]["graph"].update(labels=True))
    for path in (labelled.path / "heads").iterdir():
        tensors, width = load_file(path), 16 * (1 + path.name.startswith("full"))
        if not path.name.startswith("no_gnn"):
            save_file(tensors | {"label_embedding.weight": torch.randn(3, width)}, path)
    answers = answer_split(labelled)
    assert {row.graph for row in answers.rows} == {"inductive", "self_loop"}
    train, test = labelled.features("train"), labelled.features("test")
    head, graph, e = labelled.head(), labelled.record.recipe.graph, test.embeddings
    bank = freeze_bank(head, train.embeddings, graph, labels=train.labels)
    with torch.no_grad():
        expected = InductiveHead(head, bank, graph).eval()(e.audio, e.text, e.present)
    found = torch.from_numpy(answers.rows[0].probabilities[answers.best])
    torch.testing.assert_close(found, expected.probabilities)


@torch.no_grad()
def test_training_utterances_do_not_find_themselves(run: RunDirectory) -> None:
    train, graph = run.features("train"), run.record.recipe.graph
    e = train.embeddings
    answers = answer_split(run, "train")
    rows = {(row.head, row.graph, row.inputs): row for row in answers.rows}
    for (name, kind, inputs), row in rows.items():
        if kind != "inductive":
            continue
        head = run.head(name)
        used = graph.used_by(head.config)
        bank = freeze_bank(head, e, graph)
        keeps = torch.tensor([inputs in ("both", "audio"), inputs in ("both", "text")])
        neighbours = torch.empty(len(e), 0, dtype=torch.int64)
        if used.slots:
            asked = e.present & keeps
            neighbours = link_together(e.audio, e.text, e.present, used, searching=asked).index
            assert not (neighbours == torch.arange(len(e))[:, None]).any()
        expected = head(e.audio, e.text, e.present & keeps, neighbours, bank.states).logits
        found = torch.from_numpy(row.probabilities[answers.best])
        torch.testing.assert_close(found, expected.softmax(dim=1))
    # The graph that the head was trained on.
    bank, across = (rows["full", kind, "both"] for kind in ("inductive", "transductive"))
    np.testing.assert_allclose(bank.probabilities, across.probabilities, atol=1e-5)
    elsewhere = answer_split(run, "train", features=train)  # as if they were others
    assert np.abs(elsewhere.rows[0].probabilities - bank.probabilities).max() > 1e-3


def test_no_training_utterance_is_told_its_own_label(run: RunDirectory, tmp_path: Path) -> None:
    labelled = changed(run, tmp_path, lambda raw: raw["recipe"]["graph"].update(labels=True))
    with pytest.raises(InputError, match=r"graph\.labels is true, .*; evaluate val or test"):
        answer_split(labelled, "train")


def test_one_seed_has_no_interval(run: RunDirectory, tmp_path: Path) -> None:
    found = evaluate_run(changed(run, tmp_path, lambda raw: raw.update(seeds=[raw["best_seed"]])))
    assert found.seeds == (run.record.best_seed,)
    for row in found.rows:
        assert {estimate.high for estimate in row.figures.values()} == {None}
    assert found.graph_gain is not None
    assert found.graph_gain["accuracy"].std is None


def test_with_one_modality_those_that_have_it_are_asked(run: RunDirectory, tmp_path: Path) -> None:
    silent = changed(run, tmp_path, lambda raw: None)
    tensors = load_file(silent.path / "features.safetensors")
    tests = [i for i, row in enumerate(silent.record.rows) if row.split == "test"]
    tensors["present"][tests[:5], 0] = False
    save_file(tensors, silent.path / "features.safetensors")
    found = {(row.head, row.graph, row.inputs): row for row in evaluate_run(silent).rows}
    for (_, _, inputs), row in found.items():
        assert row.utterances == {"both": 12, "audio": 7, "text": 12}[inputs]
    tensors["present"][tests, 0] = False
    save_file(tensors, silent.path / "features.safetensors")
    without = evaluate_run(RunDirectory.open(silent.path))
    assert {row.inputs for row in without.rows} == {"both", "text"}
    assert list(without.controls) == ["no_gnn", "text_only"]


def test_other_splits_and_other_features_can_be_evaluated(run: RunDirectory) -> None:
    val = evaluate_run(run, "val")
    assert val.served.utterances == 6
    given = evaluate_run(run, "test", features=run.features("val"))
    assert given.rows == val.rows


def with_test_rows(run: RunDirectory, count: int, place: Path) -> RunDirectory:
    """Return a copy of the run of which only the first test utterances are left."""

    def move(raw: Any) -> None:
        for row in [row for row in raw["rows"] if row["split"] == "test"][count:]:
            row["split"] = "val"

    return changed(run, place, move)


@pytest.mark.parametrize(("count", "linked"), [(1, False), (3, False), (4, True)])
def test_a_split_too_small_for_a_graph_of_its_own_has_the_rest(
    run: RunDirectory, count: int, linked: bool, tmp_path: Path
) -> None:
    found = evaluate_run(with_test_rows(run, count, tmp_path))  # k_text is 3
    assert ("transductive" in found.graphs) == linked
    assert bool(found.served.layer_cosine) == (count > 1)
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
