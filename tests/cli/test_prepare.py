from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from typer.testing import Result

from hemogat.data.manifest import read_manifest


@pytest.fixture
def iemocap(corpora: ModuleType, tmp_path: Path) -> Path:
    """Return the root of a small IEMOCAP."""
    root: Path = corpora.write_iemocap(tmp_path / "IEMOCAP_full_release")
    return root


@pytest.fixture
def meld(corpora: ModuleType, tmp_path: Path) -> Path:
    """Return the root of a small MELD without media."""
    root: Path = corpora.write_meld(tmp_path / "MELD.Raw")
    return root


def test_iemocap_at_the_default_place(
    hemogat: Callable[..., Result], workspace: Path, iemocap: Path
) -> None:
    result = hemogat("prepare", "iemocap", iemocap)
    assert result.exit_code == 0, result.output
    manifest = read_manifest(workspace / "iemocap" / "manifest.csv")
    assert len(manifest.utterances) == 25
    assert manifest.utterances[0].turn == 1
    assert f"{manifest.path}: 25 utterances, 10 speakers" in result.stdout
    assert "left out, by label: fru 5, xxx 5" in result.stderr
    assert "speakers of the test split are in another one too" in result.stderr


def test_authors_splits_and_what_they_do_not_match(
    hemogat_json: Callable[..., Any], corpora: ModuleType, iemocap: Path, tmp_path: Path
) -> None:
    splits = corpora.write_authors_splits(
        tmp_path / "splits",
        train=["Ses01F_impro01_F001", "Ses01F_impro01_M000"],
        val=["Ses02F_impro01_F001"],
        test=["Ses03F_impro01_F001", "Ses99F_impro01_F001"],
    )
    printed = hemogat_json(
        "prepare", "iemocap", iemocap, "--splits", splits, "--out", tmp_path / "m.csv"
    )
    (manifest,) = printed["manifests"]
    assert manifest["path"] == str(tmp_path / "m.csv")
    assert manifest["counts"]["train"] == {"angry": 1, "happy": 0, "neutral": 0, "sad": 0}
    assert (manifest["utterances"], manifest["speakers"]) == (3, 3)
    assert printed["unmatched"] == ["Ses01F_impro01_M000", "Ses99F_impro01_F001"]
    assert len(printed["unsplit"]) == 22
    assert printed["left_out"] == {"fru": 5, "xxx": 5}
    # The files say 1 of all of them, which is happy.
    assert printed["labels_differ"] == {
        f"Ses0{number}F_impro01_F001": ["happy", "angry"] for number in (1, 2, 3)
    }


@pytest.mark.parametrize(("written", "differ"), [("0", False), ("angry", False), ("3", True)])
def test_labels_of_the_authors_that_differ_are_warned_of(
    hemogat: Callable[..., Result],
    corpora: ModuleType,
    iemocap: Path,
    tmp_path: Path,
    written: str,
    differ: bool,
) -> None:
    splits = corpora.write_authors_splits(
        tmp_path / "splits",
        train=["Ses01F_impro01_F001"],
        val=["Ses02F_impro01_F001"],
        test=["Ses03F_impro01_F001"],
    )
    for path in splits.iterdir():
        path.write_text(path.read_text().replace(",1\n", f",{written}\n"))
    result = hemogat("prepare", "iemocap", iemocap, "--splits", splits)
    assert result.exit_code == 0, result.output
    warning = "3 utterances have another label in the splits given (sad there, angry here: 3)"
    assert (warning in result.stderr) is differ


def test_every_session_left_out(
    hemogat_json: Callable[..., Any], iemocap: Path, tmp_path: Path
) -> None:
    printed = hemogat_json(
        "prepare", "iemocap", iemocap, "--leave-out-session", "all", "--out", tmp_path / "m.csv"
    )
    assert [Path(one["path"]).name for one in printed["manifests"]] == [
        f"m-session{number}.csv" for number in range(1, 6)
    ]
    for number in range(1, 6):
        manifest = read_manifest(tmp_path / f"m-session{number}.csv")
        assert {row.speaker for row in manifest.split("test")} == {
            f"Ses0{number}F",
            f"Ses0{number}M",
        }
        assert all("both train and val" in warning for warning in manifest.warnings)


def test_bad_utterances_stop_or_are_skipped(
    refused: Callable[..., str],
    hemogat: Callable[..., Result],
    iemocap: Path,
    tmp_path: Path,
) -> None:
    for wav in (iemocap / "Session4").rglob("*.wav"):
        wav.unlink()
    out = tmp_path / "m.csv"
    line = refused("prepare", "iemocap", iemocap, "--out", out)
    assert "5 problems: Ses04F_impro01_F001: no such file: " in line
    assert not out.exists()

    result = hemogat("prepare", "iemocap", iemocap, "--out", out)
    assert result.stderr.count("no such file") == 5 + 3  # each on a line, three in the error

    result = hemogat("prepare", "iemocap", iemocap, "--out", out, "--skip-bad")
    assert result.exit_code == 0
    assert "skipped: 5\n  Ses04F_impro01_F001: no such file" in result.stderr
    assert len(read_manifest(out).utterances) == 20


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        (("--leave-out-session", "6"), "expected 1 to 5 or all"),
        (("--leave-out-session", "1", "--splits", "."), "exclude each other"),
    ],
)
def test_iemocap_usage(
    hemogat: Callable[..., Result], tmp_path: Path, options: tuple[str, ...], reason: str
) -> None:
    result = hemogat("prepare", "iemocap", tmp_path, *options)
    assert result.exit_code == 2
    assert reason in " ".join(result.stderr.replace("│", " ").split())


def test_meld_text_only(hemogat_json: Callable[..., Any], workspace: Path, meld: Path) -> None:
    printed = hemogat_json("prepare", "meld", meld, "--text-only")
    (manifest,) = printed["manifests"]
    assert manifest["path"] == str(workspace / "meld" / "manifest.csv")
    assert list(manifest["counts"]["train"]) == [
        "neutral",
        "joy",
        "anger",
        "sadness",
        "disgust",
        "fear",
        "surprise",
    ]
    assert manifest["warnings"] == [
        "1 speakers are in both train and val (Joey): validation will not be speaker-independent"
    ]


def test_meld_needs_ffmpeg_for_videos(
    hemogat: Callable[..., Result], meld: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (meld / "train/train_splits/dia0_utt0.mp4").touch()
    monkeypatch.setenv("PATH", str(tmp_path))
    result = hemogat("prepare", "meld", meld, "--out", tmp_path / "m.csv")
    assert result.exit_code == 3
    assert "ffmpeg is needed to take the sound out of 1 video files" in result.stderr
    assert not (tmp_path / "m.csv").exists()


def test_folder(hemogat_json: Callable[..., Any], tmp_path: Path) -> None:
    root = tmp_path / "clips"
    root.mkdir()
    for speaker in range(5):
        for code in "WT":
            (root / f"{speaker}-{code}.wav").touch()
    patterns = ("--label-pattern", "-(.)", "--speaker-pattern", "^([0-9])")
    labels = ("--label", "W=anger", "--label", "T=sadness")
    printed = hemogat_json("prepare", "folder", root, *patterns, *labels, "--out", root / "m.csv")
    (manifest,) = printed["manifests"]
    assert manifest["counts"]["test"] == {"anger": 1, "sadness": 1}
    assert manifest["warnings"] == []


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        (("--label-pattern", "("), "is not a pattern"),
        (("--speaker-pattern", "^.."), "has no group"),
        (("--label", "W"), "--label expects NAME=LABEL"),
    ],
)
def test_folder_usage(
    hemogat: Callable[..., Result], tmp_path: Path, options: tuple[str, ...], reason: str
) -> None:
    result = hemogat("prepare", "folder", tmp_path, *options)
    assert result.exit_code == 2
    assert reason in " ".join(result.stderr.replace("│", " ").split())
