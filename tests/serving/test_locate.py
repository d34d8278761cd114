from __future__ import annotations

import sys
from pathlib import Path

import pytest

from hemogat.errors import IncompleteError
from hemogat.serving.locate import find_tritonserver

RUNNING = f"{sys.version_info.major}.{sys.version_info.minor}"


def fake_install(root: Path, stub: bytes | None) -> Path:
    """Lay out files as a system-wide tritonserver does; return the folder for PATH."""
    files = {"bin/tritonserver": b"", "backends/python/libtriton_python.so": b""}
    if stub is not None:
        files["backends/python/triton_python_backend_stub"] = stub
    for name, content in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
        path.chmod(0o755)
    return root / "bin"


def test_the_packaged_server_is_found(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    install = find_tritonserver()
    assert install.executable.is_file()
    linked = install.backend_directory(tmp_path / "work") / "python"
    assert (linked / "libtriton_python.so").is_file()
    assert (linked / "triton_python_backend_stub").resolve() == install.stub


def test_without_any_server_the_pip_line_is_given(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setitem(sys.modules, "pytriton", None)  # Python's way to block an import
    with pytest.raises(IncompleteError, match=r"pip install '.*\[serve\]'") as caught:
        find_tritonserver()
    assert caught.value.exit_code == 3


def test_a_server_on_path_comes_first(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    stub = b"\x7fELF..\0libpython%s.so.1.0\0.." % RUNNING.encode()
    monkeypatch.setenv("PATH", str(fake_install(tmp_path, stub)))
    install = find_tritonserver()
    assert install.executable == tmp_path / "bin" / "tritonserver"
    assert install.backend_directory(tmp_path / "work") == tmp_path / "backends"


@pytest.mark.parametrize(
    ("stub", "message"),
    [
        (b"\0libpython3.8.so.1.0\0", "runs models with Python 3.8, but this is Python " + RUNNING),
        (b"\0", "is linked to no libpython"),
        (None, "triton_python_backend_stub: not found"),
    ],
)
def test_a_server_that_cannot_run_this_python_is_refused(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, stub: bytes | None, message: str
) -> None:
    monkeypatch.setenv("PATH", str(fake_install(tmp_path, stub)))
    with pytest.raises(IncompleteError, match=message):
        find_tritonserver()
