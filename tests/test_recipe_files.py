from __future__ import annotations

from pathlib import Path

import pytest

from hemogat.errors import ConfigError
from hemogat.recipe_files import load_recipe, packaged_recipes


@pytest.mark.parametrize("name", packaged_recipes())
def test_packaged_recipes_are_valid(name: str) -> None:
    assert load_recipe(name).name == name


def test_the_demo_is_packaged() -> None:
    assert "demo" in packaged_recipes()


def test_a_file_goes_before_a_packaged_recipe(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("demo").write_text("{name: mine, labels: [a, b]}")
    assert load_recipe("demo").name == "mine"


def test_says_what_there_is() -> None:
    with pytest.raises(ConfigError, match=r"nosuch\.yaml: .*packaged recipes \(.*demo"):
        load_recipe("nosuch.yaml")
