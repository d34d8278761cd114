"""Small file systems that fill up: what stood there stays, what was done goes on later."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from hemogat.config import Recipe
from hemogat.data.manifest import Utterance, write_manifest
from hemogat.errors import InputError
from hemogat.export.export_run import export_run
from hemogat.export_config import ExportConfig
from hemogat.runtime.bundle import Bundle
from hemogat.runtime.manifest_prediction import predict_manifest
from hemogat.runtime.pipeline import Pipeline
from hemogat.serving.client import Client
from hemogat.serving.manifest_requests import predict_manifest_served
from hemogat.serving.repository import write_repository
from hemogat.serving.server import TritonServer
from hemogat.training.run_directory import RECORD_FILE
from hemogat.training.train import train

Disk = Callable[[int], Path]


def kib(folder: Path) -> int:
    """Return what a folder takes on a file system of 4 KiB blocks."""
    files = [path for path in folder.rglob("*") if path.is_file()]
    return sum(4 * -(-path.stat().st_size // 4096) + 4 for path in files)


def content(run: Path) -> dict[str, bytes]:
    """Return all that a run is made of; its record holds the time, its logs the process."""
    files = [path for path in run.rglob("*") if path.is_file() and "logs" not in path.parts]
    return {
        str(path.relative_to(run)): path.read_bytes() for path in files if path.name != RECORD_FILE
    }


def test_an_export_that_fills_the_disk_leaves_the_bundle_that_was_there(
    tiny_run: Path, tiny_bundle: Path, small_disk: Disk
) -> None:
    disk = small_disk(int(1.6 * kib(tiny_bundle)))
    bundle = Path(shutil.copytree(tiny_bundle, disk / "bundle"))
    with pytest.raises(OSError, match=r"No space left|cannot be written"):
        export_run(tiny_run, bundle, ExportConfig())
    Bundle.open(bundle)
    assert [path.name for path in disk.iterdir()] == ["bundle"]


def test_training_that_filled_the_disk_is_resumed_to_the_same_bits(
    tiny_run: Path, tiny_recipe: Recipe, tiny_manifest: Path, small_disk: Disk
) -> None:
    disk = small_disk(kib(tiny_run) // 3)
    out = disk / "run"
    with pytest.raises(OSError, match=r"No space left|cannot be written"):
        train(tiny_recipe, tiny_manifest, out, checkpoint_every_s=0)
    assert not out.exists()
    subprocess.run(["mount", "-o", f"remount,size={6 * kib(tiny_run)}k", disk], check=True)
    train(tiny_recipe, tiny_manifest, out, existing="resume", checkpoint_every_s=0)
    assert content(out) == content(tiny_run)
    assert [path.name for path in disk.iterdir()] == ["run"]


def test_files_that_do_not_fit_leave_the_old_ones(
    tiny_bundle: Path, tiny_manifest: Path, small_disk: Disk
) -> None:
    disk = small_disk(8)
    pipeline = Pipeline.load(tiny_bundle)
    out = disk / "predictions.csv"
    (disk / "filling").write_bytes(bytes(4096))
    out.write_text("old")
    with pytest.raises(OSError, match="No space left") as caught:
        predict_manifest(pipeline, tiny_manifest, out)
    assert caught.value.filename == str(out)
    utterance = Utterance("1", None, "hi", "sad", "s1", "train")
    with pytest.raises(InputError, match=r"predictions\.csv: cannot be written \(No space left"):
        write_manifest(out, [utterance])
    assert out.read_text() == "old"
    assert sorted(path.name for path in disk.iterdir()) == ["filling", "predictions.csv"]
    (disk / "filling").unlink()
    write_manifest(out, [utterance])
    assert "hi" in out.read_text()


def test_answers_of_a_server_that_no_longer_fit_are_asked_for_again(
    tiny_bundle: Path, tiny_manifest: Path, tmp_path: Path, small_disk: Disk
) -> None:
    rows = len(tiny_manifest.read_text().splitlines()) - 1
    disk = small_disk(8)  # half of it less than the journal of all answers
    out, journal = disk / "predictions.csv", disk / "predictions.csv.partial"
    with TritonServer(write_repository(tiny_bundle, tmp_path / "models")) as server:

        def predict() -> None:
            predict_manifest_served(server.grpc_url, tiny_manifest, out, concurrency=4)

        (disk / "filling").write_bytes(bytes(4096))
        with pytest.raises(OSError, match="No space left") as caught:
            predict()
        assert caught.value.filename == str(journal)
        known = journal.read_text().splitlines()[1:]
        assert 0 < len(known) < rows
        assert all("label" in json.loads(line) for line in known)
        subprocess.run(["mount", "-o", "remount,size=1M", disk], check=True)
        answered = requests_of(server)
        predict()
        assert requests_of(server) - answered == rows - len(known)
    assert len(out.read_text().splitlines()) == rows + 1
    assert sorted(path.name for path in disk.iterdir()) == ["filling", "predictions.csv"]


def requests_of(server: TritonServer) -> int:
    """Return how many requests the entry model has had."""
    with Client(server.grpc_url) as client:
        return int(client.statistics()["hemogat"].requests)
