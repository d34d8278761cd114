from __future__ import annotations

from pathlib import Path

import pytest

from hemogat.data.corpus import Corpus, read_legacy_text, write_corpus
from hemogat.data.manifest import Utterance
from hemogat.errors import InputError


@pytest.mark.parametrize(
    "data",
    [
        b"it\x92s \x93caf\xe9\x94 \x85",  # Windows-1252
        "it\x92s \x93café\x94 \x85".encode(),  # read as Latin-1 once, written as UTF-8
        "it’s “café” …".encode(),
        "\ufeffit’s “café” …".encode(),
    ],
)
def test_texts_of_either_encoding(tmp_path: Path, data: bytes) -> None:
    (tmp_path / "a.txt").write_bytes(data)
    assert read_legacy_text(tmp_path / "a.txt") == "it’s “café” …"


def test_bytes_that_are_no_text(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_bytes(b"\x81\x8d")
    with pytest.raises(InputError, match=r"a\.txt: is neither UTF-8 nor Windows-1252 text"):
        read_legacy_text(tmp_path / "a.txt")
    with pytest.raises(InputError, match="cannot be read"):
        read_legacy_text(tmp_path / "none.txt")


def test_bad_utterances_are_all_named(tmp_path: Path) -> None:
    corpus = Corpus(tmp_path, ("sad",), (), bad=tuple(f"u{n}: damaged" for n in range(5)))
    with pytest.raises(InputError, match=r"5 problems: u0: damaged; .*; and 2 more") as refused:
        corpus.without_bad()
    assert refused.value.problems == corpus.bad


def test_only_the_utterances_of_a_split_are_kept(tmp_path: Path) -> None:
    rows = tuple(Utterance(name, None, "hi", "sad", "s1", "train") for name in "abc")
    split = Corpus(tmp_path, ("sad",), rows).split_by({"b": "test", "c": "train", "x": "val"})
    assert [(row.id, row.split) for row in split.utterances] == [("b", "test"), ("c", "train")]


@pytest.mark.parametrize(
    ("ids", "split", "reason"),
    [("", "train", "no utterances for the train"), ("a", "test", "no utterances for the train")],
)
def test_nothing_to_train_on(tmp_path: Path, ids: str, split: str, reason: str) -> None:
    rows = tuple(Utterance(name, None, "hi", "sad", "s1", split) for name in ids)  # type: ignore[arg-type]
    with pytest.raises(InputError, match=reason):
        write_corpus(Corpus(tmp_path, ("sad",), rows), tmp_path / "m.csv")
    assert not (tmp_path / "m.csv").exists()


def test_an_id_for_two(tmp_path: Path) -> None:
    row = Utterance("a", None, "hi", "sad", "s1", "train")
    with pytest.raises(InputError, match="id 'a' stands for more than one utterance"):
        write_corpus(Corpus(tmp_path, ("sad",), (row, row)), tmp_path / "m.csv")
    assert not (tmp_path / "m.csv").exists()
