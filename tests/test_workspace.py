from __future__ import annotations

import os
from pathlib import Path

import pytest

from hemogat.errors import BundleError
from hemogat.runtime.bundle import MANIFEST_FILE
from hemogat.training.run_directory import RECORD_FILE
from hemogat.workspace import default_bundle, default_run, find_latest, workspace


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("HEMOGAT_WORKSPACE", str(tmp_path))
    return tmp_path


def mark(folder: Path, marker: str, age_s: int) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / marker).touch()
    os.utime(folder / marker, (1_000_000 - age_s,) * 2)
    return folder


def test_the_workspace_is_build_unless_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("HEMOGAT_WORKSPACE", raising=False)
    assert workspace() == Path("build")
    assert default_run("demo") == Path("build/demo/run")
    assert default_bundle("demo") == Path("build/demo/bundle")


def test_the_markers_are_the_files_that_are_written_last() -> None:
    assert (RECORD_FILE, MANIFEST_FILE) == ("run.json", "bundle.json")


def test_finds_the_newest_at_any_depth(root: Path) -> None:
    mark(root, "run.json", 30)
    mark(root / "a" / "run", "run.json", 20)
    newest = mark(root / "b" / "c" / "run", "run.json", 10)
    mark(root / "b" / "c" / "bundle", "bundle.json", 0)
    assert find_latest("run.json") == newest


def test_leaves_out_what_is_too_deep_or_hidden(root: Path) -> None:
    found = mark(root / "a", "bundle.json", 20)
    mark(root / "a" / "b" / "c" / "d", "bundle.json", 10)
    mark(root / "a" / ".bundle.x1y2", "bundle.json", 0)
    assert find_latest("bundle.json") == found


@pytest.mark.parametrize(("marker", "command"), [("run.json", "train"), ("bundle.json", "export")])
def test_says_how_to_make_one(root: Path, marker: str, command: str) -> None:
    with pytest.raises(BundleError, match=rf"{root}.*hemogat {command}"):
        find_latest(marker)  # type: ignore[arg-type]


def test_a_workspace_that_is_not_there_holds_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HEMOGAT_WORKSPACE", str(tmp_path / "nowhere"))
    with pytest.raises(BundleError):
        find_latest("run.json")
