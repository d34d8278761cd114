from __future__ import annotations

import gc
import shutil
import weakref
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from hemogat.config import Recipe
from hemogat.data.manifest import Utterance, read_manifest, write_manifest
from hemogat.errors import ConfigError, HemogatError, InputError
from hemogat.export.gating import manifest_of
from hemogat.training import train as module
from hemogat.training.evaluation import evaluate_run
from hemogat.training.run_directory import RunDirectory
from hemogat.training.train import head_configs, train


@pytest.fixture(scope="module")
def corpus(tiny_manifest: Path) -> list[Utterance]:
    return list(read_manifest(tiny_manifest).utterances)


def with_settings(recipe: Recipe, **changes: Any) -> Recipe:
    raw = recipe.model_dump()
    for name, change in changes.items():
        raw[name] = raw[name] | change if isinstance(change, dict) else change
    return Recipe.model_validate(raw)


def refused(recipe: Recipe, utterances: Sequence[Utterance], place: Path) -> HemogatError:
    """Train in vain; return the error, after making sure that nothing was left behind."""
    manifest = place / "corpus.csv"
    write_manifest(manifest, utterances)
    before = sorted(place.rglob("*"))
    with pytest.raises(HemogatError) as caught:
        train(recipe, manifest, place / "run")
    assert sorted(place.rglob("*")) == before
    assert "\n" not in str(caught.value)
    return caught.value


def test_a_run_holds_what_was_trained(tiny_run: Path, tiny_recipe: Recipe) -> None:
    run = RunDirectory.open(tiny_run)
    assert run.record.recipe == tiny_recipe
    assert run.record.heads == head_configs(tiny_recipe.head)
    assert {p.name for p in tiny_run.iterdir()} == {
        "run.json",
        "tokenizer.json",
        "features.safetensors",
        "audio_encoder",
        "text_encoder",
        "heads",
        "logs",
    }
    assert [row.id for row in run.record.rows][:2] == ["angry-00", "angry-01"]


def test_a_damaged_file_stops_training_and_leaves_nothing(
    tiny_recipe: Recipe, corpus: list[Utterance], tmp_path: Path
) -> None:
    source = corpus[-1].audio
    assert source is not None
    damaged = tmp_path / "damaged.wav"
    damaged.write_bytes(source.read_bytes()[:2000])
    utterances = [*corpus[:-1], replace(corpus[-1], audio=damaged)]
    error = refused(tiny_recipe, utterances, tmp_path)
    assert isinstance(error, InputError)
    assert "damaged.wav: is truncated" in str(error)


def test_a_run_that_stands_there_survives_a_failure(
    tiny_run: Path, tiny_recipe: Recipe, tiny_manifest: Path, tmp_path: Path
) -> None:
    out = Path(shutil.copytree(tiny_run, tmp_path / "place" / "run"))
    with pytest.raises(ConfigError):
        train(
            with_settings(tiny_recipe, graph={"k_text": 24}), tiny_manifest, out, existing="restart"
        )
    assert RunDirectory.open(out).record.recipe == tiny_recipe
    assert [p.name for p in out.parent.iterdir()] == ["run"]


def test_what_is_no_run_is_not_replaced(
    tiny_recipe: Recipe, tiny_manifest: Path, tmp_path: Path
) -> None:
    (tmp_path / "thesis.tex").write_text("years of work")
    with pytest.raises(InputError, match="exists already"):
        train(tiny_recipe, tiny_manifest, tmp_path)
    assert (tmp_path / "thesis.tex").read_text() == "years of work"


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"graph": {"k_audio": 24}}, r"graph.k_audio is 24, but only 23 utterances with audio"),
        ({"labels": ["angry", "calm"]}, "label 'sad' is unknown"),
        ({"graph": {"direction": "outgoing"}}, "graph.direction: expected incoming"),
        ({"text": {"max_tokens": 2}}, "text.max_tokens is 2"),
        (
            {"audio_encoder": {"pretrained": "/nowhere/wav2vec2"}},
            "audio_encoder.pretrained: '/nowhere/wav2vec2' is neither a local folder",
        ),
    ],
)
def test_a_recipe_that_does_not_fit_is_refused_before_training(
    changes: dict[str, Any],
    message: str,
    tiny_recipe: Recipe,
    corpus: list[Utterance],
    tmp_path: Path,
) -> None:
    assert message in str(refused(with_settings(tiny_recipe, **changes), corpus, tmp_path))


def without(utterances: list[Utterance], modality: str, *splits: str) -> list[Utterance]:
    return [
        replace(u, **{modality: None}) if u.split in splits else u  # type: ignore[arg-type]
        for u in utterances
    ]


def test_splits_that_training_needs_must_be_there(
    tiny_recipe: Recipe, corpus: list[Utterance], tmp_path: Path
) -> None:
    no_validation = [u for u in corpus if u.split != "val"]
    assert "no utterances in split 'val'" in str(refused(tiny_recipe, no_validation, tmp_path))


@pytest.mark.parametrize(
    ("modality", "split"),
    [("text", "train"), ("text", "val"), ("audio", "train"), ("audio", "val")],
)
def test_each_encoder_needs_something_to_train_on(
    modality: str, split: str, tiny_recipe: Recipe, corpus: list[Utterance], tmp_path: Path
) -> None:
    error = refused(tiny_recipe, without(corpus, modality, split), tmp_path)
    assert isinstance(error, ConfigError)
    assert f"no utterance in split {split!r} has {modality}" in str(error)


@pytest.mark.parametrize("modality", ["audio", "text"])
def test_an_absent_modality_never_becomes_zeros(
    modality: str, tiny_recipe: Recipe, corpus: list[Utterance], tmp_path: Path
) -> None:
    strict = with_settings(tiny_recipe, head={"modality_dropout": 0.0})
    hole = [replace(corpus[20], **{modality: None})]  # type: ignore[arg-type]
    error = refused(strict, [*corpus[:20], *hole, *corpus[21:]], tmp_path)
    assert f"{corpus[20].id} has no {modality}, and head.modality_dropout is 0" in str(error)


def test_a_corpus_with_holes_can_be_trained_with_modality_dropout(
    tiny_recipe: Recipe, corpus: list[Utterance], tmp_path: Path
) -> None:
    few = [u for n, u in enumerate(corpus) if u.split != "train" or n % 2 == 0]
    holes = [
        replace(u, text=None) if n % 5 == 1 else replace(u, audio=None) if n % 5 == 2 else u
        for n, u in enumerate(few)
    ]
    write_manifest(tmp_path / "holes.csv", holes)
    once = {"epochs": 1}
    recipe = with_settings(tiny_recipe, audio_training=once, text_training=once, head_training=once)
    run = train(recipe, tmp_path / "holes.csv", tmp_path / "run")
    for split in ("train", "val", "test"):
        e = run.features(split).embeddings
        expected = [[u.audio is not None, u.text is not None] for u in holes if u.split == split]
        assert e.present.tolist() == expected
        assert e.audio[~e.present[:, 0]].abs().sum() == 0
        assert torch.isfinite(e.audio).all()
        assert torch.isfinite(e.text).all()
    assert evaluate_run(run).graphs["inductive"].utterances == 12


def test_controls_differ_from_the_head_by_one_thing() -> None:
    head = Recipe(name="r", labels=("a", "b")).head.model_copy(update={"modality_dropout": 0.2})
    configs = head_configs(head)
    assert configs["full"] == head
    assert configs["no_gnn"] == head.model_copy(update={"modules": "no_gnn"})
    for name, modality in (("audio_only", "audio"), ("text_only", "text")):
        expected = head.model_copy(update={"modalities": modality, "modality_dropout": 0.0})
        assert configs[name] == expected


def test_unreadable_audio_is_left_out_if_asked_and_said(
    tiny_recipe: Recipe, corpus: list[Utterance], tmp_path: Path
) -> None:
    utterances = list(corpus)
    for number in (2, 40):
        source = utterances[number].audio
        assert source is not None
        damaged = tmp_path / f"damaged-{number}.wav"
        damaged.write_bytes(source.read_bytes()[:2000])
        utterances[number] = replace(utterances[number], audio=damaged)
    write_manifest(tmp_path / "corpus.csv", utterances)
    once = {"epochs": 1}
    recipe = with_settings(tiny_recipe, audio_training=once, text_training=once, head_training=once)
    run = train(recipe, tmp_path / "corpus.csv", tmp_path / "run", skip_bad=True)
    bad = [utterances[2].id, utterances[40].id]
    assert [row.id for row in run.record.skipped] == bad
    assert "damaged-2.wav: is truncated" in run.record.skipped[0].reason
    assert [row.id for row in run.record.rows] == [u.id for u in utterances if u.id not in bad]
    assert [u.id for u in manifest_of(run).utterances] == [row.id for row in run.record.rows]
    counted = sum(len(run.features(split).labels) for split in ("train", "val", "test"))
    assert counted == len(utterances) - 2


def test_the_samples_are_let_go_before_heads_are_trained(
    tiny_recipe: Recipe, tiny_manifest: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    prepare_rows = module.prepare_rows
    held: list[weakref.ref[Any]] = []

    def noted(*arguments: Any) -> Any:
        rows = prepare_rows(*arguments)
        held.extend(weakref.ref(row.samples) for row in rows)
        return rows

    def heads(*_: object) -> None:
        gc.collect()
        assert len(held) == 42
        assert not [samples for samples in held if samples() is not None]
        raise KeyboardInterrupt

    monkeypatch.setattr(module, "prepare_rows", noted)
    monkeypatch.setattr(module, "train_heads", heads)
    once = {"epochs": 1}
    recipe = with_settings(tiny_recipe, audio_training=once, text_training=once)
    with pytest.raises(KeyboardInterrupt):
        train(recipe, tiny_manifest, tmp_path / "run")
