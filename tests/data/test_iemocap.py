from __future__ import annotations

from pathlib import Path
from types import ModuleType

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hemogat.data.iemocap import (
    Evaluation,
    leave_session_out,
    parse_evaluations,
    parse_transcripts,
    read_authors_splits,
    read_iemocap,
)
from hemogat.errors import InputError

PATH = Path("Ses01F_impro01.txt")
# As the corpus has it: a heading, a summary, then a line per annotator.
EVALUATIONS = (
    "% [START_TIME - END_TIME] TURN_NAME EMOTION [V, A, D]\n\n"
    "[6.2901 - 8.2357]\tSes01F_impro01_F000\tneu\t[2.5000, 2.5000, 2.5000]\n"
    "C-E2:\tNeutral;\t()\nA-E3:\tval 3; act 2; dom  2;\t()\n\n"
    "[10.0100 - 11.3925]\tSes01F_impro01_M000\txxx\t[2.5000, 2.5000, 2.5000]\n"
)


@pytest.fixture
def iemocap(corpora: ModuleType, tmp_path: Path) -> Path:
    """Return the root of a small IEMOCAP, one dialogue per session."""
    root: Path = corpora.write_iemocap(tmp_path / "IEMOCAP_full_release")
    return root


def test_evaluations() -> None:
    assert parse_evaluations(EVALUATIONS.replace("\n", "\r\n"), PATH) == [
        Evaluation("Ses01F_impro01_F000", "Ses01F_impro01", "Ses01F", 6.2901, "neu"),
        Evaluation("Ses01F_impro01_M000", "Ses01F_impro01", "Ses01M", 10.01, "xxx"),
    ]


@pytest.mark.parametrize(
    "line",
    [
        "[6.2901 - 8.2357] Ses01F_impro01_F000 neu [2.5, 2.5, 2.5]",  # spaces for tabs
        "[6.2901 - 8.2357]\tSes01F_impro01_F000\tneu",
        "[6.2901 - 8.2357]\timpro01_F000\tneu\t[2.5, 2.5, 2.5]",
        "[6.2901 - 8.2357]\tSes01F_../../impro01_F000\tneu\t[2.5, 2.5, 2.5]",
    ],
)
def test_summaries_that_are_none(line: str) -> None:
    with pytest.raises(InputError, match=r"Ses01F_impro01\.txt: line 2: expected "):
        parse_evaluations(f"%\n{line}\n", PATH)


def test_transcripts_pass_over_remarks() -> None:
    content = (
        "Ses01F_impro01_F000 [006.2901-008.2357]: Excuse  me.\r\n"
        "M: [GARBAGE]\n"
        "Ses05M_script01_1_MXX0 [010.0000-011.0000]: \n"
    )
    assert parse_transcripts(content) == {
        "Ses01F_impro01_F000": "Excuse me.",
        "Ses05M_script01_1_MXX0": "",
    }


SUMMARIES = st.from_regex(r"\[[0-9.]* - [0-9.]+\]\t?Ses01F_\w*[FM]?[0-9]*\t[a-z]*\t\[.*\n")


@settings(max_examples=200, deadline=None)
@given(content=st.text() | SUMMARIES | st.from_regex(r"Ses\S+ \[[0-9.]+-[0-9.]*\]:.*"))
def test_any_text_is_parsed_or_refused(content: str) -> None:
    parse_transcripts(content)
    try:
        found = parse_evaluations(content, PATH)
    except InputError as refused:
        message = str(refused)
        assert "\n" not in message
    else:
        assert all(one.start_s >= 0 for one in found)


def test_corpus(iemocap: Path) -> None:
    corpus = read_iemocap(iemocap)
    assert corpus.labels == ("angry", "happy", "neutral", "sad")
    assert corpus.left_out == {"fru": 5, "xxx": 5}
    assert corpus.bad == ()
    # Turn 0 is frustrated: it is left out and counts.
    first = corpus.utterances[0]
    assert (first.id, first.dialogue, first.turn) == ("Ses01F_impro01_F001", "Ses01F_impro01", 1)
    assert (first.label, first.speaker, first.text) == ("angry", "Ses01F", "Words of one.")
    assert first.audio is not None
    assert first.audio.is_file()
    labels = [row.label for row in corpus.utterances if row.dialogue == "Ses01F_impro01"]
    assert labels == ["angry", "happy", "happy", "neutral", "sad"]
    assert {row.speaker for row in corpus.utterances} == {
        f"Ses0{session}{sex}" for session in range(1, 6) for sex in "FM"
    }


def test_what_is_missing_is_listed(iemocap: Path) -> None:
    session = iemocap / "Session2"
    (session / "sentences/wav/Ses02F_impro01/Ses02F_impro01_F001.wav").unlink()
    transcripts = session / "dialog/transcriptions/Ses02F_impro01.txt"
    transcripts.write_text(transcripts.read_text().replace("Ses02F_impro01_M002 ", "M: "))

    corpus = read_iemocap(iemocap)

    assert len(corpus.utterances) == 23
    assert [problem.partition(":")[0] for problem in corpus.bad] == [
        "Ses02F_impro01_F001",
        "Ses02F_impro01_M002",
    ]


def test_another_folder_is_refused(tmp_path: Path, iemocap: Path) -> None:
    with pytest.raises(InputError, match=r"has no Session1, Session2, .*; expected IEMOCAP_full"):
        read_iemocap(tmp_path / "none")
    (iemocap / "Session3/dialog/EmoEvaluation").rename(iemocap / "Session3/dialog/other")
    with pytest.raises(InputError, match="EmoEvaluation: no such folder; is this copy"):
        read_iemocap(iemocap)


def test_one_session_is_for_test(iemocap: Path) -> None:
    corpus = read_iemocap(iemocap)
    splits = leave_session_out(corpus, 3, seed=0)
    assert splits.keys() == {row.id for row in corpus.utterances}
    assert {name for name, split in splits.items() if split == "test"} == {
        name for name in splits if name.startswith("Ses03")
    }
    assert "val" in splits.values()


def test_authors_splits(corpora: ModuleType, tmp_path: Path) -> None:
    corpora.write_authors_splits(
        tmp_path, train=["Ses01F_impro01_F001"], val=["Ses02F_a_M001"], test=[]
    )
    assert read_authors_splits(tmp_path) == {
        "Ses01F_impro01_F001": "train",
        "Ses02F_a_M001": "val",
    }

    corpora.write_authors_splits(tmp_path, train=["Ses01F_a_F001"], test=["Ses01F_a_F001"])
    with pytest.raises(InputError, match=r"test\.csv: row 2: Ses01F_a_F001 is in train too"):
        read_authors_splits(tmp_path)

    (tmp_path / "IEMOCAP_metadata_val.csv").unlink()
    with pytest.raises(InputError, match=r"IEMOCAP_metadata_val\.csv: cannot be read"):
        read_authors_splits(tmp_path)
