from __future__ import annotations

import csv
from collections import Counter
from pathlib import Path
from types import ModuleType

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from hemogat.data.corpus import write_corpus
from hemogat.data.meld import LABELS, read_meld_text, with_sound
from hemogat.errors import InputError

REAL = Path(__file__).parents[3] / "shared" / "data" / "meld"


@pytest.fixture
def meld(corpora: ModuleType, tmp_path: Path) -> Path:
    """Return the root of a small MELD without media."""
    root: Path = corpora.write_meld(tmp_path / "MELD.Raw")
    return root


def test_texts(meld: Path) -> None:
    corpus = read_meld_text(meld)
    assert corpus.labels == LABELS
    assert [(row.id, row.text, row.label, row.speaker) for row in corpus.utterances] == [
        ("train_dia0_utt0", "It’s me", "neutral", "Joey"),
        ("train_dia0_utt1", "Oh no, no!", "fear", "Monica"),
        ("val_dia0_utt0", "Hey.", "joy", "Joey"),
        ("test_dia3_utt2", "What?", "surprise", "Ross"),
    ]
    last = corpus.utterances[-1]
    assert (last.split, last.dialogue, last.turn) == ("test", "test_dia3", 2)


def test_all_bad_rows_are_named(corpora: ModuleType, meld: Path) -> None:
    path = meld / "dev_sent_emo.csv"
    rows = [
        corpora.meld_row("Hey.", "Joey", "bored", 0, 0),
        corpora.meld_row("", "Joey", "joy", "x", -1),
        "1,short",
        corpora.meld_row("Hey.", "Joey", "joy", 0, 0),
        corpora.meld_row("Hey.", "Joey", "joy", 0, "00"),
    ]
    path.write_text("\n".join([corpora.MELD_HEADER, *rows]))
    with pytest.raises(InputError) as refused:
        read_meld_text(meld)
    assert refused.value.problems == (
        f"dev_sent_emo.csv: row 2: Emotion 'bored' is unknown; expected one of {', '.join(LABELS)}",
        "dev_sent_emo.csv: row 3: Dialogue_ID 'x' is not a whole number",
        "dev_sent_emo.csv: row 3: Utterance_ID '-1' is not a whole number",
        "dev_sent_emo.csv: row 3: Utterance is empty",
        "dev_sent_emo.csv: row 4: expected as many cells as the header has, found -9",
        "val_dia0_utt0 is there more than once",
    )


def test_files_that_are_missing_or_twice(meld: Path) -> None:
    (meld / "test" / "test_sent_emo.csv").write_bytes((meld / "test_sent_emo.csv").read_bytes())
    assert len(read_meld_text(meld).utterances) == 4  # the nearer one is taken
    (meld / "train" / "train_sent_emo.csv").rename(meld / "dev" / "train_sent_emo.csv")
    (meld / "test" / "train_sent_emo.csv").touch()
    with pytest.raises(InputError, match=r"expected one train_sent_emo\.csv, found "):
        read_meld_text(meld)
    (meld / "test" / "train_sent_emo.csv").unlink()
    (meld / "dev" / "train_sent_emo.csv").unlink()
    with pytest.raises(InputError, match=r"holds no train_sent_emo\.csv"):
        read_meld_text(meld)


@settings(
    max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(data=st.binary() | st.text().map(str.encode), cells=st.lists(st.text(), max_size=8))
def test_any_content_is_read_or_refused(
    corpora: ModuleType, meld: Path, data: bytes, cells: list[str]
) -> None:
    row = ",".join(cells).encode(errors="replace")
    for content in (data, corpora.MELD_HEADER.encode() + b"\n" + data + row):
        (meld / "test_sent_emo.csv").write_bytes(content)
        try:
            corpus = read_meld_text(meld)
        except InputError as refused:
            message = str(refused)
            assert "\n" not in message
        else:
            assert all(utterance.text for utterance in corpus.utterances)


def test_sound_beside_the_videos_is_used(corpora: ModuleType, meld: Path, tmp_path: Path) -> None:
    for name in ("train/train_splits/dia0_utt0.wav", "dev/dev_splits_complete/dia0_utt0.flac"):
        (meld / name).touch()

    corpus = with_sound(read_meld_text(meld), tmp_path / "audio")

    assert [(row.id, row.audio) for row in corpus.utterances] == [
        ("train_dia0_utt0", meld / "train/train_splits/dia0_utt0.wav"),
        ("val_dia0_utt0", meld / "dev/dev_splits_complete/dia0_utt0.flac"),
    ]
    media = meld / "test/output_repeated_splits_test"
    assert corpus.bad == (
        f"test_dia3_utt2: no .flac, .wav, .mp4 file in {media}",
        f"train_dia0_utt1: no .flac, .wav, .mp4 file in {meld}/train/train_splits",
    )
    media.rmdir()
    with pytest.raises(InputError, match=r"holds no output_repeated_splits_test.*text only"):
        with_sound(read_meld_text(meld), tmp_path / "audio")


@pytest.mark.skipif(not REAL.is_dir(), reason="MELD's texts are not on this machine")
def test_the_real_texts(corpora: ModuleType, tmp_path: Path) -> None:
    """They are there with four columns; the others are filled in."""
    for name, official in (("train", "train"), ("valid", "dev"), ("test", "test")):
        with (REAL / f"{name}.csv").open(encoding="utf-8", newline="") as file:
            rows = list(csv.DictReader(file))
        with (tmp_path / f"{official}_sent_emo.csv").open("w", encoding="utf-8") as file:
            writer = csv.writer(file)
            writer.writerow(corpora.MELD_HEADER.split(","))
            for row in rows:
                places = (row["dialogue_id"], row["utterance_id"])
                writer.writerow(
                    ["1", row["text"], "Joey", row["label"], "", *places, "", "", "", ""]
                )

    manifest = write_corpus(read_meld_text(tmp_path), tmp_path / "manifest.csv")

    totals = {split: sum(counts.values()) for split, counts in manifest.counts().items()}
    assert totals == {"train": 9988, "val": 1108, "test": 2610}
    assert not any(0x80 <= ord(c) < 0xA0 for row in manifest.utterances for c in row.text or "")
    assert Counter("’" in (row.text or "") for row in manifest.utterances)[True] > 1000
