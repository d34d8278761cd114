"""What is installed: built as a release is, from a copy of the tree and without the network."""

from __future__ import annotations

import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

import hemogat

ROOT = Path(__file__).parent.parent


@pytest.fixture(scope="module")
def names(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """Return the paths in the wheel."""
    place = tmp_path_factory.mktemp("wheel")
    tree = place / "tree"
    tree.mkdir()
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, tree)
    for folder in ("hemogat", "tests", "export", "serving", "benchmarks"):
        shutil.copytree(ROOT / folder, tree / folder, ignore=shutil.ignore_patterns("__pycache__"))
    (tree / "serving" / "stray.py").write_text("")  # must not become a package
    done = subprocess.run(
        [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", "out", "tree"],
        cwd=place,
        capture_output=True,
        text=True,
        timeout=240,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    (wheel,) = (place / "out").glob("*.whl")
    assert wheel.name == f"hemogat-{hemogat.__version__}-py3-none-any.whl"
    with zipfile.ZipFile(wheel) as archive:
        return archive.namelist()


def test_hemogat_is_the_only_package(names: list[str]) -> None:
    tops = {name.split("/")[0] for name in names}
    assert tops == {"hemogat", f"hemogat-{hemogat.__version__}.dist-info"}


def test_every_source_and_data_file_is_there(names: list[str]) -> None:
    package = ROOT / "hemogat"
    expected = {
        f"hemogat/{path.relative_to(package).as_posix()}"
        for pattern in (
            *("**/*.py", "training/recipes/*.yaml", "export/*.json", "benchmarks/*.jinja"),
            "py.typed",
        )
        for path in package.glob(pattern)
        if "__pycache__" not in path.parts
    }
    assert "hemogat/training/recipes/demo.yaml" in expected
    assert "hemogat/serving/triton_models/entry.py" in expected
    assert {name for name in names if name.startswith("hemogat/")} == expected


def test_the_licence_and_the_command_are_there(names: list[str]) -> None:
    info = f"hemogat-{hemogat.__version__}.dist-info"
    assert {f"{info}/licenses/LICENSE", f"{info}/entry_points.txt"} <= set(names)
