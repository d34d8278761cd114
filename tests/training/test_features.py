from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from hemogat.data.manifest import read_manifest
from hemogat.progress import Progress
from hemogat.training.features import FeatureCache, embed_samples, embed_texts, extract_embeddings
from hemogat.training.preparation import PreparedRow, prepare_rows
from hemogat.training.processes import make_accelerator
from hemogat.training.run_directory import RunDirectory

WINDOW = 16_000


@pytest.fixture(scope="module")
def run(tiny_run: Path) -> RunDirectory:
    return RunDirectory.open(tiny_run)


@pytest.fixture(scope="module")
def rows(run: RunDirectory, tiny_manifest: Path) -> list[PreparedRow]:
    utterances = read_manifest(tiny_manifest).split("test")
    return prepare_rows(utterances, run.record.recipe, run.tokenizer_path, Progress())


def test_an_utterance_is_the_mean_of_its_windows(run: RunDirectory) -> None:
    encoder = run.audio_encoder()
    samples = np.random.default_rng(0).standard_normal(40_000).astype(np.float32)
    windows = [samples[:16_000], samples[16_000:32_000], samples[24_000:]]
    with torch.no_grad():
        each = [encoder(torch.from_numpy(window)[None])[0] for window in windows]
    found = embed_samples(encoder, [samples[:9], samples, samples[:8_000]], WINDOW)
    assert found.shape == (3, 16)
    torch.testing.assert_close(found[1], torch.stack(each).mean(dim=0), atol=1e-5, rtol=0)


def test_texts_of_any_length_keep_their_place(run: RunDirectory, rows: list[PreparedRow]) -> None:
    encoder = run.text_encoder()
    tokens = [row.tokens for row in rows if row.tokens is not None]
    long = np.tile(tokens[0].input_ids, 2), np.tile(tokens[0].attention_mask, 2)
    tokens.insert(1, type(tokens[0])(*long))
    together = embed_texts(encoder, tokens)
    alone = torch.cat([embed_texts(encoder, [one]) for one in tokens])
    torch.testing.assert_close(together, alone, atol=1e-5, rtol=0)


def test_equal_texts_have_equal_embeddings_to_the_last_bit(
    run: RunDirectory, rows: list[PreparedRow]
) -> None:
    # Ties go to the lower bank row. If rounding told twins apart, it would choose among them,
    # and not the same in every engine.
    tokens = [row.tokens for row in rows if row.tokens is not None][:3]
    embeddings = embed_texts(run.text_encoder(), tokens * 23)
    for n in range(3):
        assert embeddings[n::3].unique(dim=0).shape == (1, 16)


def test_what_is_absent_is_zeros_and_marked(run: RunDirectory, rows: list[PreparedRow]) -> None:
    audio_only = PreparedRow(rows[0].samples, None, 0)
    text_only = PreparedRow(None, rows[1].tokens, 0)
    found = extract_embeddings(
        [rows[2], audio_only, text_only],
        run.audio_encoder(),
        run.text_encoder(),
        WINDOW,
        Progress(),
    )
    assert found.present.tolist() == [[True, True], [True, False], [False, True]]
    assert found.text[1].abs().sum() == found.audio[2].abs().sum() == 0
    assert (found.audio[:2].abs().sum(dim=1) > 0).all()
    assert (found.text[[0, 2]].abs().sum(dim=1) > 0).all()


def test_the_stored_features_are_those_of_the_stored_encoders(
    run: RunDirectory, rows: list[PreparedRow]
) -> None:
    found = extract_embeddings(rows, run.audio_encoder(), run.text_encoder(), WINDOW, Progress())
    stored = run.features("test")
    torch.testing.assert_close(found.audio, stored.embeddings.audio, atol=1e-5, rtol=0)
    torch.testing.assert_close(found.text, stored.embeddings.text, atol=1e-5, rtol=0)
    assert stored.labels.tolist() == [row.label for row in rows]


@pytest.fixture
def many(rows: list[PreparedRow]) -> list[PreparedRow]:
    """Return rows enough for two shards of each modality, one text and one clip missing."""
    rows = rows * 6
    rows[3] = PreparedRow(None, rows[3].tokens, 0)
    rows[5] = PreparedRow(rows[5].samples, None, 0)
    return rows


def calls_of(encoder: torch.nn.Module) -> list[int]:
    calls: list[int] = []
    encoder.register_forward_pre_hook(lambda _, inputs: calls.append(len(inputs[0])))
    return calls


def test_what_is_cached_is_not_computed_again(
    run: RunDirectory, many: list[PreparedRow], tmp_path: Path
) -> None:
    cache = FeatureCache(tmp_path / "cache", make_accelerator())
    audio, text = run.audio_encoder(), run.text_encoder()
    plain = extract_embeddings(many, audio, text, WINDOW, Progress())
    first = extract_embeddings(many, audio, text, WINDOW, Progress(), cache)
    shards = sorted(cache.folder.iterdir())
    assert len(shards) == 4
    shards[0].unlink()
    shards[1].write_bytes(b"damaged")
    calls = calls_of(audio), calls_of(text)
    second = extract_embeddings(many, audio, text, WINDOW, Progress(), cache)
    assert any(calls)
    assert sorted(cache.folder.iterdir()) == shards
    for made in calls:
        made.clear()
    third = extract_embeddings(many, audio, text, WINDOW, Progress(), cache)
    assert calls == ([], [])
    for found in (first, second, third):  # the same batches, so the same bits
        assert found.audio.equal(plain.audio)
        assert found.text.equal(plain.text)
        assert found.present.equal(plain.present)


def test_anything_that_decides_an_embedding_is_in_its_key(
    run: RunDirectory, many: list[PreparedRow], tmp_path: Path
) -> None:
    cache = FeatureCache(tmp_path / "cache", make_accelerator())
    audio, text = run.audio_encoder(), run.text_encoder()
    extract_embeddings(many, audio, text, WINDOW, Progress(), cache)
    heard, written = calls_of(audio), calls_of(text)

    def computed(rows: list[PreparedRow], window_samples: int = WINDOW) -> tuple[bool, bool]:
        heard.clear()
        written.clear()
        extract_embeddings(rows, audio, text, window_samples, Progress(), cache)
        return bool(heard), bool(written)

    assert computed(many) == (False, False)
    assert computed(many, WINDOW // 2) == (True, False)
    samples, tokens = many[0].samples, many[0].tokens
    assert samples is not None
    assert tokens is not None
    assert computed([PreparedRow(samples * 0.5, tokens, 0), *many[1:]]) == (True, False)
    other = type(tokens)(tokens.input_ids.copy(), tokens.attention_mask)
    other.input_ids[1] += 1
    assert computed([PreparedRow(samples, other, 0), *many[1:]]) == (False, True)
    with torch.no_grad():
        next(audio.parameters()).view(-1)[0] += 0.1
    assert computed(many) == (True, False)
    text.pooling = "pooler"
    assert computed(many) == (False, True)
