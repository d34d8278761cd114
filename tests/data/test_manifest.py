from __future__ import annotations

import csv
import io
import os
import pickle
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hemogat.data.manifest import (
    Manifest,
    ManifestError,
    Utterance,
    read_manifest,
    write_manifest,
)
from hemogat.errors import InputError

HEADER = "audio,text,label,speaker,split"
OUTSIDE = "is outside the manifest's folder; move it or write it absolute"
CELLS = "cells than the header (a text with commas needs quotes)"
Corpus = Callable[..., Path]
# Python 3.10's csv module does not write null characters.
CELL_TEXTS = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=10)


@pytest.fixture
def corpus(tmp_path: Path) -> Corpus:
    """Write a manifest of the given lines beside a few audio files."""
    for name in ("a.wav", "b.wav", "clips/c.flac"):
        path = tmp_path / "corpus" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    (tmp_path / "outside.wav").touch()

    def write(*lines: str, header: str = HEADER) -> Path:
        path = tmp_path / "corpus" / "manifest.csv"
        path.write_text("\n".join((header, *lines)) + "\n", encoding="utf-8")
        return path

    return write


def problems_of(path: Path, labels: Sequence[str] | None = None) -> tuple[str, ...]:
    with pytest.raises(ManifestError) as refused:
        read_manifest(path, labels)
    error = refused.value
    assert isinstance(error, InputError)
    assert str(error).startswith(f"{path}: ")
    assert "\n" not in str(error)
    assert all(problem in str(error) for problem in error.problems[:3])
    return error.problems


class TestRead:
    def test_rows(self, corpus: Corpus) -> None:
        path = corpus(
            "a.wav,hello there,happy,s1,train",
            "clips/c.flac,,sad,s1,train",
            ',"well, no",angry,s2,val',
            "./b.wav,,happy,s3,test",
        )

        manifest = read_manifest(path)

        folder = path.parent
        assert manifest == Manifest(
            path=path,
            labels=("angry", "happy", "sad"),
            utterances=(
                Utterance("a.wav", folder / "a.wav", "hello there", "happy", "s1", "train"),
                Utterance("clips/c.flac", folder / "clips/c.flac", None, "sad", "s1", "train"),
                Utterance("row-4", None, "well, no", "angry", "s2", "val"),
                Utterance("./b.wav", folder / "b.wav", None, "happy", "s3", "test"),
            ),
            warnings=(),
        )

    def test_splits_and_counts(self, corpus: Corpus) -> None:
        manifest = read_manifest(
            corpus(
                "a.wav,,happy,s1,train",
                "b.wav,,sad,s2,test",
                ",one,happy,s1,train",
                ",two,sad,s1,train",
            ),
            ["sad", "happy", "angry"],
        )

        assert manifest.labels == ("sad", "happy", "angry")
        assert [utterance.id for utterance in manifest.split("train")] == [
            "a.wav",
            "row-4",
            "row-5",
        ]
        assert manifest.split("val") == ()
        assert manifest.counts() == {
            "train": {"sad": 1, "happy": 2, "angry": 0},
            "val": {"sad": 0, "happy": 0, "angry": 0},
            "test": {"sad": 1, "happy": 0, "angry": 0},
        }

    def test_columns_in_any_order_with_others_between(self, corpus: Corpus) -> None:
        path = corpus(
            "0.5,train,s1,x7,happy,a.wav,hi,",
            "0.7,train,s1,,sad,b.wav,,",
            header="arousal,split, speaker,id,label,audio,text,",
        )

        manifest = read_manifest(path)

        assert manifest.utterances == (
            Utterance("x7", path.parent / "a.wav", "hi", "happy", "s1", "train"),
            Utterance("b.wav", path.parent / "b.wav", None, "sad", "s1", "train"),
        )

    def test_dialogues_and_turns(self, corpus: Corpus) -> None:
        path = corpus(
            ",one,happy,s1,train,d1,0",
            ",two,sad,s1,train,d1,",
            ",three,sad,s1,train,,",
            header=f"{HEADER},dialogue,turn",
        )
        found = [(row.dialogue, row.turn) for row in read_manifest(path).utterances]
        assert found == [("d1", 0), ("d1", None), (None, None)]

    @pytest.mark.parametrize(
        ("cells", "problem"),
        [
            ("d1,first", "turn 'first' is not a whole number"),
            ("d1,-1", "turn '-1' is not a whole number"),
            (f"d1,{'9' * 5000}", f"turn '{'9' * 5000}' is not a whole number"),
            (",3", "turn '3' of no dialogue"),
        ],
    )
    def test_turns_that_are_none(self, corpus: Corpus, cells: str, problem: str) -> None:
        path = corpus(f",one,happy,s1,train,{cells}", header=f"{HEADER},dialogue,turn")
        assert problems_of(path) == (f"row 2: {problem}",)

    def test_absolute_audio_may_lie_outside(self, corpus: Corpus, tmp_path: Path) -> None:
        outside = tmp_path / "outside.wav"
        manifest = read_manifest(corpus(f"{outside},,happy,s1,train"))
        assert manifest.utterances[0].audio == outside

    def test_parts_that_come_back_inside(self, corpus: Corpus) -> None:
        path = corpus("clips/../a.wav,,happy,s1,train", "clips//./c.flac,,sad,s1,train")

        manifest = read_manifest(path)

        assert [utterance.audio for utterance in manifest.utterances] == [
            path.parent / "a.wav",
            path.parent / "clips/c.flac",
        ]
        assert manifest.utterances[0].id == "clips/../a.wav"

    def test_byte_order_mark_crlf_blank_lines_and_outer_spaces(self, corpus: Corpus) -> None:
        path = corpus()
        path.write_bytes(
            b"\xef\xbb\xbf" + HEADER.encode() + b"\r\n\r\n a.wav , hi , happy , s1 , train \r\n\r\n"
        )
        assert read_manifest(path).utterances == (
            Utterance("a.wav", path.parent / "a.wav", "hi", "happy", "s1", "train"),
        )

    def test_path_may_be_a_string(self, corpus: Corpus) -> None:
        path = corpus("a.wav,,happy,s1,train")
        assert read_manifest(str(path)) == read_manifest(path)

    def test_path_relative_to_the_working_folder(
        self, corpus: Corpus, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        path = corpus("a.wav,,happy,s1,train")
        monkeypatch.chdir(path.parent)
        assert read_manifest("manifest.csv").utterances[0].audio == Path("a.wav")

    def test_row_numbers_are_a_spreadsheets(self, corpus: Corpus) -> None:
        path = corpus(
            '"a.wav","two\nlines",happy,s1,train', "", ",text,happy,s1,train", ",,happy,s1,train"
        )
        assert problems_of(path) == ("row 5: neither audio nor text",)


class TestSpeakerWarnings:
    def test_none(self, corpus: Corpus) -> None:
        path = corpus(",one,happy,s1,train", ",two,sad,s1,train", ",three,sad,s2,test")
        assert read_manifest(path).warnings == ()

    def test_speakers_in_more_than_one_split(self, corpus: Corpus) -> None:
        path = corpus(
            *(f",t{n},happy,s{n},train" for n in range(6)),
            *(f",v{n},happy,s{n},val" for n in range(1, 6)),
            ",x,sad,s5,test",
        )
        assert read_manifest(path).warnings == (
            "1 speakers of the test split are in another one too (s5): "
            "results will not be speaker-independent",
            "4 speakers are in both train and val (s1, s2, s3, and 1 more): "
            "validation will not be speaker-independent",
        )

    def test_rows_without_speaker(self, corpus: Corpus) -> None:
        path = corpus(",one,happy,,train", ",two,sad,,test", ",three,sad,s2,test")
        assert read_manifest(path).warnings == (
            "some rows name no speaker: whether splits share speakers is unknown",
        )


class TestProblems:
    @pytest.mark.parametrize(
        ("row", "problem"),
        [
            ("a.wav,hi,bored,s1,train", "label 'bored' is unknown; expected one of happy, sad"),
            ("a.wav,hi,Happy,s1,train", "label 'Happy' is unknown; expected one of happy, sad"),
            ("a.wav,hi,,s1,train", "no label"),
            ("a.wav,hi,sad,s1,dev", "split 'dev' is unknown; expected one of train, val, test"),
            ("a.wav,hi,sad,s1,", "split '' is unknown; expected one of train, val, test"),
            ("none.wav,hi,sad,s1,train", "audio 'none.wav': no such file"),
            ("clips,hi,sad,s1,train", "audio 'clips': no such file"),
            ("/none.wav,hi,sad,s1,train", "audio '/none.wav': no such file"),
            (f"{'n' * 300}.wav,hi,sad,s1,train", f"audio '{'n' * 300}.wav': no such file"),
            ("../outside.wav,hi,sad,s1,train", f"audio '../outside.wav' {OUTSIDE}"),
            (
                "clips/../../corpus/a.wav,,sad,s1,train",
                f"audio 'clips/../../corpus/a.wav' {OUTSIDE}",
            ),
            ("..,hi,sad,s1,train", f"audio '..' {OUTSIDE}"),
            (", ,sad,s1,train", "neither audio nor text"),
            ("a.wav,well, no,sad,s1,train", f"more {CELLS}"),
            ("a.wav,sad,s1,train", f"fewer {CELLS}"),
            ("b.wav,again,sad,s1,train", "id 'b.wav' is already that of row 2"),
        ],
    )
    def test_one_row(self, corpus: Corpus, row: str, problem: str) -> None:
        path = corpus("b.wav,hi,happy,s1,train", row)
        assert problems_of(path, ["happy", "sad"]) == (f"row 3: {problem}",)

    def test_duplicate_given_ids(self, corpus: Corpus) -> None:
        path = corpus(
            "x,a.wav,,happy,s1,train",
            "y,b.wav,,happy,s1,train",
            "x,,hi,sad,s1,test",
            "row-6,,hi,sad,s1,test",
            ",,hi,sad,s1,test",
            header=f"id,{HEADER}",
        )
        assert problems_of(path) == (
            "row 4: id 'x' is already that of row 2",
            "row 6: id 'row-6' is already that of row 5",
        )

    def test_one_file_in_two_splits(self, corpus: Corpus) -> None:
        path = corpus(
            "1,a.wav,,happy,s1,train",
            "2,a.wav,again,happy,s1,train",
            "3,clips/c.flac,,happy,s1,train",
            "4,./a.wav,,happy,s2,test",
            f"5,{corpus().parent}/clips/../clips/c.flac,,happy,s2,val",
            "6,,no file,happy,s2,test",
            "7,,no file,happy,s2,train",
            header=f"id,{HEADER}",
        )
        four, five = problems_of(path)
        assert four == (
            "row 5: audio './a.wav' in split 'test' is the file of row 2, which is in split "
            "'train'; leave it in one of them"
        )
        assert five.startswith("row 6: audio '/")
        assert "is the file of row 4, which is in split 'train'" in five
        assert len(read_manifest(path, to_train=False).utterances) == 7  # nothing to give away

    def test_all_are_collected_and_the_first_shown(self, corpus: Corpus) -> None:
        path = corpus(
            "none.wav,,bored,s1,dev",
            "a.wav,,happy,s1,train",
            ",,,,",
            "a.wav,,happy,s1,train",
        )

        problems = problems_of(path, ["happy"])

        assert [problem.split(":")[0] for problem in problems] == (
            ["row 2"] * 3 + ["row 4"] * 3 + ["row 5"]
        )
        with pytest.raises(ManifestError) as refused:
            read_manifest(path, ["happy"])
        shown = "; ".join(problems[:3])
        assert str(refused.value) == f"{path}: 7 problems: {shown}; and 4 more"

    def test_no_train_rows(self, corpus: Corpus) -> None:
        path = corpus("a.wav,,happy,s1,test", "b.wav,,sad,s1,val")
        assert problems_of(path) == ("no row is in the train split",)
        assert read_manifest(path, to_train=False).utterances

    @pytest.mark.parametrize("lines", [(), ("", "")])
    def test_no_rows(self, corpus: Corpus, lines: tuple[str, ...]) -> None:
        assert problems_of(corpus(*lines)) == ("it holds no utterances",)

    def test_missing_columns(self, corpus: Corpus) -> None:
        assert problems_of(corpus("a.wav,x", header="audio,emotion,text")) == (
            "column 'label' is missing",
            "column 'speaker' is missing",
            "column 'split' is missing",
            "the header is 'audio,emotion,text'",
        )
        assert len(problems_of(corpus(header=HEADER.replace(",", ";")))) == 6

    def test_column_twice(self, corpus: Corpus) -> None:
        assert problems_of(corpus(header=f"{HEADER},label,note,note"))[0] == (
            "column 'label' is there 2 times"
        )

    def test_empty_file(self, corpus: Corpus) -> None:
        path = corpus()
        path.write_bytes(b"")
        assert "column 'audio' is missing" in problems_of(path)

    @pytest.mark.parametrize(
        ("content", "reason"),
        [
            (b"\xff\xfea\0u\0", "it is not UTF-8 text ("),
            (HEADER.encode() + b"\na.wav,caf\xe9,happy,s1,train\n", "it is not UTF-8 text ("),
            (HEADER.encode() + b"\na.wav,\0,happy,s1,train\n", "it holds null characters"),
            (HEADER.encode() + b'\na.wav,"hi,happy,s1,train\n', "line 2 is not CSV ("),
            (HEADER.encode() + b'\na.wav,"hi"there,happy,s1,train\n', "line 2 is not CSV ("),
            (HEADER.encode() + b"\na.wav," + b"x" * 200_000, "line 2 is not CSV ("),
        ],
    )
    def test_not_csv(self, corpus: Corpus, content: bytes, reason: str) -> None:
        path = corpus()
        path.write_bytes(content)
        (problem,) = problems_of(path)
        assert problem.startswith(reason)

    def test_no_such_manifest(self, tmp_path: Path) -> None:
        assert problems_of(tmp_path / "none.csv") == (
            "it cannot be read (No such file or directory)",
        )
        assert problems_of(tmp_path) == ("it cannot be read (Is a directory)",)

    def test_error_survives_a_process_boundary(self, corpus: Corpus) -> None:
        with pytest.raises(ManifestError) as refused:
            read_manifest(corpus())
        copy = pickle.loads(pickle.dumps(refused.value))
        assert (str(copy), copy.problems) == (str(refused.value), refused.value.problems)

    @settings(max_examples=200, deadline=None)
    @given(rows=st.lists(st.lists(CELL_TEXTS, max_size=7), max_size=4), raw=st.binary())
    def test_any_content_is_read_or_refused(
        self, tmp_path_factory: pytest.TempPathFactory, rows: list[list[str]], raw: bytes
    ) -> None:
        path = tmp_path_factory.mktemp("any") / "manifest.csv"
        text = io.StringIO(newline="")
        csv.writer(text).writerows([HEADER.split(","), *rows])
        for content in (raw, HEADER.encode() + b"\n" + raw, text.getvalue().encode()):
            path.write_bytes(content)
            try:
                read_manifest(path)
            except ManifestError as refused:
                problems = refused.problems
                assert problems


NAMES = st.text(st.characters(exclude_categories=("Cs", "Cc", "Z")), min_size=1, max_size=10)


class TestWrite:
    @settings(max_examples=100, deadline=None)
    @given(
        texts=st.lists(st.text(st.characters(exclude_categories=("Cs", "Cc"))), min_size=1),
        label=NAMES,
        speaker=NAMES,
        turn=st.none() | st.integers(0, 999),
    )
    def test_what_is_written_is_read(
        self,
        tmp_path_factory: pytest.TempPathFactory,
        texts: list[str],
        label: str,
        speaker: str,
        turn: int | None,
    ) -> None:
        path = tmp_path_factory.mktemp("round") / "manifest.csv"
        (path.parent / "a, b.wav").touch()
        utterances = tuple(
            Utterance(
                id=f'"{position}"',
                audio=path.parent / "a, b.wav",
                text=" ".join(text.split()) or None,
                label=label,
                speaker=speaker,
                split="train",
                dialogue="d 1" if position % 2 else None,
                turn=turn if position % 2 else None,
            )
            for position, text in enumerate(texts)
        )

        write_manifest(path, iter(utterances))

        assert read_manifest(path).utterances == utterances

    def test_file(self, tmp_path: Path) -> None:
        path = tmp_path / "corpus" / "manifest.csv"
        path.parent.mkdir()
        inside, outside = path.parent / "wav" / "a.wav", tmp_path / "b.wav"

        write_manifest(
            path,
            [
                Utterance("1", inside, "why,\n me?", "sad", "s1", "train"),
                Utterance("2", outside, None, "happy", "s2", "val"),
                Utterance("3", None, "yes", "happy", "s2", "test"),
            ],
        )

        assert path.read_bytes().decode() == (
            "id,audio,text,label,speaker,split\n"
            '1,wav/a.wav,"why, me?",sad,s1,train\n'
            f"2,{outside},,happy,s2,val\n"
            "3,,yes,happy,s2,test\n"
        )
        assert os.listdir(path.parent) == ["manifest.csv"]

    def test_relative_paths(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.chdir(tmp_path)
        Path("corpus").mkdir()
        clip = Utterance("1", Path("corpus/a.wav"), None, "sad", "s1", "train")

        write_manifest("corpus/manifest.csv", [clip])

        assert "\n1,a.wav,," in Path("corpus/manifest.csv").read_text()

    @pytest.mark.parametrize("value", ["a\nb", "a\rb", "a\0b", "a\ud800b"])
    def test_values_that_cannot_stand_in_it(self, tmp_path: Path, value: str) -> None:
        path = tmp_path / "manifest.csv"
        good = Utterance("1", None, "hi", "sad", "s1", "train")
        write_manifest(path, [good])
        before = path.read_bytes()

        with pytest.raises(InputError, match=r"manifest\.csv: ") as refused:
            write_manifest(path, [good, Utterance("2", None, "hi", "sad", value, "train")])

        assert "\n" not in str(refused.value)
        assert path.read_bytes() == before
        assert os.listdir(tmp_path) == ["manifest.csv"]

    def test_folder_that_cannot_hold_it(self, tmp_path: Path) -> None:
        (tmp_path / "file").touch()
        with pytest.raises(InputError, match=r"manifest\.csv: cannot be written \("):
            write_manifest(tmp_path / "file" / "manifest.csv", [])
        assert os.listdir(tmp_path) == ["file"]

    def test_a_reader_of_the_old_file_is_not_disturbed(self, tmp_path: Path) -> None:
        path = tmp_path / "manifest.csv"
        write_manifest(path, [Utterance("1", None, "old", "sad", "s1", "train")])
        with path.open() as old:
            write_manifest(path, [Utterance("1", None, "new", "sad", "s1", "train")])
            assert "old" in old.read()
        assert "new" in path.read_text()

    def test_failed_replacement_leaves_nothing(self, tmp_path: Path) -> None:
        (tmp_path / "manifest.csv").mkdir()
        with pytest.raises(InputError, match="cannot be written"):
            write_manifest(tmp_path / "manifest.csv", [])
        assert os.listdir(tmp_path) == ["manifest.csv"]


def test_a_pipe_is_refused_rather_than_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(ManifestError, match="pipe: it is a device or a pipe"):
        read_manifest(tmp_path / "pipe")
