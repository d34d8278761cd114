"""A malicious file among those of a bundle or of an interrupted run: refused, or made anew."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from typer.testing import CliRunner

from hemogat.cli.main import app
from hemogat.config import Recipe
from hemogat.errors import HemogatError
from hemogat.runtime.bundle import write_sums
from hemogat.training.partial_run import ORIGIN_FILE, Origin
from hemogat.training.run_directory import RECORD_FILE
from hemogat.training.train import train

(REPORT, *_) = sorted(Path(__file__).parents[2].glob("benchmarks/results/cost-*.json"))


@pytest.mark.parametrize("name", ["MODEL_CARD.md", "metrics.json", "parity.json", "bank/rows.json"])
def test_reports_of_a_bundle(
    name: str, bundle_copy: Path, malicious_contents: list[bytes], marker: Path, tmp_path: Path
) -> None:
    """Hashes are made to fit; what changes banks reads the reports, too."""
    assert (bundle_copy / name).is_file()
    for number, content in enumerate(malicious_contents):
        (bundle_copy / name).write_bytes(content)
        write_sums(bundle_copy)
        pruned, page = tmp_path / f"pruned-{number}", tmp_path / "page.html"
        for command in (
            ("inspect", bundle_copy),
            ("bank", "info", bundle_copy),
            ("bank", "prune", bundle_copy, "--to", "12", "--out", pruned),
            ("bench", "report", REPORT, "--bundle", bundle_copy, "--out", page),
            ("repository", bundle_copy, "--out", tmp_path / f"models-{number}"),
        ):
            done = CliRunner().invoke(app, [*map(str, command)])
            if done.exit_code:
                assert isinstance(done.exception, SystemExit), done.exception
                assert done.stderr.splitlines()[-1].startswith("error: "), done.stderr
            assert not marker.exists()


def test_any_file_of_an_interrupted_run(
    run_copy: Path,
    tiny_recipe: Recipe,
    tiny_manifest: Path,
    malicious_pickle: bytes,
    marker: Path,
    tmp_path: Path,
) -> None:
    """All of it is finished but a head: what is there is read, or what needs it is not."""
    (run_copy / RECORD_FILE).unlink()
    origin = Origin.of(tiny_recipe, tiny_manifest, skip_bad=False)
    (run_copy / ORIGIN_FILE).write_text(origin.model_dump_json())
    (run_copy / "heads/full-seed0.safetensors").unlink()
    out, refused = tmp_path / "out", set()
    partial = out.with_name("out.partial")
    names = [p.relative_to(run_copy) for p in run_copy.rglob("*") if p.is_file()]
    for name in names:
        if name.parts[0] == "logs":
            continue  # nothing of ours reads them
        for folder in (partial, out):
            shutil.rmtree(folder, ignore_errors=True)
        shutil.copytree(run_copy, partial)
        (partial / name).write_bytes(malicious_pickle)
        told = ""
        try:
            train(tiny_recipe, tiny_manifest, out, existing="resume")
        except HemogatError as error:
            told = str(error)
            refused.add(name.as_posix())
        assert "\n" not in told
        assert not marker.exists(), name
    assert {"tokenizer.json", ORIGIN_FILE, "audio_encoder/config.json"} <= refused
