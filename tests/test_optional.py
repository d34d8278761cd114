from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import pytest

from hemogat import optional
from hemogat.errors import IncompleteError
from hemogat.optional import pip_line, require


def test_a_module_that_is_there_is_returned() -> None:
    assert require("json", extra="cpu").dumps([1]) == "[1]"


def test_a_missing_module_names_its_extra() -> None:
    with pytest.raises(IncompleteError, match=r"no_such_engine.*\[trt\]"):
        require("no_such_engine", extra="trt")


@pytest.fixture
def site_packages(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a folder where hemogat counts as installed, without a project file."""
    folder = tmp_path / "site-packages"
    folder.mkdir()
    monkeypatch.setattr(optional, "_ROOT", folder)
    return folder


def test_in_a_checkout_that_is_installed(site_packages: Path) -> None:
    (site_packages / "pyproject.toml").touch()
    assert pip_line("cpu") == f"pip install '{site_packages}[cpu]'"
    assert pip_line() == f"pip install '{site_packages}'"


@pytest.mark.usefixtures("site_packages")
def test_elsewhere_the_checkout_that_pip_noted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    checkout = tmp_path / "my checkout"
    noted = {"direct_url.json": f'{{"url": "{checkout.as_uri()}", "dir_info": {{}}}}'}
    monkeypatch.setattr(optional, "distribution", lambda _: SimpleNamespace(read_text=noted.get))
    anywhere = "pip install '.[cpu]'  # in a checkout of hemogat"
    assert pip_line("cpu") == anywhere  # it is gone
    checkout.mkdir()
    (checkout / "pyproject.toml").touch()
    assert pip_line("cpu") == f"pip install '{checkout}[cpu]'"


@pytest.mark.usefixtures("site_packages")
@pytest.mark.parametrize(
    "noted",
    [
        None,
        "{",
        "[]",
        '{"url": "https://example.org/hemogat.git", "vcs_info": {}}',
        '{"url": "file:///dist/hemogat-0.1.0-py3-none-any.whl", "archive_info": {}}',
    ],
)
def test_without_a_checkout_any_is_named(
    noted: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = SimpleNamespace(read_text=lambda _: noted)
    monkeypatch.setattr(optional, "distribution", lambda _: found)
    assert pip_line("cpu") == "pip install '.[cpu]'  # in a checkout of hemogat"
    assert pip_line() == "pip install '.'  # in a checkout of hemogat"
