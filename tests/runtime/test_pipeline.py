from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose

import hemogat
from hemogat.config import AudioConfig
from hemogat.data.audio import cut_windows, decode_audio
from hemogat.data.manifest import Utterance, read_manifest
from hemogat.data.text import TextTokenizer
from hemogat.errors import InputError
from hemogat.model.bank import InductiveHead, freeze_bank
from hemogat.runtime import pipeline as pipeline_module
from hemogat.runtime.pipeline import Pipeline
from hemogat.runtime.prediction import Prediction
from hemogat.runtime.preprocess import PreparedUtterance
from hemogat.training.run_directory import RunDirectory

Edit = Callable[[Path, Callable[[Any], None]], None]


@pytest.fixture(scope="module")
def pipeline(tiny_bundle: Path) -> Pipeline:
    return hemogat.Pipeline.load(tiny_bundle)


@pytest.fixture(scope="module")
def clips(tiny_manifest: Path) -> tuple[Utterance, ...]:
    return read_manifest(tiny_manifest).split("test")


@pytest.fixture(scope="module")
def alone(pipeline: Pipeline, clips: tuple[Utterance, ...]) -> list[Prediction]:
    return [pipeline(clip.audio, clip.text) for clip in clips]


@pytest.fixture
def strict_bundle(bundle_copy: Path, edit_json: Edit) -> Path:
    """Return a bundle of a model that was trained without modality dropout."""
    edit_json(bundle_copy / "bundle.json", lambda raw: raw["head"].update(modality_dropout=0.0))
    return bundle_copy


def assert_same(found: Prediction, expected: Prediction, atol: float = 1e-6) -> None:
    assert found.label == expected.label
    assert list(found.probabilities) == list(expected.probabilities)
    assert_allclose(
        list(found.probabilities.values()), list(expected.probabilities.values()), atol=atol, rtol=0
    )
    assert found.modalities == expected.modalities
    assert [n.row for n in found.neighbours] == [n.row for n in expected.neighbours]
    assert_allclose(
        [n.similarity for n in found.neighbours],
        [n.similarity for n in expected.neighbours],
        atol=atol,
    )


@given(chosen=st.lists(st.integers(0, 11), min_size=1, max_size=9), data=st.data())
@settings(max_examples=15, deadline=None)
def test_an_answer_does_not_depend_on_the_others_in_the_list(
    chosen: list[int],
    data: st.DataObject,
    pipeline: Pipeline,
    clips: tuple[Utterance, ...],
    alone: list[Prediction],
) -> None:
    flags = st.lists(st.booleans(), min_size=len(chosen), max_size=len(chosen))
    with_text = data.draw(flags)
    audio: list[Any] = [clips[n].audio for n in chosen]
    text: list[Any] = [clips[n].text if t else None for n, t in zip(chosen, with_text, strict=True)]
    found = pipeline(audio, text)
    for n, has_text, prediction in zip(chosen, with_text, found, strict=True):
        expected = alone[n] if has_text else pipeline(clips[n].audio)
        assert_same(prediction, expected)


def test_a_whole_split_at_once(
    pipeline: Pipeline, clips: tuple[Utterance, ...], alone: list[Prediction]
) -> None:
    found = pipeline([c.audio for c in clips], [c.text for c in clips])
    backwards = pipeline([c.audio for c in clips[::-1]], [c.text for c in clips[::-1]])
    for one, other, expected in zip(found, backwards[::-1], alone, strict=True):
        assert_same(one, expected)
        assert_same(other, expected)


def test_windows_beyond_one_call_of_the_encoder_are_averaged_alike(
    pipeline: Pipeline, monkeypatch: pytest.MonkeyPatch
) -> None:
    random = np.random.default_rng(0)
    windows = random.standard_normal((5, 16_000)).astype(np.float32)
    utterances = [PreparedUtterance(windows[:3], None), PreparedUtterance(windows[3:], None)]
    expected = pipeline.embed_audio(utterances)
    monkeypatch.setattr(pipeline_module, "_WINDOWS_AT_ONCE", 2)  # the second part spans both
    for found, one in zip(pipeline.embed_audio(utterances), expected, strict=True):
        assert_allclose(found, one, atol=1e-6)


def test_lists_in_lists_out(pipeline: Pipeline, clips: tuple[Utterance, ...]) -> None:
    clip = clips[0]
    assert pipeline([], []) == []
    assert pipeline([]) == []
    (one,) = pipeline([clip.audio], [clip.text])
    (audio,) = pipeline([clip.audio])
    (text,) = pipeline(text=[clip.text])
    assert [p.modalities for p in (one, audio, text)] == [("audio", "text"), ("audio",), ("text",)]
    assert isinstance(pipeline(clip.audio), Prediction)
    with pytest.raises(InputError, match="found 1 texts and 2 audios"):
        pipeline([clip.audio, clip.audio], [clip.text])
    with pytest.raises(InputError, match="text: expected a list"):
        pipeline([clip.audio, clip.audio], clip.text)  # type: ignore[call-overload]
    with pytest.raises(InputError, match="audio: expected a list"):
        pipeline(clip.audio, [clip.text, clip.text])  # type: ignore[call-overload]


def test_a_path_and_its_bytes_are_the_same(
    pipeline: Pipeline, clips: tuple[Utterance, ...], alone: list[Prediction]
) -> None:
    clip = clips[0]
    assert clip.audio is not None
    assert clip.text is not None
    assert pipeline(str(clip.audio), clip.text) == alone[0]
    assert pipeline(clip.audio.read_bytes(), clip.text.encode()) == alone[0]
    assert pipeline(clip.audio, f"  {clip.text}\n") == alone[0]


def test_probabilities_are_of_every_label_and_sum_to_one(alone: list[Prediction]) -> None:
    for prediction in alone:
        assert list(prediction.probabilities) == ["angry", "calm", "sad"]
        assert sum(prediction.probabilities.values()) == pytest.approx(1, abs=1e-6)
        assert min(prediction.probabilities.values()) >= 0
        assert prediction.label == max(
            prediction.probabilities, key=lambda label: prediction.probabilities[label]
        )
        assert json.loads(json.dumps(prediction.to_dict()))["label"] == prediction.label


def test_neighbours_are_training_utterances_with_their_labels(
    alone: list[Prediction], tiny_manifest: Path
) -> None:
    bank = read_manifest(tiny_manifest).split("train")
    for prediction in alone:
        rows = [n.row for n in prediction.neighbours]
        assert len(set(rows)) == len(rows)
        for neighbour in prediction.neighbours:
            assert neighbour.label == bank[neighbour.row].label
            assert neighbour.id == f"u{neighbour.row:06d}"
            assert -1 - 1e-6 <= neighbour.similarity <= 1 + 1e-6
        for modality, k in (("audio", 2), ("text", 3)):
            found = [n.similarity for n in prediction.neighbours if n.modality == modality]
            assert found == sorted(found, reverse=True)
            assert len(found) == k if modality == "audio" else len(found) <= k


def test_an_utterance_said_before_finds_it(
    pipeline: Pipeline, clips: tuple[Utterance, ...], tiny_manifest: Path
) -> None:
    bank = read_manifest(tiny_manifest).split("train")
    for clip in clips:
        same = [row for row, utterance in enumerate(bank) if utterance.text == clip.text]
        neighbours = pipeline(text=clip.text).neighbours
        assert {n.modality for n in neighbours} == {"text"}
        assert [n.row for n in neighbours[: len(same)]] == same[:3]  # ties go to the lower row
        assert neighbours[0].similarity == pytest.approx(1, abs=1e-5)
    audio = bank[5].audio
    nearest = pipeline(audio).neighbours[0]
    assert (nearest.row, nearest.modality) == (5, "audio")
    assert nearest.similarity == pytest.approx(1, abs=1e-5)


def test_either_modality_may_be_absent_with_modality_dropout(
    pipeline: Pipeline, clips: tuple[Utterance, ...], alone: list[Prediction]
) -> None:
    for clip, both in zip(clips[:3], alone, strict=False):
        for prediction in (
            pipeline(clip.audio),
            pipeline(clip.audio, "  "),
            pipeline(clip.audio, b""),
        ):
            assert prediction.modalities == ("audio",)
            assert {n.modality for n in prediction.neighbours} == {"audio"}
            assert prediction.probabilities != both.probabilities
        prediction = pipeline(text=clip.text)
        assert prediction.modalities == ("text",)
        assert len(prediction.neighbours) == 3


def test_both_modalities_are_needed_without_modality_dropout(
    strict_bundle: Path, clips: tuple[Utterance, ...], alone: list[Prediction]
) -> None:
    strict = Pipeline.load(strict_bundle)
    clip = clips[0]
    assert strict(clip.audio, clip.text) == alone[0]
    with pytest.raises(InputError, match=r"has no text, .* trained without modality dropout") as c:
        strict(clip.audio)
    assert str(clip.audio) in str(c.value)
    with pytest.raises(InputError, match=r"has no audio, .* trained without modality dropout"):
        strict(text=clip.text)
    with pytest.raises(InputError, match="item 1: has no audio"):
        strict([clip.audio, None], [clip.text, clip.text])


def test_nothing_at_all_is_refused(pipeline: Pipeline) -> None:
    for call in (
        lambda: pipeline(),
        lambda: pipeline(None, ""),
        lambda: pipeline(text=" \n\t "),
        lambda: pipeline(text="\u200b"),
    ):
        with pytest.raises(InputError, match="expected audio or text, found none or empty"):
            call()
    with pytest.raises(InputError, match="item 1: expected audio or text"):
        pipeline(text=["words", None])


def test_an_error_names_the_file(
    pipeline: Pipeline, clips: tuple[Utterance, ...], tmp_path: Path
) -> None:
    missing, broken = tmp_path / "missing.wav", tmp_path / "broken.wav"
    broken.write_bytes(b"RIFF, but no more")
    good = clips[0].audio
    for path in (missing, broken):
        for audio in (path, str(path)):
            with pytest.raises(InputError) as caught:
                pipeline(audio)
            assert str(path) in str(caught.value)
            with pytest.raises(InputError) as caught:
                pipeline([good, audio])
            assert str(path) in str(caught.value)
            assert "\n" not in str(caught.value)
    with pytest.raises(InputError, match="item 1"):
        pipeline([good, broken.read_bytes()])
    with pytest.raises(InputError, match="item 1"):
        pipeline([good, good], ["words", b"\xff"])


def test_threads_do_not_change_an_answer(
    tiny_bundle: Path, clips: tuple[Utterance, ...], alone: list[Prediction]
) -> None:
    single = Pipeline.load(tiny_bundle, threads=1)
    for clip, expected in zip(clips[:4], alone, strict=False):
        assert_same(single(clip.audio, clip.text), expected)


@torch.no_grad()
@pytest.mark.parametrize("given_modalities", ["both", "audio", "text"])
def test_the_pipeline_is_the_torch_model(
    pipeline: Pipeline,
    clips: tuple[Utterance, ...],
    tiny_run: Path,
    given_modalities: str,
) -> None:
    run = RunDirectory.open(tiny_run)
    recipe = run.record.recipe
    bank = freeze_bank(run.head(), run.features("train").embeddings, recipe.graph)
    head = InductiveHead(run.head(), bank, recipe.graph).eval()
    audio_encoder, text_encoder = run.audio_encoder(), run.text_encoder()
    tokenizer = TextTokenizer(run.tokenizer_path, recipe.text)
    for clip in clips:
        assert clip.audio is not None
        assert clip.text is not None
        audio, text = torch.zeros(1, 16), torch.zeros(1, 16)
        if given_modalities != "text":
            samples = decode_audio(clip.audio, AudioConfig())
            windows = torch.from_numpy(cut_windows(samples, 16_000))
            audio = audio_encoder(windows).mean(dim=0, keepdim=True)
        if given_modalities != "audio":
            tokens = tokenizer.encode(clip.text)
            ids, mask = torch.from_numpy(tokens.input_ids), torch.from_numpy(tokens.attention_mask)
            text = text_encoder(ids[None], mask[None])
        present = torch.tensor([[given_modalities != "text", given_modalities != "audio"]])
        expected = head(audio, text, present)

        found = pipeline(
            None if given_modalities == "text" else clip.audio,
            None if given_modalities == "audio" else clip.text,
        )

        assert_allclose(list(found.probabilities.values()), expected.probabilities[0], atol=1e-5)
        kept = expected.neighbours[0] >= 0
        assert [n.row for n in found.neighbours] == expected.neighbours[0][kept].tolist()
        assert_allclose(
            [n.similarity for n in found.neighbours], expected.similarities[0][kept], atol=1e-5
        )
