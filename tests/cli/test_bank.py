from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from hemogat.cli.main import app
from hemogat.runtime.bundle import Bundle


def ran(*arguments: object) -> str:
    result = CliRunner().invoke(app, [str(each) for each in arguments])
    assert result.exit_code == 0, result.output
    return result.stdout


def test_the_index_and_its_recall_are_shown(tiny_gathered_bundle: Path, tmp_path: Path) -> None:
    out = tmp_path / "indexed"
    assert "index for ivf    not stored" in ran("bank", "info", tiny_gathered_bundle)
    assert "bank index" not in ran("inspect", tiny_gathered_bundle)
    said = ran("bank", "index", tiny_gathered_bundle, "--out", out)
    index = Bundle.open(out).manifest.bank.ivf
    assert index is not None
    for modality, facts in index.facts().items():
        words = f"{modality}: {facts.probes} of {facts.clusters} clusters looked into (nprobe), "
        assert f"{words}recall {facts.recall:.4f} of the 10 nearest" in said
        for shown in (ran("bank", "info", out), ran("inspect", out)):
            assert words in shown
    expected = index.model_dump(mode="json")
    assert json.loads(ran("bank", "info", out, "--json"))["ivf"] == expected
    assert json.loads(ran("inspect", out, "--json"))["bank"]["ivf"] == expected
    again = json.loads(ran("bank", "index", out, "--out", tmp_path / "again", "--json"))
    assert again == {"bundle": str(tmp_path / "again"), "ivf": expected}


def test_a_load_tells_what_the_search_finds(tiny_indexed_bundle: Path) -> None:
    case = next((tiny_indexed_bundle / "golden").glob("*.wav"))
    arguments = ["predict", str(tiny_indexed_bundle), str(case), "--text", "no", "--json"]
    result = CliRunner().invoke(app, [*arguments, "--search", "ivf"])
    assert result.exit_code == 0, result.output
    assert "search ivf by audio, index stored: " in result.stderr
    assert "search ivf by text, index stored: " in result.stderr
    json.loads(result.stdout)  # nothing else is there
    assert "ivf" not in CliRunner().invoke(app, arguments).stderr


def test_an_index_that_is_left_out_is_told_of(
    tiny_indexed_bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "faiss", None)
    arguments = ["bank", "prune", str(tiny_indexed_bundle), "--to", "12"]
    result = CliRunner().invoke(app, [*arguments, "--out", str(tmp_path / "new")])
    assert result.exit_code == 0, result.output
    assert "the stored index holds the old bank and was left out" in result.stderr
