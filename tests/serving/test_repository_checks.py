"""Nothing of a generated repository, or of its bundle, is loaded before it has been hashed."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from hemogat.errors import BundleError, HemogatError, IncompleteError
from hemogat.runtime.bundle import write_sums
from hemogat.serving import serve as serving
from hemogat.serving.repository import write_repository
from hemogat.serving.repository_checks import check_repository
from hemogat.serving.server import TritonServer
from hemogat.serving.settings import RepositorySettings


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """Return where the repositories are noted that a server would have been started on."""
    noted: list[Path] = []

    def note(repository: Path, **_: object) -> None:
        noted.append(repository)
        raise KeyboardInterrupt

    monkeypatch.setattr(serving, "TritonServer", note)
    return noted


@pytest.fixture
def bundle(tiny_bundle: Path, tmp_path: Path) -> Path:
    return shutil.copytree(tiny_bundle, tmp_path / "bundle")


def flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def files(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.is_file())


def test_a_whole_repository_is_served(bundle: Path, tmp_path: Path, started: list[Path]) -> None:
    repository = write_repository(bundle, tmp_path / "models")
    with pytest.raises(KeyboardInterrupt):
        serving.serve(repository)
    assert started == [repository]


def test_a_repository_that_has_been_served_is_served_again(bundle: Path, tmp_path: Path) -> None:
    repository = write_repository(bundle, tmp_path / "models", RepositorySettings(threads=1))
    with TritonServer(repository, http_port=0, grpc_port=0, metrics_port=0):
        assert list(repository.rglob("*.pyc")), "Triton left nothing: this test sees nothing"
    check_repository(repository)
    assert not list(repository.rglob("*.pyc"))


def test_a_flipped_byte_in_any_file_is_refused_by_its_name(
    bundle: Path, tmp_path: Path, started: list[Path]
) -> None:
    # With a native backend: copies of the graphs are in it.
    settings = RepositorySettings(backend="onnxruntime")
    repository = write_repository(bundle, tmp_path / "models", settings)
    covered = [path for path in files(repository) if path.name != "SHA256SUMS"]
    kinds = {path.name for path in covered}
    assert {"config.pbtxt", "model.py", "model.onnx", "labels.txt", "README.md"} <= kinds
    for path in covered:
        flip(path)
        with pytest.raises(BundleError, match=f"^{path}: is altered.*hemogat repository"):
            serving.serve(repository)
        flip(path)
    added = repository / "hemogat" / "2" / "model.py"
    added.parent.mkdir()
    added.touch()
    with pytest.raises(BundleError, match=r"hemogat/2/model\.py is not in SHA256SUMS"):
        serving.serve(repository)
    added.unlink()
    (repository / "SHA256SUMS").unlink()
    with pytest.raises(BundleError, match="SHA256SUMS: is missing"):
        serving.serve(repository)
    assert started == []


def test_a_flipped_byte_in_the_bundle_is_refused_before_the_start(
    bundle: Path, tmp_path: Path, started: list[Path]
) -> None:
    repository = write_repository(bundle, tmp_path / "models")
    for path in files(bundle):
        flip(path)
        with pytest.raises(HemogatError, match=str(path.parent)):
            serving.serve(repository)
        flip(path)
    assert started == []


def rename_labels(bundle: Path) -> None:
    facts = json.loads((bundle / "bundle.json").read_text())
    facts["labels"] = [f"{label} (2)" for label in facts["labels"]]
    (bundle / "bundle.json").write_text(json.dumps(facts))
    write_sums(bundle)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (rename_labels, "is another bundle than the one that this model repository"),
        (shutil.rmtree, r"models: expects its bundle at .*/bundle, where there is none"),
    ],
)
def test_another_bundle_or_none_is_refused_before_the_start(
    bundle: Path,
    tmp_path: Path,
    started: list[Path],
    change: Callable[[Path], None],
    message: str,
) -> None:
    repository = write_repository(bundle, tmp_path / "models")
    change(bundle)
    with pytest.raises(BundleError, match=message):
        serving.serve(repository)
    assert started == []


def test_a_backend_that_the_server_lacks_is_named_in_one_line(bundle: Path, tmp_path: Path) -> None:
    settings = RepositorySettings(backend="onnxruntime")
    repository = write_repository(bundle, tmp_path / "models", settings)
    with pytest.raises(IncompleteError) as caught:
        check_repository(repository)
    message = str(caught.value)
    assert message.startswith(f"{repository}: needs backend onnxruntime; this tritonserver (")
    assert "has python; generate it again with --backend python, or serve it in the" in message
