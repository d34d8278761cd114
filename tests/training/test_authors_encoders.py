"""A checkpoint imported with its encoders: exported, and answering as the run says."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch
from transformers import PreTrainedTokenizerFast

from hemogat.config import GraphConfig
from hemogat.data.manifest import read_manifest, write_manifest
from hemogat.errors import ConfigError, InputError
from hemogat.export.export_run import export_run
from hemogat.export_config import ExportConfig
from hemogat.model.bank import InductiveHead, freeze_bank
from hemogat.runtime.pipeline import Pipeline
from hemogat.training.authors_encoders import EncoderSources
from hemogat.training.authors_import import ImportReport, import_checkpoint
from hemogat.training.evaluation import evaluate_run
from hemogat.training.tokenizer_training import train_tokenizer

LABELS = ("angry", "calm", "sad")
GRAPH = GraphConfig(k_audio=2, k_text=3)
WIDTH = 16


@pytest.fixture(scope="module")
def checkpoint(authors: ModuleType, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a checkpoint for the tiny corpus and embeddings of 16 numbers."""
    torch.manual_seed(3)
    path = tmp_path_factory.mktemp("authors") / "theirs.pt"
    torch.save(authors.MultiModalGNN(labels=3, dims=(WIDTH, WIDTH)).state_dict(), path)
    return path


@pytest.fixture(scope="module")
def sources(
    tiny_backbone: Callable[..., Any],
    tiny_manifest: Path,
    tmp_path_factory: pytest.TempPathFactory,
) -> EncoderSources:
    """Return tiny encoders as Hugging Face folders, and the tiny corpus."""
    audio, text = (tmp_path_factory.mktemp(kind) for kind in ("wav2vec2", "bert"))
    tiny_backbone("wav2vec2", num_hidden_layers=1).save_pretrained(audio)
    small = {"max_position_embeddings": 128, "vocab_size": 60, "num_hidden_layers": 1}
    tiny_backbone("bert", **small).save_pretrained(text)
    texts = [u.text or "" for u in read_manifest(tiny_manifest).split("train")]
    save_tokenizer(texts, 60, text)
    return EncoderSources(str(audio), str(text), tiny_manifest)


def save_tokenizer(texts: list[str], size: int, folder: Path) -> None:
    PreTrainedTokenizerFast(
        tokenizer_object=train_tokenizer(texts, size), pad_token="[PAD]"
    ).save_pretrained(folder)


def imported(
    checkpoint: Path, sources: EncoderSources, out: Path, graph: GraphConfig = GRAPH, **splits: Path
) -> ImportReport:
    given: Any = splits
    return import_checkpoint(checkpoint, given, LABELS, graph, out, sources)


def test_an_import_with_encoders_is_exported_and_predicts(
    checkpoint: Path, sources: EncoderSources, tiny_manifest: Path, tmp_path: Path
) -> None:
    report = imported(checkpoint, sources, tmp_path / "run")
    run = report.run
    corpus = read_manifest(tiny_manifest)
    assert [row.id for row in run.record.rows] == [u.id for u in corpus.utterances]
    assert list(report.outgoing.graphs) == ["transductive"]
    assert report.incoming == evaluate_run(run)
    assert report.incoming.graphs["inductive"].utterances == len(corpus.split("test"))

    bundle = export_run(run.path, tmp_path / "bundle", ExportConfig()).bundle
    pipeline = Pipeline.load(bundle)
    assert pipeline.bundle.manifest.text.pooling == "pooler"
    # The bundle's answer to a file is the imported head's to the run's own embedding of it.
    bank = freeze_bank(run.head(), run.features("train").embeddings, GRAPH)
    e = run.features("test").embeddings
    expected = InductiveHead(run.head(), bank, GRAPH).eval()(e.audio, e.text, e.present)
    for row, utterance in enumerate(corpus.split("test")[:3]):
        found = pipeline(utterance.audio, text=utterance.text).probabilities
        assert list(found) == list(LABELS)
        assert list(found.values()) == pytest.approx(
            expected.logits[row].softmax(0).tolist(), abs=1e-4
        )


def test_published_test_features_are_what_outgoing_reports(
    authors: ModuleType, checkpoint: Path, sources: EncoderSources, tmp_path: Path
) -> None:
    published = tmp_path / "test.pkl"
    authors.write_features(published, torch.randn(20, WIDTH), torch.randn(20, WIDTH), 3)
    report = imported(checkpoint, sources, tmp_path / "run", test=published)
    assert report.outgoing.graphs["transductive"].utterances == 20
    assert report.incoming is not None
    assert report.incoming.graphs["transductive"].utterances == 12


def test_outgoing_with_encoders_cannot_be_exported(
    checkpoint: Path, sources: EncoderSources, tmp_path: Path
) -> None:
    graph = GRAPH.model_copy(update={"direction": "outgoing"})
    report = imported(checkpoint, sources, tmp_path / "run", graph)
    assert report.incoming is None
    with pytest.raises(InputError, match="say --direction incoming at import"):
        export_run(report.run.path, tmp_path / "bundle", ExportConfig())


Change = Callable[[EncoderSources, Path, Callable[..., Any]], EncoderSources]


def wide_audio(given: EncoderSources, folder: Path, backbone: Callable[..., Any]) -> EncoderSources:
    backbone("wav2vec2", hidden_size=32).save_pretrained(folder)
    return replace(given, audio_encoder=str(folder))


def wide_text(given: EncoderSources, folder: Path, backbone: Callable[..., Any]) -> EncoderSources:
    backbone("bert", hidden_size=32, max_position_embeddings=128).save_pretrained(folder)
    return replace(given, text_encoder=str(folder))


def no_tokenizer(
    given: EncoderSources, folder: Path, backbone: Callable[..., Any]
) -> EncoderSources:
    backbone("bert", max_position_embeddings=128).save_pretrained(folder)
    return replace(given, text_encoder=str(folder))


def other_tokenizer(
    given: EncoderSources, folder: Path, backbone: Callable[..., Any]
) -> EncoderSources:
    backbone("bert", max_position_embeddings=128, vocab_size=12).save_pretrained(folder)
    save_tokenizer(["she left us alone"], 60, folder)
    return replace(given, text_encoder=str(folder))


def swapped(given: EncoderSources, folder: Path, backbone: Callable[..., Any]) -> EncoderSources:
    return replace(given, audio_encoder=given.text_encoder)


def nowhere(given: EncoderSources, folder: Path, backbone: Callable[..., Any]) -> EncoderSources:
    return replace(given, text_encoder=str(folder / "none"))


def no_text(given: EncoderSources, folder: Path, backbone: Callable[..., Any]) -> EncoderSources:
    first, *others = read_manifest(given.manifest).utterances
    write_manifest(folder / "m.csv", [replace(first, text=None), *others])
    return replace(given, manifest=folder / "m.csv")


def no_test(given: EncoderSources, folder: Path, backbone: Callable[..., Any]) -> EncoderSources:
    utterances = read_manifest(given.manifest).utterances
    write_manifest(folder / "m.csv", [u for u in utterances if u.split != "test"])
    return replace(given, manifest=folder / "m.csv")


def other_label(given: EncoderSources, folder: Path, _: Callable[..., Any]) -> EncoderSources:
    first, *others = read_manifest(given.manifest).utterances
    write_manifest(folder / "m.csv", [replace(first, label="bored"), *others])
    return replace(given, manifest=folder / "m.csv")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (wide_audio, "--audio-encoder: .* expected an encoder of width 16, .* found 32"),
        (wide_text, "--text-encoder: .* expected an encoder of width 16, .* found 32"),
        (no_tokenizer, "the tokenizer of .* knows no words"),
        (other_tokenizer, r"its tokenizer knows \d+ tokens, but the model 12"),
        (swapped, "is a model of type 'bert', but this encoder can be one of wav2vec2"),
        (nowhere, "neither a local folder nor a model that can be fetched"),
        (no_text, "angry-00 has no text; the authors' network needs both"),
        (no_test, "has no utterances in split 'test'"),
        (other_label, "label 'bored' is unknown"),
    ],
)
def test_what_does_not_fit_is_refused_whole(
    checkpoint: Path,
    sources: EncoderSources,
    tiny_backbone: Callable[..., Any],
    tmp_path: Path,
    change: Change,
    message: str,
) -> None:
    folder = tmp_path / "given"
    folder.mkdir()
    given = change(sources, folder, tiny_backbone)
    with pytest.raises((InputError, ConfigError), match=message) as caught:
        imported(checkpoint, given, tmp_path / "run")
    assert "\n" not in str(caught.value)
    assert [path.name for path in tmp_path.iterdir()] == ["given"]


def test_feature_files_that_nothing_would_read_are_refused(
    checkpoint: Path, sources: EncoderSources, tmp_path: Path
) -> None:
    with pytest.raises(InputError, match=r"^--train and --val: with encoders"):
        imported(checkpoint, sources, tmp_path / "run", train=tmp_path / "a", val=tmp_path / "b")
    with pytest.raises(InputError, match=r"^--test missing: expected the feature files"):
        import_checkpoint(checkpoint, {"train": tmp_path}, LABELS, GRAPH, tmp_path / "run")
