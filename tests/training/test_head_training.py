from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch

from hemogat.config import GraphConfig, HeadConfig, OptimiserConfig
from hemogat.errors import ConfigError
from hemogat.model.bank import Embeddings, InductiveHead, freeze_bank
from hemogat.model.head import FusionHead
from hemogat.model.topk_graph import link_together
from hemogat.progress import Progress
from hemogat.training import head_training
from hemogat.training.head_training import HeadGraphs, TrainedHead, train_head
from hemogat.training.metrics import weighted_f1
from hemogat.training.run_directory import Features

LABELS = 3
GRAPH = GraphConfig(k_audio=2, k_text=3)
HEAD = HeadConfig(hidden=16, heads=2, num_layers=2, modality_dropout=0.3)
LONG = OptimiserConfig(epochs=40, learning_rate=5e-3, patience=40)


def features(rows: int, seed: int) -> Features:
    """One cloud per label in each modality."""
    random = torch.Generator().manual_seed(seed)
    centres = torch.Generator().manual_seed(99)
    labels = torch.arange(rows) % LABELS
    audio = 2 * torch.randn(LABELS, 6, generator=centres)[labels]
    text = 2 * torch.randn(LABELS, 8, generator=centres)[labels]
    e = Embeddings(
        audio + 0.3 * torch.randn(rows, 6, generator=random),
        text + 0.3 * torch.randn(rows, 8, generator=random),
        torch.ones(rows, 2, dtype=torch.bool),
    )
    return Features(e, labels)


TRAIN, VALIDATION, TEST = features(36, 0), features(60, 1), features(60, 2)


def fit(
    config: OptimiserConfig = LONG,
    head: HeadConfig = HEAD,
    progress: Progress | None = None,
    validation: Features = VALIDATION,
) -> FusionHead:
    torch.manual_seed(0)
    return train_head(
        "full", TRAIN, validation, LABELS, head, GRAPH, config, progress or Progress()
    ).head


def with_holes(of: Features) -> Features:
    """Take the audio of every third utterance and the text of every other third."""
    present = of.embeddings.present.clone()
    present[::3, 0] = present[1::3, 1] = False
    return Features(replace(of.embeddings, present=present), of.labels)


@torch.no_grad()
def predict(head: FusionHead, of: Features, present: torch.Tensor | None = None) -> torch.Tensor:
    inductive = InductiveHead(head, freeze_bank(head, TRAIN.embeddings, GRAPH), GRAPH).eval()
    e = of.embeddings
    logits = inductive(e.audio, e.text, e.present if present is None else present).logits
    return logits.argmax(dim=1)


def test_a_head_learns_clouds_that_are_apart() -> None:
    head = fit()
    assert not head.training
    assert (predict(head, TEST) == TEST.labels).float().mean() > 0.95


def test_modality_dropout_teaches_to_do_without() -> None:
    head = fit(validation=with_holes(features(120, 3)))
    for column in (0, 1):
        present = TEST.embeddings.present.clone()
        present[:, column] = False
        assert (predict(head, TEST, present) == TEST.labels).float().mean() > 0.9
    assert all(vector.abs().sum() > 0 for vector in head.missing.values())


def test_one_seed_decides_everything() -> None:
    short = OptimiserConfig(epochs=3, learning_rate=1e-3)
    one, other = fit(short).state_dict(), fit(short).state_dict()
    for name, value in one.items():
        torch.testing.assert_close(value, other[name], atol=0, rtol=0)


def test_the_epoch_that_validates_best_is_kept(recorded: Callable[[], Any]) -> None:
    progress = recorded()
    config = OptimiserConfig(epochs=12, learning_rate=3e-2, patience=12)
    random = torch.Generator().manual_seed(5)
    noise = Embeddings(
        torch.randn(60, 6, generator=random),
        torch.randn(60, 8, generator=random),
        torch.ones(60, 2, dtype=torch.bool),
    )
    luck = Features(noise, torch.arange(60) % LABELS)
    head = fit(config, progress=progress, validation=luck)
    (notes,) = progress.notes.values()
    scores = [float(note.split()[-1]) for note in notes]
    assert len(scores) == 12
    assert scores[-1] < max(scores)  # nothing to be learned: the best is a matter of luck
    # 30 per cent of the score is what is reached with one modality alone.
    audio, text = (luck.embeddings.present & torch.tensor(f) for f in ((1, 0), (0, 1)))
    scores_by_input = [
        weighted_f1(luck.labels.numpy(), predict(head, luck, p).numpy())
        for p in (None, audio.bool(), text.bool())
    ]
    found = 0.7 * scores_by_input[0] + 0.15 * sum(scores_by_input[1:])
    assert found == pytest.approx(max(scores), abs=0.006)  # notes are rounded
    # Batch statistics move in every epoch up to that one: each trains in training mode. (The
    # authors' loop stays in evaluation mode after the first validation.)
    epochs = int(head.projections["audio"][1].num_batches_tracked)
    assert scores[epochs - 1] == max(scores)


def test_training_stops_when_validation_does_not_improve(recorded: Callable[[], Any]) -> None:
    progress = recorded()
    fit(OptimiserConfig(epochs=50, learning_rate=1e-12, patience=4), progress=progress)
    (notes,) = progress.notes.values()
    assert 5 <= len(notes) < 50


@pytest.mark.parametrize(
    "head",
    [
        {"modules": "no_gnn"},
        {"modalities": "audio", "modality_dropout": 0.0},
        {"modalities": "text", "modality_dropout": 0.0},
        {"num_layers": 1, "modality_dropout": 0.0},
    ],
)
def test_every_control_learns_too(head: dict[str, Any]) -> None:
    trained = fit(head=HEAD.model_copy(update=head))
    assert (predict(trained, TEST) == TEST.labels).float().mean() > 0.9


def test_too_few_utterances_for_k_are_refused() -> None:
    with pytest.raises(ConfigError, match=r"graph\.k_text is 36, but only 35 utterances"):
        train_head(
            "full", TRAIN, VALIDATION, LABELS, HEAD, GraphConfig(k_text=36), LONG, Progress()
        )


def test_hiding_takes_one_modality_of_the_share_that_has_both() -> None:
    torch.manual_seed(0)
    present = torch.ones(4000, 2, dtype=torch.bool)
    present[:1000, 0] = False
    hidden = head_training._hide_modalities(present, 0.4)
    assert (hidden[:1000] == present[:1000]).all()
    assert hidden.any(dim=1).all()
    audio, text = (~hidden[1000:]).float().mean(dim=0).tolist()
    assert audio == pytest.approx(0.2, abs=0.03)
    assert text == pytest.approx(0.2, abs=0.03)
    assert head_training._hide_modalities(present, 0.0).equal(present)


def test_hidden_modalities_are_not_searched_with() -> None:
    torch.manual_seed(0)
    e = TRAIN.embeddings
    has = e.present.clone()
    has[::5, 0] = False
    has[1::5, 1] = False
    known = Features(Embeddings(e.audio, e.text, has), TRAIN.labels)
    graphs = HeadGraphs(known, VALIDATION)
    for _ in range(5):
        present = head_training._hide_modalities(has, 0.5)
        expected = link_together(e.audio, e.text, has, GRAPH, searching=present).index
        assert graphs.linked_with(GRAPH, present).equal(expected)


def test_graphs_are_searched_once_for_all_heads_and_change_nothing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    searches: list[GraphConfig] = []

    def counted(*arguments: Any, **options: Any) -> Any:
        searches.append(arguments[3])
        return link_together(*arguments, **options)

    monkeypatch.setattr(head_training, "link_together", counted)
    short = OptimiserConfig(epochs=2, learning_rate=1e-3)
    shared = HeadGraphs(TRAIN, VALIDATION)
    heads = []
    for graphs in (None, shared, shared):
        torch.manual_seed(0)
        trained = train_head(
            "full", TRAIN, VALIDATION, LABELS, HEAD, GRAPH, short, Progress(), graphs=graphs
        )
        heads.append(trained.head.state_dict())
    assert len(searches) == 2 * 3  # everything, audio only, text only; the third head: nothing
    for name, value in heads[0].items():
        assert value.equal(heads[1][name])
        assert value.equal(heads[2][name])


@pytest.mark.parametrize("gnn", ["gat", "gcn", "sage"])
@pytest.mark.parametrize("layers", [1, 3])
@pytest.mark.parametrize(
    "changes", [{}, {"modules": "no_gnn"}, {"modules": "no_cmt"}, {"modalities": "text"}]
)
@pytest.mark.parametrize("labels", [False, True])
def test_validation_asks_what_is_served(
    gnn: str, layers: int, changes: dict[str, str], labels: bool
) -> None:
    torch.manual_seed(0)
    settings = {"hidden": 8, "heads": 2, "gnn": gnn, "num_layers": layers} | changes
    config = HeadConfig.model_validate(settings)
    graph = GRAPH.model_copy(update={"labels": labels}).used_by(config)
    head = FusionHead(6, 8, LABELS, config, label_messages=graph.labels).eval()
    for parameter in head.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    bank = freeze_bank(head, TRAIN.embeddings, graph, labels=TRAIN.labels)
    e = VALIDATION.embeddings
    checked = head_training._Validation.of(HeadGraphs(TRAIN, VALIDATION), graph, 0.0)
    asked = checked.asked
    with torch.no_grad():
        served = InductiveHead(head, bank, graph).eval()(e.audio, e.text, e.present).logits
        found = head.classify_last(
            asked.audio,
            asked.text,
            asked.present,
            checked.neighbours,
            len(e),
            visible_labels=checked.visible_labels,
        )
    torch.testing.assert_close(found, served, rtol=1e-4, atol=1e-5)
    expected = weighted_f1(VALIDATION.labels.numpy(), served.argmax(dim=1).numpy())
    assert checked.score(head) == pytest.approx(expected)


@pytest.mark.parametrize(("modality", "column"), [("audio", 0), ("text", 1)])
@pytest.mark.parametrize("modules", ["full", "no_gnn"])
def test_a_head_of_one_modality_learns_from_those_that_have_it(
    modality: str, column: int, modules: str
) -> None:
    """What is absent is no number here: whoever read it would notice."""
    settings = HEAD.model_dump() | {"modalities": modality, "modules": modules}
    config = HeadConfig.model_validate(settings | {"modality_dropout": 0.0})
    short = OptimiserConfig(epochs=4, learning_rate=5e-3)

    def trained(train: Features, validation: Features) -> TrainedHead:
        torch.manual_seed(0)
        return train_head("x", train, validation, LABELS, config, GRAPH, short, Progress())

    incomplete, having = [], []
    for whole in (TRAIN, VALIDATION):
        holes = with_holes(whole)
        e, there = holes.embeddings, holes.embeddings.present[:, column]
        absent = ~e.present
        audio, text = (
            torch.where(absent[:, n : n + 1], torch.nan, part)
            for n, part in enumerate((e.audio, e.text))
        )
        incomplete.append(Features(Embeddings(audio, text, e.present), holes.labels))
        having.append(Features(e[there], holes.labels[there]))
    found, expected = trained(*incomplete), trained(*having)
    assert found.validation_f1 == expected.validation_f1
    for name, value in expected.head.state_dict().items():
        assert value.isfinite().all()
        torch.testing.assert_close(found.head.state_dict()[name], value, atol=0, rtol=0)


def test_graphs_are_shared_where_nobody_lacks_anything() -> None:
    whole, holes = HeadGraphs(TRAIN, VALIDATION), HeadGraphs(with_holes(TRAIN), VALIDATION)
    audio = HEAD.model_copy(update={"modalities": "audio", "modality_dropout": 0.0})
    assert whole.for_head(audio) is whole.for_head(HEAD) is whole
    assert holes.for_head(HEAD) is holes
    assert holes.for_head(audio) is holes.for_head(audio)
    assert len(holes.for_head(audio).train.labels) == 24
    assert holes.for_head(audio).validation is VALIDATION
