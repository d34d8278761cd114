from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from hemogat.config import (
    AudioEncoderConfig,
    AugmentationConfig,
    BertSize,
    EncoderTraining,
    TextConfig,
    TextEncoderConfig,
    Wav2Vec2Size,
)
from hemogat.data.text import TokenizedText
from hemogat.errors import TrainingError
from hemogat.model.encoders import (
    AudioEncoder,
    TextEncoder,
    build_audio_encoder,
    build_text_encoder,
)
from hemogat.progress import Progress
from hemogat.training import encoder_training, objectives
from hemogat.training.augmentation import augment
from hemogat.training.encoder_training import train_audio_encoder, train_text_encoder
from hemogat.training.features import embed_texts
from hemogat.training.preparation import PreparedRow

TEXT = TextConfig(max_tokens=32, token_buckets=(16, 32))
Recorded = Callable[[], Any]


def text_encoder() -> TextEncoder:
    size = BertSize(width=16, layers=1, heads=2)
    return build_text_encoder(TextEncoderConfig(scratch=size), TEXT, vocab_size=20)


def audio_encoder() -> AudioEncoder:
    size = Wav2Vec2Size(width=16, layers=1, heads=2, conv_width=8)
    return build_audio_encoder(AudioEncoderConfig(scratch=size))


def texts(count: int, seed: int) -> list[PreparedRow]:
    """Token 3 or 4 among others says the label; lengths of both buckets."""
    random = np.random.default_rng(seed)
    rows = []
    for number in range(count):
        label, length = number % 2, (16, 32)[number % 3 == 0]
        ids = random.integers(5, 20, length)
        ids[random.choice(length, 4, replace=False)] = 3 + label
        mask = np.ones(length, np.int64)
        rows.append(PreparedRow(None, TokenizedText(ids.astype(np.int64), mask), label))
    return rows


def sounds(count: int, seed: int) -> list[PreparedRow]:
    """A low tone or noise, shorter and longer than a window."""
    random = np.random.default_rng(seed)
    rows = []
    for number in range(count):
        length = int(random.integers(8_000, 24_000))
        tone = np.sin(np.arange(length) / 40 * random.uniform(0.9, 1.1))
        samples = tone if number % 2 else random.standard_normal(length)
        rows.append(PreparedRow(samples.astype(np.float32), None, number % 2))
    return rows


def epochs(notes: list[str]) -> list[str]:
    return [note for note in notes if " done, " in note]


def losses(notes: list[str]) -> list[float]:
    return [float(re.findall(r"loss ([\d.]+)", note)[0]) for note in epochs(notes)]


def train_texts(config: EncoderTraining, progress: Progress) -> tuple[TextEncoder, float]:
    torch.manual_seed(0)
    encoder = text_encoder()
    score = train_text_encoder(encoder, texts(48, 0), texts(16, 1), 2, config, progress)
    return encoder, score


def test_a_text_encoder_learns_what_words_say(recorded: Recorded) -> None:
    progress = recorded()
    config = EncoderTraining(epochs=12, batch_size=8, learning_rate=5e-3, patience=12)
    encoder, score = train_texts(config, progress)
    assert score == 1
    (notes,) = progress.notes.values()
    assert losses(notes)[-1] < 0.5 * losses(notes)[0]
    assert not encoder.training
    # The embeddings of unseen texts are separable: one direction tells the labels apart.
    rows = texts(40, 2)
    embeddings = embed_texts(encoder, [row.tokens for row in rows if row.tokens is not None])
    labels = torch.tensor([row.label for row in rows])
    means = torch.stack([embeddings[labels == label].mean(0) for label in (0, 1)])
    nearest = torch.cdist(embeddings, means).argmin(dim=1)
    assert (nearest == labels).float().mean() > 0.9


def test_an_audio_encoder_learns_what_sounds_say(recorded: Recorded) -> None:
    progress = recorded()
    torch.manual_seed(0)
    config = EncoderTraining(epochs=15, batch_size=4, learning_rate=3e-3)
    score = train_audio_encoder(
        audio_encoder(), sounds(24, 0), sounds(8, 1), 2, config, 16_000, progress
    )
    assert score == 1
    (notes,) = progress.notes.values()
    assert losses(notes)[-1] < losses(notes)[0]


def test_a_batch_says_its_loss_rate_and_speed(recorded: Recorded) -> None:
    progress = recorded()
    config = EncoderTraining(epochs=2, batch_size=8, learning_rate=1e-3)
    train_texts(config, progress)
    (notes,) = progress.notes.values()
    batches = [note for note in notes if note and note not in epochs(notes)]
    assert len(batches) >= 2 * 6
    for note in batches:
        assert re.fullmatch(r"epoch [12]/2, loss [\d.]+, [\d.e+]+ utterances/s, rate 0.00\d+", note)


def test_a_loss_that_is_no_number_stops_training() -> None:
    torch.manual_seed(0)
    encoder = text_encoder()
    with torch.no_grad():
        encoder.backbone.embeddings.word_embeddings.weight.fill_(torch.nan)
    config = EncoderTraining(epochs=2, batch_size=8, learning_rate=1e-3)
    with pytest.raises(TrainingError, match=r"the loss is nan: .*learning_rate"):
        train_text_encoder(encoder, texts(48, 0), texts(16, 1), 2, config, Progress())


def test_one_seed_decides_everything() -> None:
    config = EncoderTraining(epochs=2, batch_size=8, learning_rate=1e-3)
    one, other = (train_texts(config, Progress())[0].state_dict() for _ in range(2))
    for name, value in one.items():
        torch.testing.assert_close(value, other[name], atol=0, rtol=0)


def test_training_stops_when_validation_does_not_improve(recorded: Recorded) -> None:
    progress = recorded()
    frozen = EncoderTraining(epochs=30, batch_size=48, learning_rate=1e-12, patience=3)
    train_texts(frozen, progress)
    (notes,) = progress.notes.values()
    assert len(epochs(notes)) == 4  # the first epoch counts as the best, three more do not beat it


def test_every_epoch_trains_in_training_mode() -> None:
    # The authors' loop never returns to it after the first validation.
    torch.manual_seed(0)
    encoder = text_encoder()
    modes: list[bool] = []
    encoder.register_forward_pre_hook(lambda module, _: modes.append(module.training))
    config = EncoderTraining(epochs=3, batch_size=48, learning_rate=1e-3)
    train_text_encoder(encoder, texts(48, 0), texts(16, 1), 2, config, Progress())
    # Per epoch: both buckets of the one training batch, then both of the validation set.
    assert modes == [True, True, False, False] * 3


def test_the_best_epochs_weights_are_kept(recorded: Recorded) -> None:
    """A learning rate that destroys the encoder after its first epochs must not win."""
    torch.manual_seed(0)
    encoder = text_encoder()
    progress = recorded()
    config = EncoderTraining(epochs=8, batch_size=8, learning_rate=3e-2, patience=8)
    states: list[dict[str, torch.Tensor]] = []
    encoder.register_forward_pre_hook(
        lambda module, _: (
            None
            if module.training
            else states.append({n: v.clone() for n, v in module.state_dict().items()})
        )
    )
    best = train_text_encoder(encoder, texts(48, 0), texts(16, 1), 2, config, progress)
    (notes,) = progress.notes.values()
    scores = [float(note.split()[-1]) for note in epochs(notes)]
    assert best == pytest.approx(max(scores), abs=0.006)  # notes are rounded
    first_best = scores.index(max(scores))
    kept = states[2 * first_best]  # two buckets, so two forward passes per validation
    for name, value in encoder.state_dict().items():
        torch.testing.assert_close(value, kept[name], atol=0, rtol=0)


def test_the_authors_pairs_need_no_labels(monkeypatch: pytest.MonkeyPatch) -> None:
    groups: list[torch.Tensor] = []
    nt_xent = objectives.nt_xent

    def seen(embeddings: torch.Tensor, of: torch.Tensor, temperature: float) -> torch.Tensor:
        groups.append(of)
        return nt_xent(embeddings, of, temperature)

    monkeypatch.setattr(objectives, "nt_xent", seen)
    trained = []
    for labels in (2, 1):  # the same utterances, all of one label the second time
        rows = [replace(row, label=row.label % labels) for row in texts(16, 0)]
        torch.manual_seed(0)
        encoder = text_encoder()
        config = EncoderTraining(
            epochs=1,
            batch_size=8,
            learning_rate=1e-3,
            objective="contrastive",
            positives="utterance",
        )
        train_text_encoder(encoder, rows, texts(8, 1), 2, config, Progress())
        trained.append(encoder.state_dict())
    for of in groups:
        half = len(of) // 2
        assert of[:half].tolist() == of[half:].tolist() == list(range(half))
    for name, value in trained[0].items():
        assert value.equal(trained[1][name])


@pytest.mark.parametrize("kind", ["audio", "text"])
def test_a_contrastive_encoder_brings_labels_together(kind: str, recorded: Recorded) -> None:
    progress = recorded()
    torch.manual_seed(0)
    config = EncoderTraining(
        epochs=12, batch_size=8, learning_rate=3e-3, objective="contrastive", temperature=0.2
    )
    if kind == "text":
        score = train_text_encoder(text_encoder(), texts(48, 0), texts(16, 1), 2, config, progress)
    else:
        train, validation = sounds(24, 0), sounds(8, 1)
        score = train_audio_encoder(audio_encoder(), train, validation, 2, config, 16_000, progress)
    assert score > 0.85
    (notes,) = progress.notes.values()
    assert losses(notes)[-1] < losses(notes)[0]


def test_only_training_audio_is_augmented(monkeypatch: pytest.MonkeyPatch) -> None:
    changed: list[int] = []

    def counted(samples: Any, *arguments: Any) -> Any:
        changed.append(len(samples))
        return augment(samples, *arguments)

    monkeypatch.setattr(encoder_training, "augment", counted)
    train, validation = sounds(6, 0), sounds(4, 1)
    config = EncoderTraining(epochs=2, batch_size=4, learning_rate=1e-3)
    augmentation = AugmentationConfig(probability=1.0, speed=(0.5,), gain_db=(-6, 6))
    train_audio_encoder(
        audio_encoder(),
        train,
        validation,
        2,
        config,
        16_000,
        Progress(),
        augmentation=augmentation,
    )
    # Each training utterance once an epoch, whole; no other.
    lengths = [len(row.samples) for row in train if row.samples is not None]
    assert sorted(changed) == sorted(lengths * 2)
