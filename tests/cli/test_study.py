from __future__ import annotations

from pathlib import Path

from typer.testing import CliRunner

from hemogat.cli.main import app


def test_compares_and_writes(tiny_run: Path, tmp_path: Path) -> None:
    arguments = ["study", "topk", str(tiny_run), "--seeds", "1", "--max-k", "1"]
    done = CliRunner().invoke(app, [*arguments, "--out", str(tmp_path)])
    assert done.exit_code == 0, done.output
    assert "best on val: k_audio_1_k_text_1" in done.stdout
    assert (tmp_path / "study.png").exists()
